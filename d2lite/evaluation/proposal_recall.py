"""Average recall of box proposals, without regard to classes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from d2lite.structures import Boxes, BoxMode, pairwise_iou

_AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}
_LIMITS = (100, 1000)


def best_overlaps(ious: Tensor) -> Tensor:
    """Give each object a proposal of its own, the best-covered object choosing first.

    Args:
        ious: (P, G) overlap of P proposals and G objects.

    Returns:
        (G,) overlap of each object with its proposal, 0 for those that went without, unordered.
    """
    found = ious.new_zeros(ious.shape[1])
    free = ious.clone()
    for turn in range(min(ious.shape)):
        place = int(free.argmax())
        proposal, target = divmod(place, ious.shape[1])
        found[turn] = free[proposal, target]
        free[proposal, :] = -1
        free[:, target] = -1
    return found.clamp(min=0)


def proposal_recall(
    predictions: Sequence[Mapping[str, Any]], dataset: Mapping[str, Any]
) -> dict[str, float]:
    """Recall of the best 100 and 1000 proposals, mean over IoU 0.5, 0.55 ... 0.95.

    Args:
        predictions: with "image_id" and "proposals" (`Instances` on the CPU with proposal_boxes
            and objectness_logits).
        dataset: COCO dict; crowds do not count.

    Returns:
        AR@100, ARs@100, ARm@100, ARl@100 and the same at 1000, in percent; nan where there are no
        objects of that area.
    """
    truth: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in dataset.get("annotations", ()):
        if not annotation.get("iscrowd", 0):
            truth[annotation["image_id"]].append(annotation)
    overlaps: dict[str, list[Tensor]] = defaultdict(list)
    for prediction in predictions:
        objects = truth.get(prediction["image_id"], [])
        if "proposals" not in prediction or not objects:
            continue
        # DIFFERS: the reference leaves out images without a proposal, and finds a higher recall.
        proposals = prediction["proposals"]
        order = proposals.objectness_logits.argsort(descending=True)
        boxes_xywh = torch.tensor([a["bbox"] for a in objects], dtype=torch.float32)
        gt_boxes = Boxes(BoxMode.convert(boxes_xywh, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))
        areas = torch.tensor([a.get("area", a["bbox"][2] * a["bbox"][3]) for a in objects])
        ious = pairwise_iou(proposals.proposal_boxes[order], gt_boxes)
        for suffix, (low, high) in _AREAS.items():
            is_inside = (areas >= low) & (areas <= high)
            for limit in _LIMITS:
                found = best_overlaps(ious[:limit, is_inside])
                overlaps[f"AR{suffix}@{limit}"].append(found)
    thresholds = torch.arange(0.5, 0.95 + 1e-5, 0.05)
    results = {}
    for limit in _LIMITS:
        for suffix in _AREAS:
            name = f"AR{suffix}@{limit}"
            found = torch.cat(overlaps[name]) if overlaps[name] else torch.zeros(0)
            reached = (found[:, None] >= thresholds).float().mean(dim=0)
            results[name] = float(reached.mean() * 100)
    return results
