"""What `d2lite analyze` does."""

import argparse
import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2lite.data.datasets.coco_file import read_coco_json
from d2lite.evaluation.coco_results import explain_poor_results
from d2lite.evaluation.detection_limits import detection_limits, limits_for
from d2lite.evaluation.tables import format_table
from d2lite.reporting import Analysis, analyze, csv_tables
from d2lite.reporting.analysis import tasks_in
from d2lite.reporting.bootstrap import suitable_resamples
from d2lite.reporting.comparison import (
    Comparison,
    compare,
    comparison_json,
    comparison_page,
    image_changes,
    is_sure,
)
from d2lite.reporting.evaluated_set import EvaluatedSet, read_results
from d2lite.reporting.page import report_page
from d2lite.reporting.write_report import REPORT_FILE, log_error_crops, write_json
from d2lite.utils.errors import ConfigError, DataError
from d2lite.utils.file_io import make_folder, write_file, write_json_file
from d2lite.utils.logger import setup_logger

logger = logging.getLogger(__name__)


def analyze_files(args: argparse.Namespace) -> None:
    """Analyse one result file, or compare two.

    Raises:
        ConfigError: for options that do not fit each other.
        DataError: if a file is not what it should be.
    """
    setup_logger()
    if args.errors and not (args.images and args.output):
        raise ConfigError("--errors needs --images FOLDER and --output FOLDER.")
    output = make_folder(args.output, "--output") if args.output else None
    truth = read_coco_json(args.gt)
    if "annotations" not in truth or "categories" not in truth:
        raise DataError(f"{args.gt} has no 'annotations' or no 'categories' to compare with.")
    paths = [Path(path) for path in (args.results, args.against) if path]
    sets = [_analysed(path, truth, args) for path in paths]
    for path, one in zip(paths, sets, strict=True):
        for analysis in one.analyses:
            logger.info("%s, %s\n%s", path, analysis.task, _summary(analysis))
    if len(sets) == 1 and output is not None:
        _write_one(sets[0], output, with_errors=args.errors)
    elif len(sets) > 1:
        names = [path.name for path in paths]
        names = names if names[0] != names[1] else [str(path) for path in paths]
        _compare(names, sets, output, args.resamples)
        if output is not None and args.errors:
            for name, one in zip(("first", "second"), sets, strict=True):
                log_error_crops(one, output / "errors" / name)


def _analysed(path: Path, truth: Mapping[str, Any], args: argparse.Namespace) -> EvaluatedSet:
    results = read_results(path)
    reasons = explain_poor_results(
        results,
        predicted_images=[image["id"] for image in truth["images"]],
        num_unknown_class=0,
        gt_images=truth["images"],
        gt_category_ids=(a.get("category_id") for a in truth["annotations"]),
    )
    if reasons:
        logger.warning("%s: %s", path, reasons)
    tasks = [args.task] if args.task else tasks_in(results)
    count = args.resamples
    analyses = [
        analyze(
            truth,
            results,
            task,
            max_dets=limits_for(detection_limits(None), truth, str(args.gt), None),
            num_resamples=suitable_resamples(len(results)) if count is None else count,
        )
        for task in tasks
    ]
    folder = Path(args.images) if args.images else None
    names = {
        image["id"]: str(folder / str(image["file_name"]))
        for image in truth["images"]
        if folder is not None and "file_name" in image
    }
    return EvaluatedSet(Path(args.gt).name, truth, analyses, names)


def _summary(analysis: Analysis) -> str:
    errors = analysis.errors
    totals = format_table(["metric", "%"], list(analysis.metrics.items()))
    kind_rows: list[list[str | float]] = [
        [kind, str(count), errors.cost[kind]] for kind, count in errors.counts.items()
    ]
    kinds = format_table(
        ["error", "count", "cost in AP50"],
        kind_rows,
    )
    rows: list[list[str | float]] = [
        [row.name, row.average_precision, row.best_threshold, row.precision, row.recall, row.f1]
        for row in analysis.classes
    ]
    classes = format_table(["class", "AP", "threshold", "precision", "recall", "F1"], rows)
    interval = analysis.interval
    span = f"95% range of AP: {interval.lower:.1f} to {interval.upper:.1f}"
    return f"{totals}\n{span}\nAt IoU 0.5:\n{classes}\n{kinds}"


def _write_one(one: EvaluatedSet, output: Path, *, with_errors: bool) -> None:
    write_file(output / REPORT_FILE, report_page(f"Analysis on {one.name}", one, None))
    write_json(one, output / "analysis.json")
    for analysis in one.analyses:
        folder = output / analysis.task if len(one.analyses) > 1 else output
        for name, content in csv_tables(analysis).items():
            write_file(folder / name, content)
    if with_errors:
        log_error_crops(one, output / "errors")
    logger.info("Analysis: %s, analysis.json and CSV files beside it", output / REPORT_FILE)


def _compare(
    names: list[str], sets: list[EvaluatedSet], output: Path | None, resamples: int | None
) -> None:
    comparisons, notes = compare(names, sets, num_resamples=resamples)
    for note in notes:
        logger.warning(note)
    for comparison in comparisons:
        difference = comparison.differences[0]
        logger.info(
            "%s: AP of %s minus AP of %s is %+.2f, 95%% range %+.2f to %+.2f: %s",
            comparison.task,
            names[1],
            names[0],
            difference.value,
            difference.lower,
            difference.upper,
            "a sure difference" if is_sure(difference) else "the range holds 0, not sure",
        )
    if output is None:
        return
    write_file(output / "compare.html", comparison_page(comparisons, names, notes))
    write_json_file(
        output / "compare.json", comparison_json(comparisons), indent=1, allow_nan=False
    )
    for comparison in comparisons:
        write_file(output / f"images_{comparison.task}.csv", _images_csv(comparison))
    logger.info("Comparison: %s, JSON and CSV beside it", output / "compare.html")


def _images_csv(comparison: Comparison) -> str:
    rows = [["image_id", *comparison.names, "change"], *image_changes(comparison)]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
