"""SetCriterion: the losses of queries with boxes that have been assigned to objects, or to none.

L predictions of each query (one a decoder layer, and those before), N images, Q queries, K classes,
T objects of an image, M assigned pairs of all predictions, B + 1 values of an edge's distribution.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from d2lite.layers import giou_loss
from d2lite.utils.errors import ConfigError
from d2lite.utils.process_means import mean_over_processes, own_share

from .boxes import cxcywh_to_xyxy
from .denoising import DenoisingQueries
from .distributions import (
    distillation_losses,
    edge_targets,
    fine_grained_losses,
)
from .pairs import Pairs, denoising_pairs, paired_iou, pairs_of
from .set_losses import focal_losses, matchability_losses, softmax_losses, varifocal_losses
from .set_matching import SetMatcher, Targets, most_voted

logger = logging.getLogger(__name__)

CLASS_LOSSES: dict[str, Callable[..., Tensor]] = {
    "vfl": varifocal_losses,
    "mal": matchability_losses,
    "focal": focal_losses,
    "ce": softmax_losses,
}
# Keeps a mean of nothing finite.
_LEAST = 1e-6


class Predictions(NamedTuple):
    """What queries say, prediction by prediction.

    Attributes:
        endings: what the names of the losses of each prediction end with, L texts.
        logits: (L, N, Q, K), or with K + 1 for the loss "ce".
        boxes: (L, N, Q, 4) (cx, cy, w, h) in shares of the image.
        edges: (E, N, Q, 4 * (B + 1)) distributions of the first E predictions, the last of them
            being the teacher of the others; None without.
        start: (N, Q, 4), the boxes that the distributions are relative to.
        features: (F, N, Q, C) of the queries of the first F predictions; None without masks.
    """

    endings: Sequence[str]
    logits: Tensor
    boxes: Tensor
    edges: Tensor | None = None
    start: Tensor | None = None
    features: Tensor | None = None


PairLosses = Callable[[Predictions, Pairs], tuple[dict[str, Tensor], Tensor]]
"""Predictions and assigned pairs -> losses (M',) by name, and their predictions (M',) int64."""


class SetCriterion(nn.Module):
    """A loss of classes for all queries, and losses of boxes for assigned ones.

    Args:
        num_classes: K.
        matcher: assigns queries to objects.
        weights: of the losses "class", "bbox", "giou", "fgl", "ddf" and those of masks; those that
            a model does not have may be missing.
        class_loss: "vfl", "mal", "focal", or "ce" for `softmax_losses`, whose mean is weighted.
        alpha: see `varifocal_losses` and `softmax_losses`.
        gamma: likewise.
        steps: see `edge_steps`; None without distributions.
        curvature: likewise.
        votes: losses of boxes use one assignment, which all predictions vote for.

    Raises:
        ConfigError: for a loss of classes that is not known.

    Source: Carion 2020 (DETR), arXiv:2005.12872; Zhao 2023 (RT-DETR), arXiv:2304.08069; Peng 2024
    (D-FINE), arXiv:2410.13842.
    """

    steps: Tensor | None

    def __init__(
        self,
        num_classes: int,
        matcher: SetMatcher,
        weights: Mapping[str, float],
        *,
        class_loss: str = "vfl",
        alpha: float = 0.75,
        gamma: float = 2.0,
        steps: Tensor | None = None,
        curvature: float = 4.0,
        votes: bool = False,
    ) -> None:
        super().__init__()
        if class_loss not in CLASS_LOSSES:
            raise ConfigError(f"LOSS.CLASS={class_loss!r}: use one of {list(CLASS_LOSSES)}.")
        self.num_classes = num_classes
        self.matcher = matcher
        self.weights = dict(weights)
        self.class_loss, self.alpha, self.gamma = class_loss, alpha, gamma
        self.register_buffer("steps", steps, persistent=False)
        self.curvature = curvature
        self.votes = votes
        self._has_warned = False

    def forward(
        self,
        found: Predictions,
        targets: Targets,
        denoised: Predictions | None = None,
        noise: DenoisingQueries | None = None,
        pair_losses: PairLosses | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses, weighted.

        Args:
            found: predictions of the queries.
            targets: for each image labels (T,) int64 and boxes (T, 4) (cx, cy, w, h).
            denoised: predictions of the denoising queries.
            noise: what these started from.
            pair_losses: further losses of the pairs that the losses of boxes use.

        Returns:
            Scalars by name: loss_vfl (or loss_mal, loss_focal, loss_ce), loss_bbox, loss_giou, with
            distributions loss_fgl and loss_ddf, and those of `pair_losses`, each with the ending of
            its prediction.

        Raises:
            FloatingPointError: if a prediction is not finite.
        """
        self._warn_of_many_objects(found.boxes.shape[2], targets)
        with torch.autocast(found.boxes.device.type, enabled=False):
            found = _as_float(found)
            labels = torch.cat([target["labels"] for target in targets])
            boxes = torch.cat([target["boxes"].float() for target in targets])
            matched = self.matcher(found.logits, found.boxes, targets)
            own = pairs_of(matched, targets)
            for_boxes = own
            if self.votes:
                voted = [
                    most_voted(of_image, found.boxes.shape[2])
                    for of_image in zip(*matched, strict=True)
                ]
                for_boxes = pairs_of([voted] * len(found.endings), targets)
            counts = torch.tensor(
                [len(labels), len(for_boxes.images) / max(len(found.endings), 1)],
                device=boxes.device,
            )
            objects, in_boxes = mean_over_processes(counts).clamp(min=own_share())
            rows = boxes.new_ones(found.boxes.shape[1:3])
            losses = self._losses(found, labels, boxes, own, for_boxes, rows, objects, in_boxes)
            if pair_losses is not None and found.features is not None:
                of_pairs, layers = pair_losses(found, for_boxes)
                endings = found.endings[: len(found.features)]
                for name, values in of_pairs.items():
                    sums = values.new_zeros(len(endings)).index_add(0, layers, values)
                    losses |= self._named(name, sums / in_boxes, endings)
            if denoised is not None and noise is not None:
                denoised = _as_float(denoised)
                pairs = denoising_pairs(noise, targets, len(denoised.endings))
                rows = (noise.objects > -2) / noise.groups[:, None].clamp(min=1)
                losses |= self._losses(
                    denoised, labels, boxes, pairs, pairs, rows, objects, objects
                )
        return losses

    def _losses(
        self,
        found: Predictions,
        labels: Tensor,
        boxes: Tensor,
        own: Pairs,
        for_boxes: Pairs,
        rows: Tensor,
        objects: Tensor,
        in_boxes: Tensor,
    ) -> dict[str, Tensor]:
        """All losses of some predictions.

        Args:
            found: the predictions, float32.
            labels: of all objects of the batch.
            boxes: likewise.
            own: pairs for the loss of classes.
            for_boxes: pairs for the other losses.
            rows: (N, Q) float, weights in the loss of classes.
            objects: what the loss of classes is divided by.
            in_boxes: what the other losses are divided by.
        """
        losses: dict[str, Tensor] = {}

        # Losses of pairs, summed by prediction.
        def add(name: str, values: Tensor, layers: Tensor, divisor: Tensor) -> None:
            sums = values.new_zeros(len(found.endings)).index_add(0, layers, values) / divisor
            losses.update(self._named(name, sums, found.endings))

        classes = torch.full(found.boxes.shape[:3], self.num_classes, device=boxes.device)
        quality = found.boxes.new_zeros(found.boxes.shape[:3])
        at = (own.layers, own.images, own.queries)
        classes[at] = labels[own.objects]
        quality[at] = paired_iou(found.boxes[at].detach(), boxes[own.objects])
        of_classes = CLASS_LOSSES[self.class_loss](
            found.logits, classes, quality, self.alpha, self.gamma
        )
        divisor = self._sums_of_weights(classes) if self.class_loss == "ce" else objects
        sums = (of_classes.sum(dim=-1) * rows).sum(dim=(1, 2)) / divisor
        losses |= self._named(self.class_loss, sums, found.endings)
        predicted = found.boxes[for_boxes.layers, for_boxes.images, for_boxes.queries]
        wanted = boxes[for_boxes.objects]
        distances = (predicted - wanted).abs().sum(dim=-1) * for_boxes.weights
        add("bbox", distances, for_boxes.layers, in_boxes)
        overlaps = giou_loss(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(wanted))
        add("giou", overlaps * for_boxes.weights, for_boxes.layers, in_boxes)
        if found.edges is not None:
            losses |= self._edge_losses(found, boxes, for_boxes, rows, in_boxes)
        return losses

    def _sums_of_weights(self, classes: Tensor) -> Tensor:
        """(L,) the weights of all queries in `softmax_losses`, added up for each prediction."""
        is_object = classes < self.num_classes
        weights = torch.where(is_object, 1.0, self.alpha).sum(dim=(1, 2))
        return mean_over_processes(weights).clamp(min=_LEAST)

    def _edge_losses(
        self, found: Predictions, boxes: Tensor, pairs: Pairs, rows: Tensor, in_boxes: Tensor
    ) -> dict[str, Tensor]:
        """loss_fgl of assigned queries; loss_ddf of all, with the last distributions as teacher."""
        assert found.edges is not None
        assert found.start is not None
        assert self.steps is not None
        num_layers = len(found.edges)
        has_edges = pairs.layers < num_layers
        layers, images, queries, objects, weights = (part[has_edges] for part in pairs)
        at = (layers, images, queries)
        start = found.start.detach()[images, queries]
        left, share = edge_targets(start, boxes[objects], self.steps, self.curvature)
        overlap = paired_iou(found.boxes[at].detach(), boxes[objects])
        fine = fine_grained_losses(found.edges[at], left, share).sum(dim=1) * overlap * weights
        sums = fine.new_zeros(num_layers).index_add(0, layers, fine) / in_boxes
        losses = self._named("fgl", sums, found.endings[:num_layers])
        if num_layers == 1:
            return losses
        is_matched = torch.zeros(found.edges.shape[:3], dtype=torch.bool, device=boxes.device)
        is_matched[at] = True
        certainty = found.logits[num_layers - 1].detach().sigmoid().amax(dim=-1)
        certainty = certainty.expand(num_layers, -1, -1).clone()
        certainty[at] = overlap
        students = slice(None, num_layers - 1)
        apart = distillation_losses(found.edges[students], found.edges[-1:]).mean(dim=-1)
        apart = apart * certainty[students] * (rows > 0)
        is_matched = is_matched[students]
        is_other = ~is_matched & (rows > 0)
        numbers = torch.stack([kind.sum(dim=(1, 2)) for kind in (is_matched, is_other)])
        numbers = mean_over_processes(numbers.float())
        sums = torch.stack([(apart * kind).sum(dim=(1, 2)) for kind in (is_matched, is_other)])
        # Matched queries are few: the square root gives them more than their share.
        roots = numbers.sqrt()
        mixed = (sums / numbers.clamp(min=_LEAST) * roots).sum(0) / roots.sum(0).clamp(min=_LEAST)
        return losses | self._named("ddf", mixed, found.endings[: num_layers - 1])

    def _named(self, name: str, values: Tensor, endings: Sequence[str]) -> dict[str, Tensor]:
        weight = self.weights["class" if name == self.class_loss else name]
        return {
            f"loss_{name}{ending}": weight * value
            for ending, value in zip(endings, values.unbind(), strict=True)
        }

    def _warn_of_many_objects(self, num_queries: int, targets: Targets) -> None:
        most = max((len(target["labels"]) for target in targets), default=0)
        if most > num_queries and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "An image has %d objects, but the model %d queries: each step learns as many of "
                "them as there are queries. Set the number of queries higher. This is said once.",
                most,
                num_queries,
            )


def _as_float(found: Predictions) -> Predictions:
    return found._replace(
        logits=found.logits.float(),
        boxes=found.boxes.float(),
        edges=None if found.edges is None else found.edges.float(),
        features=None if found.features is None else found.features.float(),
    )
