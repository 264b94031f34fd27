"""ROIHeads: the interface of the heads on proposals, and the sampling of proposals to train on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.structures import ImageList, Instances
from d2lite.utils.events import log_scalars
from d2lite.utils.keyed_rng import DrawPurpose, image_generator

from ..matcher import Matcher
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from .label_proposals import sample_proposals


class ROIHeads(nn.Module):
    """Computes everything for each region; subclasses implement `forward`.

    Args:
        num_classes: foreground classes.
        batch_size_per_image: proposals drawn for the losses.
        positive_fraction: the share of them that may be foreground.
        proposal_matcher: labels proposals by their IoU with ground truth.
        proposal_append_gt: whether ground truth is added to the proposals; without it there are
            hardly any good boxes at the start of training.
    """

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_HEADS`."""
        node = cfg.MODEL.ROI_HEADS
        return {
            "num_classes": node.NUM_CLASSES,
            "batch_size_per_image": node.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": node.POSITIVE_FRACTION,
            "proposal_matcher": Matcher(node.IOU_THRESHOLDS, node.IOU_LABELS),
            "proposal_append_gt": node.PROPOSAL_APPEND_GT,
        }

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: Sequence[Instances], targets: Sequence[Instances]
    ) -> list[Instances]:
        """Draw the proposals that losses are computed on, and label them.

        Args:
            proposals: of each image, with proposal_boxes and objectness_logits.
            targets: of each image, with gt_boxes, gt_classes and maybe more.

        Returns:
            of each image the drawn proposals, foreground first, with gt_classes (the number of
            classes means background), gt_boxes, and the other "gt_..." fields where the image
            has objects.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        sampled, num_fg = [], []
        for i, (found, target) in enumerate(zip(proposals, targets, strict=True)):
            kept, count = sample_proposals(
                found,
                target,
                matcher=self.proposal_matcher,
                num_classes=self.num_classes,
                num_samples=self.batch_size_per_image,
                positive_fraction=self.positive_fraction,
                generator=image_generator(i, DrawPurpose.ROI_SAMPLING, found.proposal_boxes.device),
            )
            sampled.append(kept)
            num_fg.append(count)
        num_images = max(len(sampled), 1)
        num_all = sum(len(kept) for kept in sampled)
        log_scalars(
            {
                "roi_head/num_fg_samples": sum(num_fg) / num_images,
                "roi_head/num_bg_samples": (num_all - sum(num_fg)) / num_images,
            }
        )
        return sampled

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Classify and refine proposals.

        Args:
            images: the batch.
            features: maps of the backbone, by name.
            proposals: of each image, with proposal_boxes and objectness_logits.
            targets: ground truth of each image, in training.

        Returns:
            In training the drawn proposals and the losses; else detections and {}.
        """
        raise NotImplementedError
