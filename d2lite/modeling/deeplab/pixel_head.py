"""What the semantic heads of the DeepLab family share: full size, and the loss there.

N images, K classes, H x W pixels of the padded network input, s the common stride.
"""

from typing import Any

from torch import Tensor

from d2lite.config import CfgNode

from ..meta_arch.semantic_seg import SemSegHead
from .loss import build_pixel_loss
from .parts import to_full_size


class PixelHead(SemSegHead):
    """Scores of each cell at the common stride, and their loss; a subclass gives `layers`.

    Args:
        common_stride: s.
        loss_weight: factor on the loss.
        loss_type: see `build_pixel_loss`.
        ignore_value: pixels of this label enter no loss.
    """

    def __init__(
        self, *, common_stride: int, loss_weight: float, loss_type: str, ignore_value: int
    ) -> None:
        super().__init__()
        self.common_stride = common_stride
        self.loss_weight = loss_weight
        self.loss_type = loss_type
        self.ignore_value = ignore_value
        self.loss = build_pixel_loss(loss_type, ignore_value)

    def losses(
        self, predictions: Tensor, targets: Tensor, weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compare scores with labels.

        Args:
            predictions: (N, K, H / s, W / s) float.
            targets: (N, H, W) int64.
            weights: (N, H, W) factor of each pixel, or None.

        Returns:
            `loss_sem_seg`.
        """
        scores = to_full_size(predictions, self.common_stride, targets)
        return {"loss_sem_seg": self.loss(scores, targets, weights) * self.loss_weight}


def classifier_arguments(node: CfgNode) -> dict[str, Any]:
    """Arguments of a head with classes, from `MODEL.SEM_SEG_HEAD`."""
    return {
        "loss_weight": node.LOSS_WEIGHT,
        "loss_type": node.LOSS_TYPE,
        "ignore_value": node.IGNORE_VALUE,
        "num_classes": node.NUM_CLASSES,
    }
