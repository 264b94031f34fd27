"""What `d2lite report` does."""

import argparse
import logging
from pathlib import Path

from d2lite.engine.command_line import import_user_code
from d2lite.reporting.comparison import compare_runs, is_sure
from d2lite.reporting.write_report import write_run_report
from d2lite.utils.errors import ConfigError
from d2lite.utils.file_io import make_folder
from d2lite.utils.logger import setup_logger

logger = logging.getLogger(__name__)


def report(args: argparse.Namespace) -> None:
    """Write the report of one run, or the comparison of several.

    Raises:
        ConfigError: for --errors with more than one run.
    """
    setup_logger()
    if args.output:
        make_folder(Path(args.output).parent, "--output")
    if args.errors:
        make_folder(args.errors, "--errors")
    for path in args.imports:
        import_user_code(path)
    folders = [Path(run) for run in args.runs]
    if len(folders) == 1:
        path = write_run_report(
            folders[0],
            output=Path(args.output) if args.output else None,
            errors_folder=Path(args.errors) if args.errors else None,
        )
        logger.info("Report: %s", path)
        return
    if args.errors:
        raise ConfigError("--errors works with one RUN; give only that one.")
    output = Path(args.output or "compare.html")
    for comparison in compare_runs(folders, output):
        for name, difference in zip(comparison.names[1:], comparison.differences, strict=True):
            logger.info(
                "%s AP of %s: %+.1f (95%% range %+.1f to %+.1f%s)",
                comparison.task,
                name,
                difference.value,
                difference.lower,
                difference.upper,
                "" if is_sure(difference) else ", which holds 0: not sure",
            )
    logger.info("Comparison: %s", output)
