"""QueryDetector: what models share whose queries predict classes and boxes.

N images, Q queries, D denoising queries, C channels, S cells, K classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from d2lite.structures import Boxes, ImageList, Instances

from ..backbone import Backbone
from ..meta_arch.detector import Batch, Detector, postprocess_batch
from .boxes import cxcywh_to_xyxy, place_logits, xyxy_to_cxcywh
from .denoising import DenoisingQueries
from .set_criterion import Predictions, SetCriterion
from .set_matching import Targets
from .top_queries import top_queries


class Decoded(NamedTuple):
    """What a decoder found.

    Attributes:
        found: predictions of the queries.
        denoised: those of the denoising queries; None without.
        noise: what these started from.
        first: predictions at all cells, which do not tell classes apart; None without.
    """

    found: Predictions
    denoised: Predictions | None = None
    noise: DenoisingQueries | None = None
    first: Predictions | None = None


class QueryDetector(Detector):
    """Losses and results of queries that predict boxes; a subclass implements `decode`.

    Args:
        backbone: see `Detector`.
        criterion: the losses.
        test_topk_per_image: objects of an image.
        pixel_mean: see `Detector`.
        pixel_std: likewise.
    """

    predicts = frozenset({"instances"})
    # Boxes are in shares of each image, and not of the batch with its padding.
    has_boxes_of_images = False

    def __init__(
        self,
        *,
        backbone: Backbone,
        criterion: SetCriterion,
        test_topk_per_image: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.criterion = criterion
        self.test_topk_per_image = test_topk_per_image

    def decode(self, images: ImageList, targets: Targets | None = None) -> Decoded:
        """Predict.

        Args:
            images: normalised and padded.
            targets: for each image labels (T,) int64 and boxes (T, 4) (cx, cy, w, h) in training;
                None to predict, which needs the last prediction alone.
        """
        raise NotImplementedError

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """Losses of classes and boxes of each layer; see `SetCriterion`."""
        images = self.preprocess_image(batched_inputs)
        targets = [
            {
                "labels": truth.gt_classes,
                "boxes": xyxy_to_cxcywh(truth.gt_boxes.tensor.float() / size),
            }
            for truth, size in zip(
                self.truth_of(batched_inputs), self._box_units(images), strict=True
            )
        ]
        return self._losses_of(self.decode(images, targets), targets)

    def _losses_of(self, decoded: Decoded, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.criterion(
            decoded.found, targets, decoded.denoised, decoded.noise
        )
        if decoded.first is not None:
            alike = [
                {"labels": torch.zeros_like(target["labels"]), "boxes": target["boxes"]}
                for target in targets
            ]
            losses |= self.criterion(decoded.first, alike)
        return losses

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """Find objects.

        Args:
            batched_inputs: see `Detector`.

        Returns:
            {"instances": detections} of each image, with pred_boxes, scores and pred_classes.
        """
        # Padding changes what convolutions see at the border of an image. Images of one size go
        # together, so that each result is that of the image alone.
        groups: dict[tuple[int, int], list[int]] = {}
        for number, item in enumerate(batched_inputs):
            height, width = item["image"].shape[-2:]
            groups.setdefault((height, width), []).append(number)
        results: dict[int, dict[str, Any]] = {}
        for numbers in groups.values():
            found = self._predict_alike([batched_inputs[number] for number in numbers])
            results.update(zip(numbers, found, strict=True))
        return [results[number] for number in range(len(batched_inputs))]

    def best_queries(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, classes and numbers of the queries of the best results; see `top_queries`."""
        return top_queries(logits, self.test_topk_per_image)

    def _predict_alike(self, batch: Batch) -> list[dict[str, Any]]:
        images = self.preprocess_image(batch)
        found = self.decode(images).found
        scores, classes, queries = self.best_queries(found.logits[-1])
        boxes = cxcywh_to_xyxy(found.boxes[-1].float())
        boxes = boxes.gather(1, queries[:, :, None].expand(-1, -1, 4))
        boxes = boxes * self._box_units(images)[:, None]
        instances = [
            Instances(size, pred_boxes=Boxes(own), scores=score, pred_classes=number)
            for size, own, score, number in zip(
                images.image_sizes, boxes, scores, classes, strict=True
            )
        ]
        return postprocess_batch(instances, batch, images.image_sizes)

    def _box_units(self, images: ImageList) -> Tensor:
        """(N, 4) float32, pixels of (x, y, x, y) = 1 in each image."""
        padded = images.tensor.shape[-2:]
        sizes = [own if self.has_boxes_of_images else padded for own in images.image_sizes]
        return images.tensor.new_tensor([(w, h, w, h) for h, w in sizes], dtype=torch.float32)


def choose_cells(
    features: Tensor,
    boxes: Tensor,
    usable: Tensor,
    count: int,
    score_head: nn.Module,
    box_head: nn.Module,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the cells of the best score as queries.

    Args:
        features: (N, S, C) of the cells.
        boxes: (S, 4) or (N, S, 4) (cx, cy, w, h) at the cells.
        usable: (N, S) bool; other cells come last.
        count: Q, or all cells where there are fewer.
        score_head: (..., C) -> (..., K) logits.
        box_head: (..., C) -> (..., 4) changes of the boxes' logits.

    Returns:
        Features (N, Q, C), logits (N, Q, K) and boxes (N, Q, 4).
    """
    logits = score_head(features)
    scores = logits.detach().amax(dim=-1).masked_fill(~usable, -torch.inf)
    chosen = scores.topk(min(count, features.shape[1]), dim=1).indices[:, :, None]
    features, logits, places = (
        part.gather(1, chosen.expand(-1, -1, part.shape[2]))
        for part in (features, logits, place_logits(boxes, usable))
    )
    return features, logits, (places + box_head(features).to(places.dtype)).sigmoid()


def aux_endings(count: int) -> list[str]:
    """The endings _aux_0, _aux_1, ..., and an empty one for the last."""
    return [*(f"_aux_{number}" for number in range(count - 1)), ""]


def split_denoising(
    found: Predictions,
    noise: DenoisingQueries | None,
    first: tuple[Tensor, Tensor] | None = None,
) -> Decoded:
    """Separate the predictions of the denoising queries, which come first, from the others.

    Args:
        found: predictions of D + Q queries.
        noise: what the denoising queries started from; None without.
        first: logits (N, Q, K) and boxes (N, Q, 4) that the queries started from; they get the
            ending "_enc_0".
    """
    count = 0 if noise is None else noise.labels.shape[1]
    own = _queries_of(found, slice(count, None), "")
    if first is not None:
        logits, boxes = first
        own = own._replace(
            endings=[*own.endings, "_enc_0"],
            logits=torch.cat([own.logits, logits[None].to(own.logits.dtype)]),
            boxes=torch.cat([own.boxes, boxes[None]]),
        )
    if noise is None:
        return Decoded(own)
    return Decoded(own, _queries_of(found, slice(0, count), "_dn"), noise)


def _queries_of(found: Predictions, part: slice, kind: str) -> Predictions:
    """Some of the queries; with a kind such as "_dn" their endings are "_dn_0", "_dn_1", ..."""
    endings = list(found.endings)
    if kind:
        last = sum(ending.startswith("_aux") for ending in endings)
        endings = [
            f"{kind}_{last}"
            if not ending
            else ending.replace("_aux", kind)
            if ending.startswith("_aux")
            else f"{kind}{ending}"
            for ending in endings
        ]
    return Predictions(
        endings,
        found.logits[:, :, part],
        found.boxes[:, :, part],
        None if found.edges is None else found.edges[:, :, part],
        None if found.start is None else found.start[:, part],
    )
