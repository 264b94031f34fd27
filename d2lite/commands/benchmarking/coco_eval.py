"""The scoring of COCO results on generated boxes: our way, and pycocotools alone."""

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import coco, cocoeval

from d2lite.evaluation.coco_ground_truth import complete_ground_truth
from d2lite.evaluation.coco_scoring import score_coco
from d2lite.evaluation.fast_eval_api import COCOeval_opt

from .clock import PhaseClock, Side

__all__ = ["coco_sides"]

_CLASSES, _SIDE = 80, 640


def coco_sides(num_images: int, *, objects: int, with_pycocotools: bool) -> list[Side]:
    """Make the sides that score detections of boxes.

    Args:
        num_images: images of the generated ground truth.
        objects: annotations of an image; there are three detections for each.
        with_pycocotools: also measure pycocotools' own loops.
    """
    truth, results = _generated(num_images, objects)
    clock = PhaseClock()

    def ours() -> Mapping[str, float]:
        with clock("whole"):
            score_coco(truth, results, "bbox", max_dets=[1, 10, 100], evaluation_type=COCOeval_opt)
        return clock.take()

    def theirs() -> Mapping[str, float]:
        with clock("whole"), contextlib.redirect_stdout(io.StringIO()):
            api = coco.COCO()
            api.dataset = truth
            api.createIndex()
            scoring = cocoeval.COCOeval(api, api.loadRes([dict(one) for one in results]), "bbox")
            scoring.evaluate()
            scoring.accumulate()
        return clock.take()

    sides = [Side("d2lite", ours)]
    return [*sides, Side("pycocotools", theirs)] if with_pycocotools else sides


def _generated(num_images: int, objects: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rng = np.random.default_rng(0)
    total = num_images * objects
    image_ids = np.repeat(np.arange(1, num_images + 1), objects)
    categories = rng.integers(1, _CLASSES + 1, total)
    corners, sides = rng.random((total, 2)) * _SIDE * 0.7, 10 + rng.random((total, 2)) * 180
    boxes = np.concatenate([corners, sides], axis=1).round(2)
    annotations = [
        {"id": i + 1, "image_id": int(image), "category_id": int(c), "bbox": b.tolist()}
        for i, (image, c, b) in enumerate(zip(image_ids, categories, boxes, strict=True))
    ]
    images = [{"id": i + 1, "height": _SIDE, "width": _SIDE} for i in range(num_images)]
    names = [{"id": i + 1, "name": str(i + 1)} for i in range(_CLASSES)]
    truth = {"images": images, "annotations": annotations, "categories": names}
    results = []
    for _ in range(3):
        found = (boxes + rng.normal(0, 6, boxes.shape)).clip(1)
        results += [
            {"image_id": int(i), "category_id": int(c), "bbox": b.tolist(), "score": float(s)}
            for i, c, b, s in zip(image_ids, categories, found, rng.random(total), strict=True)
        ]
    return complete_ground_truth(truth, "bbox"), results
