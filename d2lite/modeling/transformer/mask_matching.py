"""HungarianMatcher: which query learns which object.

N images, Q queries, K classes, T objects of an image, P points.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.layers.point_sampling import point_sample, points_of_images
from d2lite.utils.errors import ConfigError

from .assignment import hungarian_assignment
from .mask_losses import pairwise_bce_costs, pairwise_dice_costs

Outputs = Mapping[str, Any]
Targets = Sequence[Mapping[str, Tensor]]

# Tells these draws about an image from others; see `image_generator`. One a decoder layer.
_POINTS = 1000


class HungarianMatcher(nn.Module):
    """Compares classes, and masks at points that are the same for all pairs of an image.

    Args:
        cost_class: weight of the class, minus its probability.
        cost_mask: weight of the binary cross-entropy of masks.
        cost_dice: weight of the dice of masks.
        num_points: P.

    Raises:
        ConfigError: if all weights are 0.
    """

    def __init__(
        self,
        cost_class: float = 1,
        cost_mask: float = 1,
        cost_dice: float = 1,
        num_points: int = 0,
    ) -> None:
        super().__init__()
        if not (cost_class or cost_mask or cost_dice):
            raise ConfigError(
                "All costs of HungarianMatcher have the weight 0; give one of them "
                "(CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT)."
            )
        self.cost_class, self.cost_mask, self.cost_dice = cost_class, cost_mask, cost_dice
        self.num_points = num_points

    def forward(self, outputs: Outputs, targets: Targets) -> list[tuple[Tensor, Tensor]]:
        """Match one prediction for each image; see `match_layers`."""
        return self.match_layers([outputs], targets)[0]

    @torch.no_grad()
    def match_layers(
        self, layers: Sequence[Outputs], targets: Targets
    ) -> list[list[tuple[Tensor, Tensor]]]:
        """Match several predictions, with one transfer to the host for all of them.

        Args:
            layers: dicts with pred_logits (N, Q, K + 1) and pred_masks (N, Q, H, W).
            targets: for each image labels (T,) int64 and masks (T, H', W'); both cover the
                same image.

        Returns:
            for each layer and image (queries, objects), see `hungarian_assignment`.
        """
        # In float32 whatever the precision of the model: a rounded cost is another assignment.
        with torch.autocast(layers[0]["pred_masks"].device.type, enabled=False):
            costs = [
                self._costs(outputs, targets, _POINTS + number)
                for number, outputs in enumerate(layers)
            ]
        return hungarian_assignment(costs)

    def _costs(self, outputs: Outputs, targets: Targets, purpose: int) -> list[Tensor]:
        """(Q, T) of each image."""
        device = outputs["pred_masks"].device
        points = points_of_images([1] * len(targets), purpose, device)(self.num_points)
        costs = []
        for logits, masks, target, at in zip(
            outputs["pred_logits"], outputs["pred_masks"], targets, points, strict=True
        ):
            predicted, true = (
                point_sample(maps[None].float(), at[None], align_corners=False)[0]
                for maps in (masks, target["masks"])
            )
            probabilities = logits.float().softmax(dim=-1)
            costs.append(
                self.cost_mask * pairwise_bce_costs(predicted, true)
                - self.cost_class * probabilities[:, target["labels"]]
                + self.cost_dice * pairwise_dice_costs(predicted, true)
            )
        return costs

    def extra_repr(self) -> str:
        """The options that repr() shows."""
        return (
            f"cost_class={self.cost_class}, cost_mask={self.cost_mask}, "
            f"cost_dice={self.cost_dice}, num_points={self.num_points}"
        )
