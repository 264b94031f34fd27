"""Masks of a cascade in which every stage has a mask head of its own."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError

from ..matcher import Matcher
from .branch_head import BranchHead
from .label_proposals import attach_targets, match_boxes, select_foreground_proposals
from .mask_head import BaseMaskRCNNHead

__all__ = ["StageMaskHeads", "stage_foreground"]


class StageMaskHeads(BranchHead, nn.ModuleList):
    """A mask head a stage; detections get the mean of the probabilities of all.

    `CascadeROIHeads` trains each on the boxes of its stage.

    Args:
        heads: one a stage.

    Raises:
        ConfigError: for heads of another kind, such as those of PointRend.

    Source: Cai 2019 (Cascade Mask R-CNN), arXiv:1906.09756, section 5.
    """

    def __init__(self, heads: Iterable[nn.Module]) -> None:
        super().__init__(heads)
        for head in self:
            if not isinstance(head, BaseMaskRCNNHead):
                raise ConfigError(
                    f"{type(head).__name__} cannot be made once a stage. Set MODEL.ROI_MASK_HEAD."
                    "NAME MaskRCNNConvUpsampleHead, or MODEL.ROI_BOX_CASCADE_HEAD.MASK_HEADS False."
                )

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, H, W) features -> (R, K, 2 * H, 2 * W) logits of the mean probabilities."""
        probs = [head.layers(x).float().sigmoid() for head in self._heads]
        return torch.stack(probs).mean(dim=0).logit()

    def predict_(self, logits: Tensor, instances: list[Instances]) -> None:
        """See `BranchHead`."""
        self._heads[-1].predict_(logits, instances)

    def predict_rows(self, logits: Tensor, boxes: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """See `BranchHead`."""
        return self._heads[-1].predict_rows(logits, boxes, classes)

    @property
    def _heads(self) -> list[BaseMaskRCNNHead]:
        return [head for head in self if isinstance(head, BaseMaskRCNNHead)]


def stage_foreground(
    proposals: Sequence[Instances], targets: Sequence[Instances], num_classes: int, matcher: Matcher
) -> list[Instances]:
    """The objects among the labelled boxes of a stage, with their true masks.

    Args:
        proposals: of each image, with gt_classes; those of the first stage have masks already.
        targets: the objects of each image.
        num_classes: K, the class of the background.
        matcher: of the stage.
    """
    foreground, _ = select_foreground_proposals(proposals, num_classes)
    for found, target in zip(foreground, targets, strict=True):
        # Matched again, so that masks are copied for the few boxes that are objects alone.
        if len(target) and not found.has("gt_masks"):
            matches, _ = match_boxes(found.proposal_boxes, target, matcher)
            attach_targets(found, target, matches)
    return foreground
