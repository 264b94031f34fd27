"""ROIHeads: the interface of the heads on proposals, and the sampling of proposals to train on."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.structures import ImageList, Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import log_scalars
from d2lite.utils.keyed_rng import DrawPurpose, image_generator

from ..matcher import Matcher
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from ..sampling import overlap_bins, subsample_labels
from .label_proposals import attach_targets, box_overlaps, classes_of_matches, match_boxes

# These ask the heads which proposals are hard.
RATED = ("ohem", "score_hlr")
_SAMPLERS = ("random", "instance_balanced", "iou_balanced", "libra", *RATED)
# The number of an image of the batch, its proposals and their classes -> (R,) how hard each is.
Rate = Callable[[int, Instances, Tensor], Tensor]
_NO_RATE = (
    "{} does not say which proposals are hard; set MODEL.ROI_HEADS.SAMPLER to another one than "
    "'ohem' and 'score_hlr'."
)


class ROIHeads(nn.Module):
    """Computes everything for each region; subclasses implement `forward`.

    Args:
        num_classes: foreground classes.
        batch_size_per_image: proposals drawn for the losses.
        positive_fraction: the share of them that may be foreground.
        proposal_matcher: labels proposals by their IoU with ground truth.
        proposal_append_gt: whether ground truth is added to the proposals; without it there are
            hardly any good boxes at the start of training.
        sampler: "random"; "instance_balanced", as many of each object as of another;
            "iou_balanced", background evenly over its overlap with objects; "libra", both of these
            (Pang 2019, arXiv:1904.02701); "ohem", those of the largest loss of classes
            (Shrivastava 2016, arXiv:1604.03540); "score_hlr", background that is taken for an
            object, place by place (see `score_ranks`).

    Raises:
        ConfigError: for another sampler.
    """

    # Whether the heads say which proposals are hard, which the samplers of `RATED` ask.
    knows_hard_proposals: bool = False
    # The image of the batch that draws are made for.
    _image: int | None = None

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
        sampler: str = "random",
    ) -> None:
        super().__init__()
        if sampler not in _SAMPLERS:
            raise ConfigError(f"MODEL.ROI_HEADS.SAMPLER={sampler!r}: use one of {list(_SAMPLERS)}.")
        if sampler in RATED and not self.knows_hard_proposals:
            raise ConfigError(_NO_RATE.format(type(self).__name__))
        self.num_classes = num_classes
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt
        self.sampler = sampler

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_HEADS`."""
        node = cfg.MODEL.ROI_HEADS
        arguments = {
            "num_classes": node.NUM_CLASSES,
            "batch_size_per_image": node.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": node.POSITIVE_FRACTION,
            "proposal_matcher": Matcher(node.IOU_THRESHOLDS, node.IOU_LABELS),
            "proposal_append_gt": node.PROPOSAL_APPEND_GT,
        }
        # Heads in users' code may lack the argument.
        return arguments if node.SAMPLER == "random" else {**arguments, "sampler": node.SAMPLER}

    @torch.no_grad()
    def label_and_sample_proposals(
        self,
        proposals: Sequence[Instances],
        targets: Sequence[Instances],
        rate: Rate | None = None,
    ) -> list[Instances]:
        """Draw the proposals that losses are computed on, and label them.

        Args:
            proposals: of each image, with proposal_boxes and objectness_logits.
            targets: of each image, with gt_boxes, gt_classes and maybe more.
            rate: says how hard proposals are, for the samplers "ohem" and "score_hlr".

        Returns:
            of each image the drawn proposals, foreground first, with gt_classes (the number of
            classes means background), gt_boxes, and the other "gt_..." fields where the image
            has objects.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        sampled: list[Instances] = []
        num_fg: Any = 0
        for image, (found, target) in enumerate(zip(proposals, targets, strict=True)):
            matches, match_labels = match_boxes(found.proposal_boxes, target, self.proposal_matcher)
            self._image = image
            preferences = self._preferences(found, target, matches, match_labels, rate)
            drawn, classes = self._sample_proposals(
                matches, match_labels, target.gt_classes, **preferences
            )
            kept = found[drawn]
            kept.gt_classes = classes
            attach_targets(kept, target, matches[drawn])
            sampled.append(kept)
            num_fg = num_fg + ((classes >= 0) & (classes < self.num_classes)).sum()
        self._image = None
        num_images = max(len(sampled), 1)
        num_all = sum(len(kept) for kept in sampled)
        log_scalars(
            {
                "roi_head/num_fg_samples": num_fg / num_images,
                "roi_head/num_bg_samples": (num_all - num_fg) / num_images,
            }
        )
        return sampled

    def _preferences(
        self,
        found: Instances,
        target: Instances,
        matches: Tensor,
        match_labels: Tensor,
        rate: Rate | None,
    ) -> dict[str, Tensor]:
        """`groups` or `priority` of `subsample_labels`; nothing for random draws."""
        if self.sampler == "random" or len(found) == 0:
            return {}
        if self.sampler in RATED:
            if rate is None or self._image is None:
                raise ConfigError(_NO_RATE.format(type(self).__name__))
            classes = classes_of_matches(target.gt_classes, matches, match_labels, self.num_classes)
            return {"priority": rate(self._image, found, classes.clamp(min=0))}
        groups = torch.zeros_like(matches)
        if self.sampler in ("iou_balanced", "libra") and len(target):
            overlaps = box_overlaps(target.gt_boxes, found.proposal_boxes).amax(dim=0)
            groups = overlap_bins(overlaps.where(match_labels == 0, 0.0))
        if self.sampler in ("instance_balanced", "libra"):
            groups = torch.where(match_labels == 1, matches, groups)
        return {"groups": groups}

    def _sample_proposals(
        self,
        matched_idxs: Tensor,
        matched_labels: Tensor,
        gt_classes: Tensor,
        **preferences: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Draw proposals of one image; a subclass may draw others.

        Args:
            matched_idxs: (R,) int64, the object that each proposal was matched with.
            matched_labels: (R,) 1 foreground, 0 background, -1 ignored.
            gt_classes: (G,) int64, the classes of the objects; G may be 0.
            **preferences: see `subsample_labels`; none for random draws.

        Returns:
            Positions of the drawn proposals, foreground first, and the class of each of them (the
            number of classes means background).
        """
        classes = classes_of_matches(gt_classes, matched_idxs, matched_labels, self.num_classes)
        drawn = torch.cat(
            subsample_labels(
                classes,
                self.batch_size_per_image,
                self.positive_fraction,
                self.num_classes,
                generator=image_generator(self._image, DrawPurpose.ROI_SAMPLING, classes.device),
                **preferences,
            )
        )
        return drawn, classes[drawn]

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
