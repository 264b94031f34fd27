"""Non-maximum suppression of padded batches: a mask of what is kept, of a shape known before.

N images, R boxes an image.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .nms import nms

__all__ = ["nms_mask", "one_node_nms"]

_uses_operator = False


@contextmanager
def one_node_nms() -> Iterator[None]:
    """Inside, `nms_mask` records the operator `d2lite::nms_mask`, for formats with such a node.

    ONNX compares boxes in float32, and has a class axis in place of boxes that are shifted apart.
    """
    global _uses_operator
    before, _uses_operator = _uses_operator, True
    try:
        yield
    finally:
        _uses_operator = before


def nms_mask(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    valid: Tensor,
    iou_threshold: float,
    num_groups: int,
) -> Tensor:
    """Find the boxes that suppression keeps, as `batched_nms` does in each image.

    Args:
        boxes: (N, R, 4) float, xyxy in pixels.
        scores: (N, R) float.
        groups: (N, R) int64 in [0, num_groups); boxes of two groups do not compete.
        valid: (N, R) bool; the others are padding, and neither kept nor compared.
        iou_threshold: boxes of a larger IoU with a better one are suppressed.
        num_groups: how many groups there can be.

    Returns:
        (N, R) bool.
    """
    boxes = boxes.float().masked_fill(~valid[..., None], 0.0)
    scores = scores.float().masked_fill(~valid, -torch.inf)
    if _uses_operator:
        kept = _operator(boxes, scores, groups, iou_threshold, num_groups)
    else:
        kept = _keep_shifted(boxes, scores, groups, iou_threshold)
    return kept & valid


def _keep_shifted(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Move each group of each image to a place of its own, and suppress once.

    In float64, see `batched_nms`. Padding is an empty box, which suppresses nothing.
    """
    images = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
    exact = boxes.double().flatten(0, 1)
    span = exact.max() - exact.min() + 1
    number = (groups + images * (groups.max() + 1)).flatten()
    shifted = exact + (number.to(exact) * span)[:, None]
    kept = nms(shifted, scores.double().flatten(), iou_threshold)
    mask = torch.zeros_like(number, dtype=torch.bool)
    # 1, and not True, for which a trace of TorchScript has no operator.
    return mask.index_fill(0, kept, 1).reshape(scores.shape)


@torch.library.custom_op("d2lite::nms_mask", mutates_args=())
def _operator(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, num_groups: int
) -> Tensor:
    return _keep_shifted(boxes, scores, groups, iou_threshold)


@_operator.register_fake
def _(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, num_groups: int
) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)
