"""A side of a box as one of some buckets, and an offset from it.

R boxes, S buckets of a side.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.utils.errors import ArgumentError

__all__ = ["BucketTargets", "BucketTransform", "bucket_confidence"]


class BucketTargets(NamedTuple):
    """What is learnt of sides, in the order left, right, top, bottom.

    Attributes:
        labels: (R, 4, S) float, 1 for the bucket that is nearest to the side, 0 for the others.
        label_weights: (R, 4, S) float, 0 for others that are less than a bucket away, 1 else.
        offsets: (R, 4, S) float, from the side to the middle of each bucket, in buckets.
        offset_weights: (R, 4, S) float, 1 for the nearest bucket, and for the second nearest one
            if it is less than a bucket away, 0 else.
    """

    labels: Tensor
    label_weights: Tensor
    offsets: Tensor
    offset_weights: Tensor


class BucketTransform:
    """A side as one of the buckets of a part of the box, and its offset from that bucket's middle.

    The box is scaled around its centre and cut into slices along each axis. Buckets of the left
    side are those of the left half, from the outside in; likewise of the others.

    Args:
        num_buckets: slices along an axis, at least 3; a side has S, half of them, rounded up.
        scale_factor: of width and height of the box, > 0.

    Raises:
        ArgumentError: for fewer slices or another factor.

    Source: Wang 2020, arXiv:1912.04260, sections 3.1 to 3.3.
    """

    def __init__(self, num_buckets: int = 14, scale_factor: float = 3.0) -> None:
        if num_buckets < 3 or scale_factor <= 0:
            raise ArgumentError(
                f"num_buckets={num_buckets}, scale_factor={scale_factor}: give at least 3 buckets "
                "and a factor above 0."
            )
        self.num_buckets = num_buckets
        self.scale_factor = scale_factor
        self.side_buckets = (num_buckets + 1) // 2

    def find_targets(self, src_boxes: Tensor, target_boxes: Tensor) -> BucketTargets:
        """Find what boxes should predict.

        Args:
            src_boxes: (R, 4) float, xyxy in pixels, width and height > 0.
            target_boxes: (R, 4) float, xyxy in pixels.
        """
        middles, size = self._buckets(src_boxes.float())
        sides = target_boxes.float()[:, [0, 2, 1, 3]]
        offsets = (middles - sides[..., None]) / size
        away = offsets.abs()
        nearest = away.topk(2, dim=2, largest=False).indices
        labels, second = F.one_hot(nearest, self.side_buckets).to(offsets.dtype).unbind(dim=2)
        is_near = (away < 1).to(offsets.dtype)
        return BucketTargets(labels, 1 - is_near * (1 - labels), offsets, labels + second * is_near)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Put each side at its offset from the bucket that scores best.

        Args:
            deltas: (R, 8 * S) float, logits of the buckets of all sides, then their offsets.
            boxes: (R, 4) float, xyxy in pixels.

        Returns:
            (R, 4) float32, xyxy in pixels, not clipped to the image.
        """
        logits, offsets = deltas.float().unflatten(1, (2, 4, self.side_buckets)).unbind(dim=1)
        middles, size = self._buckets(boxes.to(logits.dtype))
        best = logits.argmax(dim=2, keepdim=True)
        sides = (middles - offsets * size).gather(2, best)[..., 0]
        return sides[:, [0, 2, 1, 3]]

    def _buckets(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """(R, 4, S) middles of the buckets of each side, and (R, 4, 1) their size, in pixels."""
        low, high = boxes.unflatten(1, (2, 2)).unbind(dim=1)
        centre, half = (low + high) / 2, (high - low) / 2 * self.scale_factor
        size = (2 * half / self.num_buckets)[..., None]
        steps = (torch.arange(self.side_buckets, device=boxes.device) + 0.5) * size
        from_low = (centre - half)[..., None] + steps
        from_high = (centre + half)[..., None] - steps
        # Both are (R, 2, S), of x and of y.
        middles = torch.stack((from_low, from_high), dim=2).flatten(1, 2)
        return middles, size.repeat_interleave(2, dim=1)


def bucket_confidence(logits: Tensor) -> Tensor:
    """How sure the buckets of the four sides are, by which the score of a box is multiplied.

    Args:
        logits: (..., 4, S) float.

    Returns:
        (...) float32 in [0, 1]: the mean over sides of the best bucket's share, and of the second
        one's where it is beside the best.

    Source: Wang 2020, arXiv:1912.04260, section 3.3.
    """
    shares, places = logits.float().softmax(dim=-1).topk(2, dim=-1)
    is_beside = (places[..., 0] - places[..., 1]).abs() == 1
    return (shares[..., 0] + shares[..., 1] * is_beside).mean(dim=-1)
