"""The analysis of one set of results: everything that the page, the JSON and the CSV files show."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import cocoeval

from d2lite.evaluation.coco_scoring import CocoScores, score_coco
from d2lite.evaluation.detection_limits import DEFAULT_MAX_DETS

from .bootstrap import (
    DEFAULT_RESAMPLES,
    Interval,
    image_weights,
    interval,
    resampled_average_precision,
)
from .confusion import Confusion, confusion_matrix
from .curves import Curve, score_curve
from .error_kinds import KINDS, Errors, error_kinds
from .image_ranking import ImageResult, image_results
from .matches import Matches, match_table
from .other_rules import LVIS_MAX_DETS, FederatedCOCOeval, is_federated, results_that_count
from .slices import Slice, by_aspect, by_size

IOU = 0.5
"""The overlap at which curves, confusion, kinds of errors and images count a match."""


@dataclass(frozen=True)
class ClassRow:
    """Results of one class; percent but for the threshold, which is a score; nan without objects.

    Precision, recall and F1 are those at IoU 0.5 and the threshold, at which F1 is highest.
    """

    name: str
    num_objects: int
    num_images: int
    num_detections: int
    average_precision: float
    average_precision_50: float
    best_threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Analysis:
    """What is known of a set of results.

    Attributes:
        task: "bbox", "segm" or "keypoints".
        metrics: AP, AP50 ... as in the results table, percent.
        recalls: average recall by the limit of detections, percent.
        interval: of AP, from drawing the images again.
        matches: from which all the rest is counted.
        curve: of all classes together.
        class_curves: of each class.
        threshold: the score at which F1 of all classes together is highest; inf where no
            detection is right. The confusion matrix and the images are counted at it.
        classes: a row for each class.
        confusion: at IoU 0.5 and `threshold`.
        errors: at IoU 0.5 and all scores.
        sizes: small, medium and large objects.
        aspects: tall, square and wide objects.
        images: counts of each image.
    """

    task: str
    metrics: dict[str, float]
    recalls: dict[int, float]
    interval: Interval
    matches: Matches
    curve: Curve
    class_curves: list[Curve]
    threshold: float
    classes: list[ClassRow]
    confusion: Confusion
    errors: Errors
    sizes: list[Slice]
    aspects: list[Slice]
    images: list[ImageResult]


def analyze(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    task: str,
    *,
    max_dets: Sequence[int] = DEFAULT_MAX_DETS,
    kpt_oks_sigmas: Sequence[float] | None = None,
    evaluation_type: Any = cocoeval.COCOeval,
    num_resamples: int = DEFAULT_RESAMPLES,
) -> Analysis:
    """Score results as evaluation does, and count everything from the scorer's matches.

    Args:
        truth: COCO dict of the ground truth. That of LVIS is known by its
            `neg_category_ids`, and scored by LVIS' rules and limits.
        results: COCO result dicts.
        task: "bbox", "segm" or "keypoints".
        max_dets: limits of detections for each image and class, ascending.
        kpt_oks_sigmas: one for each keypoint; None for COCO's 17.
        evaluation_type: a COCOeval that fills `evalImgs`.
        num_resamples: draws for the interval of AP; 0 for none.
    """
    if is_federated(truth):
        results, max_dets = results_that_count(truth, results), LVIS_MAX_DETS
        evaluation_type = FederatedCOCOeval
    evaluation = score_coco(
        truth,
        [result for result in results if KEY_OF_TASK[task] in result],
        task,
        max_dets=max_dets,
        kpt_oks_sigmas=kpt_oks_sigmas,
        evaluation_type=evaluation_type,
    )
    scores = CocoScores.of(evaluation)
    names = {c["id"]: str(c.get("name", c["id"])) for c in truth["categories"]}
    matches = match_table(evaluation, names)
    curve = score_curve(matches, IOU)
    best = curve.best()
    threshold = math.inf if best is None else float(curve.thresholds[best])
    class_curves = [score_curve(matches, IOU, k) for k in range(len(matches.category_ids))]
    areas = dict(zip(scores.area_names, evaluation.params.areaRng, strict=True))
    weights = image_weights(len(matches.image_ids), num_resamples)
    return Analysis(
        task=task,
        metrics=scores.metrics(task),
        recalls={m: scores.average_recall(m) for m in scores.max_dets},
        interval=interval(resampled_average_precision(matches, weights)),
        matches=matches,
        curve=curve,
        class_curves=class_curves,
        threshold=threshold,
        classes=_class_rows(matches, scores, class_curves),
        confusion=confusion_matrix(matches, iou=IOU, min_score=threshold),
        errors=error_kinds(matches, iou=IOU),
        sizes=by_size(matches, scores, {n: tuple(a) for n, a in areas.items() if n != "all"}),
        aspects=by_aspect(matches),
        images=image_results(matches, iou=IOU, min_score=threshold),
    )


TITLES = {"bbox": "Boxes", "segm": "Masks", "keypoints": "Keypoints"}
KEY_OF_TASK = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}


def tasks_in(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tasks that results can be scored in; boxes where there is no result."""
    keys = set().union(*results)
    return [task for task, key in KEY_OF_TASK.items() if key in keys] or ["bbox"]


def _class_rows(matches: Matches, scores: CocoScores, curves: list[Curve]) -> list[ClassRow]:
    rows = []
    for k, (category, curve) in enumerate(zip(scores.category_ids, curves, strict=True)):
        best = curve.best()
        is_object = (matches.gt_class == k) & ~matches.gt_ignored

        def percent(values: np.ndarray, at: int | None = best) -> float:
            return float("nan") if at is None else float(values[at] * 100)

        rows.append(
            ClassRow(
                name=matches.class_names[k],
                num_objects=curve.num_objects,
                num_images=len(np.unique(matches.gt_image[is_object])),
                num_detections=int((matches.dt_class == k).sum()),
                average_precision=scores.average_precision(category_ids=[category]),
                average_precision_50=scores.average_precision(iou=IOU, category_ids=[category]),
                best_threshold=float("nan") if best is None else float(curve.thresholds[best]),
                precision=percent(curve.precision),
                recall=percent(curve.recall),
                f1=percent(curve.f1),
            )
        )
    return rows


def as_json(analysis: Analysis) -> dict[str, Any]:
    """The analysis as plain values; null where a number is not defined."""
    confusion, errors = analysis.confusion, analysis.errors
    plain: dict[str, Any] = {
        "task": analysis.task,
        "metrics": analysis.metrics,
        "average_recall": {str(limit): value for limit, value in analysis.recalls.items()},
        "average_precision_interval": dataclasses.asdict(analysis.interval),
        "iou": IOU,
        "best_threshold": analysis.threshold,
        "thresholds": {
            # A class without a right detection has none.
            row.name: row.best_threshold
            for row in analysis.classes
            if math.isfinite(row.best_threshold)
        },
        "classes": [dataclasses.asdict(row) for row in analysis.classes],
        "confusion": {
            "rows": "true class, last: background",
            "columns": "predicted class, last: not found",
            "iou": confusion.iou,
            "min_score": confusion.min_score,
            "class_names": confusion.class_names,
            "counts": confusion.counts.tolist(),
            "ignored_detections": confusion.num_ignored,
        },
        "errors": {
            "iou": errors.iou,
            "near": errors.near,
            "average_precision": errors.average_precision,
            "kinds": {
                kind: {"count": errors.counts[kind], "cost": errors.cost[kind]} for kind in KINDS
            },
        },
        "sizes": [dataclasses.asdict(part) for part in analysis.sizes],
        "aspects": [dataclasses.asdict(part) for part in analysis.aspects],
        "images": [{**dataclasses.asdict(i), "f1": i.f1} for i in analysis.images],
    }
    content: dict[str, Any] = finite(plain)
    return content


def finite(value: Any) -> Any:
    """Plain values with None in the place of numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def csv_tables(analysis: Analysis) -> dict[str, str]:
    """The analysis as CSV: file name to content."""
    confusion = analysis.confusion
    names = [*confusion.class_names, "background"]
    header = ["true class", *confusion.class_names, "not found"]
    matrix = [
        dict(zip(header, [n, *row], strict=True))
        for n, row in zip(names, confusion.counts.tolist(), strict=True)
    ]
    images = [{**dataclasses.asdict(i), "f1": i.f1} for i in analysis.images]
    return {
        "classes.csv": _csv([dataclasses.asdict(row) for row in analysis.classes]),
        "confusion.csv": _csv(matrix),
        "images.csv": _csv(images),
        "errors.csv": _csv(list_of_errors(analysis)),
    }


def list_of_errors(analysis: Analysis) -> list[dict[str, Any]]:
    """Each false alarm at or above the threshold, and each object that is not found there."""
    matches, errors = analysis.matches, analysis.errors
    kinds = list(KINDS)
    wrong = np.flatnonzero(matches.is_wrong(IOU) & (matches.dt_score >= analysis.threshold))
    is_missed = matches.is_missed(IOU, analysis.threshold)
    rows = [
        {
            "error": "false alarm",
            "kind": kinds[errors.dt_kind[d]],
            "image_id": matches.image_ids[matches.dt_image[d]],
            "class": matches.class_names[matches.dt_class[d]],
            "score": float(matches.dt_score[d]),
            "box": " ".join(f"{v:.1f}" for v in matches.dt_box[d]),
        }
        for d in wrong[np.argsort(-matches.dt_score[wrong], kind="stable")]
    ]
    rows += [
        {
            "error": "miss",
            "kind": "missed",
            "image_id": matches.image_ids[matches.gt_image[g]],
            "class": matches.class_names[matches.gt_class[g]],
            "score": None,
            "box": " ".join(f"{v:.1f}" for v in matches.gt_box[g]),
        }
        for g in np.flatnonzero(is_missed)
    ]
    return rows


def _csv(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if finite(value) is None else value for key, value in row.items()})
    return stream.getvalue()
