"""run_tool: how a command-line tool ends."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from .errors import MissingFileError, OutputError, RunInterrupted, UserError
from .failure_log import log_failure
from .interrupts import INTERRUPTED, handle_interrupts
from .logger import log_file_path
from .streams import guard_streams, report_failed_output
from .system_limits import refusal_of_system


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a tool and leave the program.

    A mistake that the user can fix, such as a full disk, is shown as its message alone, its trace
    goes to the log file if one is open, and the exit status is 2, as argparse has it. Any other
    exception is a fault of ours and keeps its trace on the console.

    Args:
        main: the tool; returns the exit status, None for 0.

    Raises:
        SystemExit: always, unless an exception other than a `UserError` passes through.
    """
    guard_streams()
    handle_interrupts("Interrupted.\n")
    try:
        _require_working_folder()
        status = main()
    except RunInterrupted as interruption:
        if not interruption.is_shown:
            sys.stderr.write(f"{interruption}\n")
        status = interruption.status
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        status = INTERRUPTED
    except Exception as error:
        mistake = error if isinstance(error, UserError) else refusal_of_system(error)
        if mistake is None:
            log_failure(error, "The run ended with an unexpected error")
            raise
        log_failure(mistake, "The run ended with a mistake that you can fix")
        sys.stderr.write(f"error: {mistake}\n")
        status = 2
    raise SystemExit(report_failed_output(status or 0, log_file=log_file_path()))


def _require_working_folder() -> None:
    """End before torch is loaded, which ends a program without a message where there is none."""
    try:
        os.getcwd()
        os.stat(os.path.join(os.curdir, os.curdir))
    except FileNotFoundError as error:
        raise MissingFileError(
            "The current folder was deleted. Go to another one (`cd`) and start again."
        ) from error
    except PermissionError as error:
        raise OutputError(
            "This user may not enter the current folder. Go to another one (`cd`) and start again."
        ) from error
