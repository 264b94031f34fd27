"""The part of the page on the results of one task: tables, curves, confusion, kinds of errors."""

import math
from typing import Any

from .analysis import IOU, TITLES, Analysis
from .error_kinds import KINDS
from .run_charts import result_charts
from .template import Column, drawn

# A matrix of more classes fills no screen; a list of its largest cells takes its place.
_MOST_IN_MATRIX = 30
_MOST_CONFUSIONS = 30

# Attributes of a `ClassRow` and of a `Slice`, and how their columns are headed.
_OF_CLASS = {
    "name": Column("Class"),
    "average_precision": Column("AP", 1, "mean over IoU 0.50 to 0.95, as in the results table"),
    "average_precision_50": Column("AP50", 1, "at IoU 0.5"),
    "best_threshold": Column("Threshold", 3, "score at which F1 of the class is highest"),
    "precision": Column("Precision", 1, "at this threshold and IoU 0.5"),
    "recall": Column("Recall", 1, "at this threshold and IoU 0.5"),
    "f1": Column("F1", 1, "at this threshold and IoU 0.5"),
    "num_objects": Column("Objects", 0),
    "num_images": Column("Images", 0),
    "num_detections": Column("Detections", 0, "at any score"),
}
_OF_SLICE = {
    "name": Column("Objects that are"),
    "num_objects": Column("Objects", 0),
    "average_precision": Column("AP", 1, "for sizes the APs, APm and APl of the results table"),
    "average_precision_50": Column("AP50", 1),
    "recall_50": Column("Recall", 1, "at IoU 0.5 and any score"),
}


def task_part(analysis: Analysis) -> dict[str, Any]:
    """What the template shows of the results of one task."""
    interval, confusion, errors = analysis.interval, analysis.confusion, analysis.errors
    num_classes = len(confusion.class_names)
    is_small = num_classes <= _MOST_IN_MATRIX
    many = sum(1 for row in analysis.classes if row.num_objects) > 12
    ignored = confusion.num_ignored
    return {
        "name": analysis.task,
        "title": TITLES[analysis.task],
        "metrics": analysis.metrics,
        "interval": ""
        if math.isnan(interval.lower)
        else f"95%: {interval.lower:.1f} to {interval.upper:.1f}",
        "best": _best_sentence(analysis),
        "class_columns": list(_OF_CLASS.values()),
        "class_rows": [[getattr(row, key) for key in _OF_CLASS] for row in analysis.classes],
        "charts": drawn(result_charts(analysis)),
        "curve_note": "Curves of single classes are left out: there are too many to distinguish."
        if many
        else "",
        "confusion": _matrix(analysis) if is_small else None,
        "confusion_at": confusion,
        "confused_columns": [Column("True"), Column("Predicted"), Column("Count", 0)],
        "confused_rows": [] if is_small else _largest_cells(analysis),
        "background_columns": [
            Column("Class"),
            Column("Right", 0),
            Column("Not found", 0),
            Column("Nothing there", 0, "detections of this class on background"),
        ],
        "background_rows": [] if is_small else _with_background(analysis),
        "ignored_note": f"{ignored} detections lie in crowd regions and count nowhere."
        if ignored
        else "",
        "ap50": errors.average_precision,
        "error_columns": [
            Column("Kind"),
            Column("Count", 0),
            Column("Cost in AP50", 1),
            Column("What it is"),
        ],
        "error_rows": [[k, errors.counts[k], errors.cost[k], KINDS[k]] for k in KINDS],
        "slice_columns": list(_OF_SLICE.values()),
        "slice_rows": [
            [getattr(part, key) for key in _OF_SLICE]
            for part in (*analysis.sizes, *analysis.aspects)
        ],
    }


def _best_sentence(analysis: Analysis) -> str:
    at = analysis.curve.best()
    if at is None:
        return "No detection is right at IoU 0.5, so no threshold is better than another."
    curve = analysis.curve
    return (
        f"Best threshold for all classes together: {analysis.threshold:.3f}. With it "
        f"{curve.right[at]} of {curve.num_objects} objects are found and {curve.wrong[at]} "
        f"detections are wrong: precision {100 * curve.precision[at]:.1f}, recall "
        f"{100 * curve.recall[at]:.1f}, F1 {100 * curve.f1[at]:.1f} at IoU {IOU}."
    )


def _matrix(analysis: Analysis) -> dict[str, Any]:
    confusion = analysis.confusion
    last = len(confusion.class_names)
    sums = confusion.counts.sum(axis=1)
    rows = []
    for r, name in enumerate([*confusion.class_names, "background"]):
        cells = []
        for c, count in enumerate(confusion.counts[r].tolist()):
            share = round(100 * count / int(sums[r])) if sums[r] else 0
            kind = "none" if not count else "right" if r == c else "wrong"
            cells.append({"count": "" if r == c == last else count, "share": share, "kind": kind})
        rows.append({"name": name, "cells": cells})
    return {
        "columns": [*confusion.class_names, "not found"],
        "rows": rows,
        "iou": confusion.iou,
        "min_score": confusion.min_score,
    }


def _largest_cells(analysis: Analysis) -> list[list[Any]]:
    """True class, predicted class and count, the most frequent first; without background."""
    counts, names = analysis.confusion.counts, analysis.confusion.class_names
    cells: list[list[Any]] = [
        [names[r], names[c], int(counts[r, c])]
        for r in range(len(names))
        for c in range(len(names))
        if r != c and counts[r, c]
    ]
    return sorted(cells, key=lambda cell: -cell[2])[:_MOST_CONFUSIONS]


def _with_background(analysis: Analysis) -> list[list[Any]]:
    """Class, objects that were found, objects that were not, detections of nothing."""
    counts, names = analysis.confusion.counts, analysis.confusion.class_names
    return [
        [name, int(counts[k, k]), int(counts[k, -1]), int(counts[-1, k])]
        for k, name in enumerate(names)
    ]
