"""From the size that a network saw to the size that was asked for."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from d2lite.structures import Boxes, Instances, ROIMasks, RotatedBoxes
from d2lite.utils.errors import ArgumentError
from d2lite.utils.tracing import is_tracing

__all__ = ["detector_postprocess", "sem_seg_postprocess"]


def whole_side(side: Any) -> Any:
    """A height or width as an int; in a trace, where int() would make it a constant, as it is."""
    return side if is_tracing() else int(side)


def rescale_boxes_(
    boxes: Boxes | RotatedBoxes, from_size: tuple[int, int], to_size: tuple[int, int]
) -> None:
    """Scale boxes from one image size to another and clip them to it, in place.

    Args:
        boxes: in pixels of `from_size`.
        from_size: (height, width).
        to_size: (height, width).
    """
    boxes.scale(to_size[1] / from_size[1], to_size[0] / from_size[0])
    boxes.clip(to_size)


def detector_postprocess(
    results: Instances, output_height: int, output_width: int, mask_threshold: float = 0.5
) -> Instances:
    """Bring detections to the output size; those that vanish are dropped.

    Args:
        results: detections of one image in pixels of the network's input, `image_size` without
            padding. Fields that matter: `pred_boxes` or `proposal_boxes`, `pred_masks`
            ((N, 1, M, M) probabilities inside the boxes), `pred_keypoints` ((N, K, 3)).
        output_height: pixels.
        output_width: pixels.
        mask_threshold: a pixel with this probability or more belongs to the mask.

    Returns:
        new `Instances` of the output size; `pred_masks` is (N, height, width) bool. The argument
        is left as it was.

    Raises:
        ArgumentError: if `results` has neither field of boxes.
    """
    to_size = (whole_side(output_height), whole_side(output_width))
    # DIFFERS: on a copy; the reference scales the boxes of its argument.
    out = Instances(to_size, **results.get_fields())
    name = "pred_boxes" if results.has("pred_boxes") else "proposal_boxes"
    if not results.has(name):
        raise ArgumentError(
            f"Detections need pred_boxes or proposal_boxes; found {list(results.get_fields())}."
        )
    boxes = results.get(name).clone()
    rescale_boxes_(boxes, results.image_size, to_size)
    out.set(name, boxes)
    out = out[boxes.nonempty()]

    if out.has("pred_masks"):
        masks = out.pred_masks
        if not isinstance(masks, ROIMasks):
            masks = ROIMasks(masks[:, 0])
        out.pred_masks = masks.to_bitmasks(
            out.pred_boxes, to_size[0], to_size[1], mask_threshold
        ).tensor
    if out.has("pred_keypoints"):
        keypoints = out.pred_keypoints.clone()
        keypoints[..., 0] *= to_size[1] / results.image_size[1]
        keypoints[..., 1] *= to_size[0] / results.image_size[0]
        out.pred_keypoints = keypoints
    return out


def sem_seg_postprocess(
    result: Tensor, img_size: tuple[int, int], output_height: int, output_width: int
) -> Tensor:
    """Cut the padding off class scores and resize them to the output size.

    Args:
        result: (C, H, W) float scores of one padded image.
        img_size: (height, width) without the padding.
        output_height: pixels.
        output_width: pixels.

    Returns:
        (C, output_height, output_width) float.
    """
    unpadded = result[None, :, : img_size[0], : img_size[1]]
    size = (whole_side(output_height), whole_side(output_width))
    return F.interpolate(unpadded, size=size, mode="bilinear", align_corners=False)[0]
