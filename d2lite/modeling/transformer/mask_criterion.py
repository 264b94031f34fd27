"""MaskCriterion: the losses of queries that have been assigned to objects, or to none.

N images, Q queries, K classes, M assigned pairs of the batch, P points.
"""

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers.point_sampling import (
    get_uncertain_point_coords_with_randomness,
    point_sample,
    points_of_images,
)
from d2lite.utils.errors import ArgumentError
from d2lite.utils.process_means import mean_over_processes, mean_weight, own_share

from .mask_losses import mask_bce_losses, mask_dice_losses
from .mask_matching import HungarianMatcher, Outputs, Targets

logger = logging.getLogger(__name__)

Pairs = Sequence[tuple[Tensor, Tensor]]

# Tells these draws about an image from others; see `image_generator`. One a decoder layer.
_POINTS = 2000
_KINDS = ("labels", "masks")


def calculate_uncertainty(logits: Tensor) -> Tensor:
    """How near masks are to the decision: minus the absolute logit, (M, 1, P)."""
    return -logits.abs()


class MaskCriterion(nn.Module):
    """Cross-entropy of all queries; cross-entropy and dice of the masks of assigned ones.

    Args:
        num_classes: K.
        matcher: see `HungarianMatcher`.
        weight_dict: loss name -> weight; the caller's to multiply with.
        eos_coef: weight of "no object" in the cross-entropy of classes.
        losses: "labels", "masks" or both.
        num_points: P.
        oversample_ratio: see `get_uncertain_point_coords_with_randomness`.
        importance_sample_ratio: likewise.
        queries_key: the key of Q, for a message.

    Raises:
        ArgumentError: for a kind of loss that is not known.

    Source: Cheng 2022, arXiv:2112.01527, section 3.3.
    """

    empty_weight: Tensor

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        weight_dict: dict[str, float],
        eos_coef: float,
        losses: Sequence[str],
        num_points: int,
        oversample_ratio: float,
        importance_sample_ratio: float,
        queries_key: str = "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES",
    ) -> None:
        super().__init__()
        unknown = sorted(set(losses) - set(_KINDS))
        if unknown:
            raise ArgumentError(
                f"MaskCriterion does not know the losses {unknown}; it has {_KINDS}."
            )
        self.num_classes = num_classes
        self.matcher = matcher
        self.weight_dict = weight_dict
        self.eos_coef = eos_coef
        self.losses = tuple(losses)
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.queries_key = queries_key
        weights = torch.ones(num_classes + 1)
        weights[-1] = eos_coef
        self.register_buffer("empty_weight", weights)
        self._has_warned = False

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            outputs: pred_logits (N, Q, K + 1), pred_masks (N, Q, H, W) and, with deep
                supervision, aux_outputs, a list of such dicts.
            targets: see `HungarianMatcher.match_layers`.

        Returns:
            loss_ce, loss_mask and loss_dice, and the same with _0, _1, ... of aux_outputs.

        Raises:
            FloatingPointError: if a prediction is not finite.
        """
        layers = [*outputs.get("aux_outputs", ()), outputs]
        self._warn_of_many_objects(layers[0]["pred_logits"].shape[1], targets)
        device = outputs["pred_logits"].device
        count = torch.tensor(float(sum(len(target["labels"]) for target in targets)), device=device)
        num_masks = mean_over_processes(count).clamp(min=own_share())
        pairs = self.matcher.match_layers(layers, targets)
        found = {}
        with torch.autocast(device.type, enabled=False):
            for number in range(len(layers))[::-1]:
                ending = "" if layers[number] is outputs else f"_{number}"
                of_layer: dict[str, Tensor] = {}
                if "labels" in self.losses:
                    of_layer |= self._class_losses(layers[number], targets, pairs[number])
                if "masks" in self.losses:
                    of_layer |= self._mask_losses(
                        layers[number], targets, pairs[number], num_masks, _POINTS + number
                    )
                found.update({name + ending: loss for name, loss in of_layer.items()})
        return found

    def _class_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs) -> dict[str, Tensor]:
        logits = outputs["pred_logits"].float()
        classes = torch.full(logits.shape[:2], self.num_classes, device=logits.device)
        for row, target, (queries, objects) in zip(classes, targets, pairs, strict=True):
            row[queries] = target["labels"][objects]
        loss = F.cross_entropy(logits.transpose(1, 2), classes, self.empty_weight)
        return {"loss_ce": loss * mean_weight(self.empty_weight[classes].sum(), loss)}

    def _mask_losses(
        self, outputs: Outputs, targets: Targets, pairs: Pairs, num_masks: Tensor, purpose: int
    ) -> dict[str, Tensor]:
        masks = torch.cat(
            [
                of_image[queries]
                for of_image, (queries, _) in zip(outputs["pred_masks"], pairs, strict=True)
            ]
        )[:, None].float()
        draw = points_of_images([len(queries) for queries, _ in pairs], purpose, masks.device)
        with torch.no_grad():
            points = get_uncertain_point_coords_with_randomness(
                masks,
                calculate_uncertainty,
                self.num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
                draw=draw,
            )
            truth = [
                target["masks"][objects]
                for target, (_, objects) in zip(targets, pairs, strict=True)
            ]
            # Image by image, since the float maps of all at once are large.
            labels = torch.cat(
                [
                    point_sample(maps[:, None].float(), at, align_corners=False)[:, 0]
                    for maps, at in zip(truth, points.split([len(t) for t in truth]), strict=True)
                ]
            )
        logits = point_sample(masks, points, align_corners=False)[:, 0]
        return {
            "loss_mask": mask_bce_losses(logits, labels).sum() / num_masks,
            "loss_dice": mask_dice_losses(logits, labels).sum() / num_masks,
        }

    def _warn_of_many_objects(self, num_queries: int, targets: Targets) -> None:
        most = max((len(target["labels"]) for target in targets), default=0)
        if most > num_queries and not self._has_warned:
            self._has_warned = True
            logger.warning(
                f"An image has {most} objects, but the model {num_queries} queries "
                f"({self.queries_key}): the others are not learnt. This is said "
                "once."
            )
