"""Average recall of box proposals, without regard to classes, and the file of them."""

import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2lite.structures import Boxes, BoxMode, RotatedBoxes, pairwise_iou, pairwise_iou_rotated
from d2lite.utils.errors import ArgumentError
from d2lite.utils.file_io import atomic_write

from .coco_ground_truth import complete_ground_truth
from .coco_inputs import with_upright_box

_ENDLESS = 1e5
# Name -> sides, in pixels, of the squares of the least and the largest area.
_SIDES = {
    "all": (0, _ENDLESS),
    "small": (0, 32),
    "medium": (32, 96),
    "large": (96, _ENDLESS),
    "96-128": (96, 128),
    "128-256": (128, 256),
    "256-512": (256, 512),
    "512-inf": (512, _ENDLESS),
}
_AREAS = {name: (float(low**2), float(high**2)) for name, (low, high) in _SIDES.items()}
_SUFFIXES = {"": "all", "s": "small", "m": "medium", "l": "large"}
_THRESHOLDS = torch.arange(0.5, 0.95 + 1e-5, 0.05)
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


def save_proposals(predictions: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write proposals as a file that DATASETS.PROPOSAL_FILES_* takes.

    Args:
        predictions: see `proposal_recall`.
        path: of the pickle.
    """
    found = [(p["image_id"], p["proposals"]) for p in predictions if "proposals" in p]
    is_rotated = any(isinstance(p.proposal_boxes, RotatedBoxes) for _, p in found)
    content = {
        "ids": [image_id for image_id, _ in found],
        "boxes": [p.proposal_boxes.tensor.numpy() for _, p in found],
        "objectness_logits": [p.objectness_logits.numpy() for _, p in found],
        # As a number: the enumeration would tie the file to this package.
        "bbox_mode": (BoxMode.XYWHA_ABS if is_rotated else BoxMode.XYXY_ABS).value,
    }
    with atomic_write(path, "wb") as stream:
        pickle.dump(content, stream)


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
    overlaps: dict[str, list[Tensor]] = defaultdict(list)
    for ious, areas in _overlaps_of_images(predictions, dataset):
        for suffix, area in _SUFFIXES.items():
            is_inside = _is_inside(areas, area)
            for limit in _LIMITS:
                overlaps[f"AR{suffix}@{limit}"].append(best_overlaps(ious[:limit, is_inside]))
    names = [f"AR{suffix}@{limit}" for limit in _LIMITS for suffix in _SUFFIXES]
    return {name: float(_recalls(overlaps[name], _THRESHOLDS).mean() * 100) for name in names}


def _overlaps_of_images(
    predictions: Iterable[Mapping[str, Any]], dataset: Mapping[str, Any]
) -> Iterator[tuple[Tensor, Tensor]]:
    """(P, G) overlaps of proposals, the best first, and (G,) areas, of images with objects."""
    truth: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in complete_ground_truth(dataset, "bbox")["annotations"]:
        if not annotation["iscrowd"]:
            truth[annotation["image_id"]].append(annotation)
    for prediction in predictions:
        objects = truth.get(prediction["image_id"], [])
        if "proposals" not in prediction or not objects:
            continue
        # DIFFERS: the reference leaves out images without a proposal, and finds a higher recall.
        proposals = prediction["proposals"]
        order = proposals.objectness_logits.argsort(descending=True)
        areas = torch.tensor([a["area"] for a in objects])
        yield _pairwise_iou(proposals.proposal_boxes[order], objects), areas


def _pairwise_iou(proposals: Boxes, objects: Sequence[Mapping[str, Any]]) -> Tensor:
    """(P, G) overlaps; for upright proposals, rotated objects count as the boxes around them."""
    if not isinstance(proposals, RotatedBoxes):
        xywh = torch.tensor([with_upright_box({**a})["bbox"] for a in objects], dtype=torch.float32)
        boxes = BoxMode.convert(xywh, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        return pairwise_iou(proposals, Boxes(boxes))
    rotated = [
        a["bbox"]
        if len(a["bbox"]) == 5
        else BoxMode.convert(a["bbox"], BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)
        for a in objects
    ]
    return pairwise_iou_rotated(proposals, RotatedBoxes(torch.tensor(rotated)))


def _is_inside(areas: Tensor, name: str) -> Tensor:
    low, high = _AREAS[name]
    return (areas >= low) & (areas <= high)


def _recalls(overlaps: Sequence[Tensor], thresholds: Tensor) -> Tensor:
    found = torch.cat([torch.zeros(0), *overlaps])
    return (found[:, None] >= thresholds).float().mean(dim=0)


def _evaluate_box_proposals(
    dataset_predictions: Iterable[Mapping[str, Any]],
    coco_api: Any,
    thresholds: Tensor | None = None,
    area: str = "all",
    limit: int | None = None,
) -> dict[str, Any]:
    """Recall of proposals under the name and with the arguments of detectron2.

    Args:
        dataset_predictions: see `proposal_recall`.
        coco_api: with the COCO dict as `dataset`, as pycocotools has it.
        thresholds: (T,) IoU; 0.5, 0.55 ... 0.95 where None.
        area: of the objects that count: "all", "small", "medium", "large", "96-128", "128-256",
            "256-512" or "512-inf".
        limit: how many proposals of an image count, the best first; all where None.

    Returns:
        "ar", the mean of "recalls" (T,) at "thresholds"; "gt_overlaps", the overlap of each object
        with its proposal, ascending; "num_pos", the number of objects.

    Raises:
        ArgumentError: for another area.
    """
    if area not in _AREAS:
        raise ArgumentError(f"There is no area {area!r}; choose one of {', '.join(_AREAS)}.")
    overlaps = [
        best_overlaps(ious[:limit, _is_inside(areas, area)])
        for ious, areas in _overlaps_of_images(dataset_predictions, coco_api.dataset)
    ]
    thresholds = _THRESHOLDS if thresholds is None else thresholds
    recalls = _recalls(overlaps, thresholds)
    return {
        "ar": recalls.mean(),
        "recalls": recalls,
        "thresholds": thresholds,
        "gt_overlaps": torch.cat([torch.zeros(0), *overlaps]).sort().values,
        "num_pos": sum(len(found) for found in overlaps),
    }
