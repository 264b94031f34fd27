"""Instances -> COCO result dicts, and why a set of predictions scores little or nothing."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from d2lite.structures import BoxMode, Instances
from d2lite.structures.masks import rle

logger = logging.getLogger(__name__)


def instances_to_coco_json(instances: Instances, img_id: int | str) -> list[dict[str, Any]]:
    """Write a model's instances as COCO result dicts.

    Args:
        instances: with pred_boxes, scores, pred_classes and maybe pred_masks (N, H, W) and
            pred_keypoints (N, K, 3), on any device.
        img_id: id of the image.

    Returns:
        For each instance image_id, category_id (the model's class number), bbox (xywh, pixels),
        score, and maybe segmentation (run-length code with text counts) and keypoints.
    """
    if len(instances) == 0:
        return []
    boxes = BoxMode.convert(
        instances.pred_boxes.tensor.detach().cpu(), BoxMode.XYXY_ABS, BoxMode.XYWH_ABS
    )
    columns: dict[str, list[Any]] = {
        "category_id": instances.pred_classes.tolist(),
        "bbox": boxes.tolist(),
        "score": instances.scores.tolist(),
    }
    if instances.has("pred_masks"):
        columns["segmentation"] = masks_to_rle(instances.pred_masks)
    if instances.has("pred_keypoints"):
        columns["keypoints"] = _keypoint_rows(instances.pred_keypoints)
    return [
        {"image_id": img_id, **dict(zip(columns, values, strict=True))}
        for values in zip(*columns.values(), strict=True)
    ]


def masks_to_rle(masks: Any) -> list[dict[str, Any]]:
    """Encode masks.

    Args:
        masks: (N, H, W) tensor of 0 and 1, or `BitMasks`.

    Returns:
        COCO run-length codes whose counts are text, so that JSON can hold them.
    """
    return rle.encode_all(getattr(masks, "tensor", masks).detach().cpu().numpy())


def _keypoint_rows(keypoints: torch.Tensor) -> list[list[float]]:
    """(N, K, 3) in continuous coordinates to rows x0, y0, score0, x1 ... in COCO's."""
    # COCO gives keypoints as indices of pixels, whose centres are at half coordinates here.
    shift = keypoints.new_tensor([0.5, 0.5, 0.0])
    return (keypoints - shift).flatten(1).tolist()


def explain_poor_results(
    results: Collection[dict[str, Any]],
    *,
    predicted_images: Collection[Any],
    num_unknown_class: int,
    gt_images: Iterable[dict[str, Any]],
    gt_category_ids: Iterable[Any],
) -> str | None:
    """Say why predictions score too low, if something is plainly wrong with them.

    Args:
        results: COCO result dicts, after classes out of range were taken out.
        predicted_images: ids of the images that the model saw.
        num_unknown_class: predictions whose class number the dataset does not have.
        gt_images: COCO's image dicts of the ground truth.
        gt_category_ids: of the categories that have ground truth.

    Returns:
        The reasons, or None where predictions and ground truth fit each other.
    """
    reasons = []
    num_images = len(predicted_images)
    if num_images == 0:
        reasons.append("no image was processed: is the dataset or the data loader empty?")
    if num_unknown_class:
        reasons.append(
            f"{num_unknown_class} predictions have a class number that the dataset does not have "
            "and were left out: were the model and its NUM_CLASSES made for other data?"
        )
    known_images = {image["id"]: image for image in gt_images}
    known_categories = set(gt_category_ids)
    missed = known_images.keys() - set(predicted_images)
    if 0 < len(missed) < len(known_images):
        reasons.append(
            f"{len(missed)} of the {len(known_images)} images were not predicted, for instance "
            f"{min(missed, key=str)!r}, so their objects count as missed. Predict all images, or "
            "score some alone by evaluate(img_ids=...)."
        )
    if num_images and not known_categories:
        reasons.append("the dataset has no annotation to compare with, so AP is undefined (nan).")
    if num_images and not results and not num_unknown_class:
        reasons.append(
            f"the model predicted nothing on {num_images} images: nothing scored above the "
            "threshold (MODEL.ROI_HEADS.SCORE_THRESH_TEST or that of the model used). After a "
            "short training lower it, or train on."
        )
    if results:
        reasons += _misfits(results, known_images, known_categories)
    return " Also: ".join(reasons) or None


def _misfits(
    results: Collection[dict[str, Any]],
    images: Mapping[Any, dict[str, Any]],
    category_ids: Collection[Any],
) -> Iterator[str]:
    """What of predictions is not as in the ground truth: sizes, images, categories."""
    first = next(iter(results))
    image = images.get(first["image_id"], {})
    size, mask = [image.get("height"), image.get("width")], first.get("segmentation")
    if isinstance(mask, dict) and None not in size and list(mask["size"]) != size:
        yield (
            "predicted masks have another size than their images (height and width "
            f"{list(mask['size'])}, image {first['image_id']!r} has {size}), so "
            "none can match; scale them to the image, as detector_postprocess does."
        )
    if not any(r["image_id"] in images for r in results):
        yield (
            "no predicted image id is in the ground truth, for instance "
            f"{first['image_id']!r}: are images and annotations of one dataset?"
        )
    elif category_ids and not any(r["category_id"] in category_ids for r in results):
        predicted = sorted({r["category_id"] for r in results})[:5]
        yield (
            f"predicted categories (ids {predicted} ...) and those with ground truth (ids "
            f"{sorted(category_ids)[:5]} ...) have none in common: does the order of "
            "classes fit the model?"
        )


def without_repeats(
    predictions: Sequence[dict[str, Any]], dataset_name: str
) -> list[dict[str, Any]]:
    """Leave out what was predicted again for an image, as it would count as false.

    Other objects of an image that was predicted before stay: parts of an image may be predicted
    one after another.

    Args:
        predictions: with "image_id", and "instances" (COCO result dicts) where there are some.
        dataset_name: for the warning, where an image was predicted again.
    """
    kept: dict[Any, list[dict[str, Any]]] = {}
    for prediction in predictions:
        before = kept.setdefault(prediction["image_id"], [])
        if not any(_are_alike(prediction, other) for other in before):
            before.append(prediction)
    found = [prediction for of_image in kept.values() for prediction in of_image]
    num_repeats, num_further = len(predictions) - len(found), len(found) - len(kept)
    if num_repeats:
        logger.warning(
            "Evaluation of '%s': %d predictions are repeats of an image, and are left out. A data "
            "loader that repeats images does this.",
            dataset_name,
            num_repeats,
        )
    if num_further:
        logger.warning(
            "Evaluation of '%s': %d predictions are of images that were predicted before with "
            "other objects; all of them count. Call reset() before a new evaluation.",
            dataset_name,
            num_further,
        )
    return found


def _are_alike(prediction: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the objects are the same up to what another batch changes."""
    pairs = zip(prediction.get("instances", ()), other.get("instances", ()), strict=False)
    return len(prediction.get("instances", ())) == len(other.get("instances", ())) and all(
        a["category_id"] == b["category_id"]
        and np.allclose([*a["bbox"], a["score"]], [*b["bbox"], b["score"]], rtol=1e-3, atol=1e-2)
        for a, b in pairs
    )


def without_classes(prediction: dict[str, Any]) -> dict[str, Any]:
    """A prediction whose proposals are plain tensors, for torch.load(weights_only=True)."""
    if "proposals" not in prediction:
        return prediction
    proposals = prediction["proposals"]
    return {
        **prediction,
        "proposals": {
            "boxes": proposals.proposal_boxes.tensor,
            "objectness_logits": proposals.objectness_logits,
        },
    }
