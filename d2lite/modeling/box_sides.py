"""Boxes by their four sides, in the codings of FSAF.

R boxes, K predictions of each.
"""

from torch import Tensor

from .box_regression import Box2BoxTransformLinear

__all__ = ["Box2BoxTransformTBLR"]

# Of (left, top, right, low), the rows of (top, low, left, right), and back.
_FROM_LTRB = [1, 3, 0, 2]
_TO_LTRB = [2, 0, 3, 1]


class Box2BoxTransformTBLR(Box2BoxTransformLinear):
    """`Box2BoxTransformLinear` in the order top, bottom, left, right, over a number.

    Args:
        normalizer: what distances, in sizes of the source box, are divided by.

    Source: Zhu 2019, arXiv:1903.00621, section 3.1.
    """

    def __init__(self, normalizer: float = 4.0) -> None:
        super().__init__(normalize_by_size=True)
        self.normalizer = normalizer

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Find the distances to top, bottom, left and right; see `Box2BoxTransformLinear`."""
        distances = super().get_deltas(src_boxes, target_boxes)
        return distances[:, _FROM_LTRB] / self.normalizer

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Put the sides at (R, 4 * K) distances in this order; see `Box2BoxTransformLinear`."""
        distances = deltas.float().unflatten(1, (-1, 4))[..., _TO_LTRB] * self.normalizer
        return super().apply_deltas(distances.flatten(1), boxes)
