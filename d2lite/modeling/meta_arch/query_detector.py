"""QueryDetector: what models share whose queries predict classes and boxes. N images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2lite.structures import Boxes, ImageList, Instances

from ..backbone import Backbone
from ..padded import PaddedBoxes, sizes_with_padding, take_rows
from ..transformer import (
    Decoded,
    PairLosses,
    SetCriterion,
    Targets,
    cxcywh_to_xyxy,
    top_queries,
    xyxy_to_cxcywh,
)
from .detector import Batch, Detector, postprocess_batch


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
    predicts_sizes_apart = True
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
        truths = self.truth_of(batched_inputs)
        targets = [
            {
                "labels": truth.gt_classes,
                "boxes": xyxy_to_cxcywh(truth.gt_boxes.tensor.float() / size),
            }
            for truth, size in zip(truths, self._box_units(images), strict=True)
        ]
        decoded = self.decode(images, targets)
        further = self.pair_losses(decoded, batched_inputs, truths)
        losses: dict[str, Tensor] = self.criterion(
            decoded.found, targets, decoded.denoised, decoded.noise, further
        )
        if decoded.first is not None:
            alike = [
                {"labels": torch.zeros_like(target["labels"]), "boxes": target["boxes"]}
                for target in targets
            ]
            losses |= self.criterion(decoded.first, alike)
        return losses

    def pair_losses(
        self, decoded: Decoded, batched_inputs: Batch, truths: Sequence[Instances]
    ) -> PairLosses | None:
        """Further losses of queries and their objects, such as those of masks.

        Args:
            decoded: what `decode` returned.
            batched_inputs: the batch.
            truths: of its images.
        """
        return None

    def masks_of(self, decoded: Decoded, queries: Tensor, boxes: Tensor) -> Tensor | None:
        """(N, R, 1, S, S) probabilities of masks in boxes; None of a model without masks.

        Args:
            decoded: what `decode` returned.
            queries: (N, R) int64, numbers of the results' queries.
            boxes: (N, R, 4) xyxy of the results, in pixels of the batch.
        """
        return None

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """Find objects.

        Args:
            batched_inputs: see `Detector`.

        Returns:
            {"instances": detections} of each image, with pred_boxes, scores, pred_classes and,
            of a model with masks, pred_masks.
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

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`; images of several sizes see each other's padding."""
        batch = ImageList(images, sizes)  # type: ignore[arg-type]  # see `sizes_with_padding`
        scores, classes, boxes, masks = self._best(batch)
        valid = torch.ones_like(scores, dtype=torch.bool)
        found = PaddedBoxes(boxes, scores, classes, valid)._asdict()
        return found if masks is None else {**found, "masks": masks}

    def _best(self, images: ImageList) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Scores, classes, boxes, xyxy in pixels, and masks of the best queries."""
        decoded = self.decode(images)
        scores, classes, queries = self.best_queries(decoded.found.logits[-1])
        boxes = take_rows(cxcywh_to_xyxy(decoded.found.boxes[-1].float()), queries)
        boxes = boxes * self._box_units(images)[:, None]
        return scores, classes, boxes, self.masks_of(decoded, queries, boxes)

    def _predict_alike(self, batch: Batch) -> list[dict[str, Any]]:
        images = self.preprocess_image(batch)
        scores, classes, boxes, masks = self._best(images)
        instances = [
            Instances(size, pred_boxes=Boxes(own), scores=score, pred_classes=number)
            for size, own, score, number in zip(
                images.image_sizes, boxes, scores, classes, strict=True
            )
        ]
        if masks is not None:
            for own, of_image in zip(instances, masks, strict=True):
                own.pred_masks = of_image
        return postprocess_batch(instances, batch, images.image_sizes)

    def _box_units(self, images: ImageList) -> Tensor:
        """(N, 4) float32, pixels of (x, y, x, y) = 1 in each image."""
        height, width = images.tensor.shape[-2:]
        sizes = sizes_with_padding(images) if self.has_boxes_of_images else None
        if sizes is None:
            one = images.tensor.new_ones(images.tensor.shape[0], dtype=torch.float32)
            return torch.stack([one * width, one * height] * 2, dim=1)
        return sizes[:, [1, 0, 1, 0]].float()
