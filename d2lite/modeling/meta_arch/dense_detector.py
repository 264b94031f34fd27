"""DenseDetector: one head on every level of the features, a prediction at every cell.

N images, L levels, A anchors a cell, Hi x Wi cells of level i, Ri = Hi * Wi * A.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import SoftNMS, cat, sigmoid_focal_loss
from d2lite.structures import Boxes, ImageList, Instances
from d2lite.utils.errors import ExportError
from d2lite.utils.events import log_scalars
from d2lite.utils.process_means import is_first_pass, mean_over_processes, pass_share

from ..backbone import Backbone
from ..box_regression import Box2BoxTransform, Box2BoxTransformLinear
from ..dense_choice import choice_arguments
from ..dense_decoding import decode_best, decode_best_padded
from ..dense_predictions import permute_to_N_HWA_K
from ..keep_best import refuse_soft, suppress
from ..padded import PaddedBoxes, detect_padded
from ..training_visualization import log_boxes_and_truth, should_visualize
from .detector import Batch, Detector, common_arguments, postprocess_batch

__all__ = ["DenseDetector", "permute_to_N_HWA_K"]

# Share of the old value in the running count of foreground anchors.
_MOMENTUM = 0.9


class DenseDetector(Detector):
    """A detector whose head predicts for every cell of every level.

    A subclass implements `forward_training`, and `forward_inference` or `_scores_and_deltas`. For
    the batch see `Detector`. For `_scores_and_deltas` it has an `anchor_generator`,
    `box2box_transform`, `test_score_thresh`, `test_topk_candidates`, `test_nms_thresh` and
    `max_detections_per_image`; for `_focal_loss` and `_find_objects`, `num_classes`,
    `focal_loss_alpha`, `focal_loss_gamma` and the buffer `loss_normalizer`, which
    `_start_normalizer` makes.

    Args:
        backbone: images -> feature maps.
        head: list of maps -> tuple of predictions, each a list with one tensor a level.
        head_in_features: the maps that the head is given; all, fine to coarse, when left out.
        pixel_mean: of each channel.
        pixel_std: of each channel.
    """

    compiled_parts: tuple[str, ...] = ("backbone", "head")

    # Whether `inference_single_image` keeps the field `cell`, the row of each detection among the
    # cells of all levels, for what a subclass predicts of each object.
    keeps_cells: bool = False
    # Whether boxes are cut at the borders of the image, and empty ones dropped, before NMS.
    clips_candidates: bool = False
    vis_period: int = 0
    input_format: str = "BGR"
    num_classes: int
    focal_loss_alpha: float
    focal_loss_gamma: float
    box2box_transform: Box2BoxTransform | Box2BoxTransformLinear
    test_score_thresh: float
    test_topk_candidates: int
    test_nms_thresh: float
    max_detections_per_image: int
    soft_nms: SoftNMS | None = None
    loss_normalizer: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: list[str] | None = None,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.head = head
        if head_in_features is None:
            shapes = backbone.output_shape()
            head_in_features = sorted(shapes, key=lambda name: shapes[name].stride)
        self.head_in_features = head_in_features

    def forward(self, batched_inputs: Batch) -> dict[str, Tensor] | list[dict[str, Any]]:
        """`losses` in training mode, `predict` otherwise."""
        # Not self.losses: subclasses give that name to the reference's method on labelled anchors.
        if self.training:
            return Detector.losses(self, batched_inputs)
        return self.predict(batched_inputs)

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """Losses by name."""
        images, features, predictions = self._run_network(batched_inputs)
        truth = self.truth_of(batched_inputs)
        losses = self.forward_training(images, features, predictions, truth)
        if should_visualize(self.vis_period):
            with torch.no_grad():
                results = self.forward_inference(images, features, predictions)
            self.visualize_training(batched_inputs, results)
        return losses

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """{"instances": detections} of each image, in pixels of `height` and `width`."""
        images, features, predictions = self._run_network(batched_inputs)
        results = self.forward_inference(images, features, predictions)
        return postprocess_batch(results, batched_inputs, images.image_sizes)

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Losses by name, from what the head predicted and the truth of each image."""
        raise NotImplementedError

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: Sequence[list[Tensor]]
    ) -> list[Instances]:
        """Detections of each image in pixels of the network's input, from the predictions."""
        anchors: Any = self.anchor_generator(features)  # type: ignore[operator]
        factors = self._score_factors(predictions)
        return self._detect(
            anchors, *self._scores_and_deltas(predictions), images.image_sizes, factors
        )

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`."""
        maps = self.backbone(images)
        features = [maps[name] for name in self.head_in_features]
        found, _ = self._choose_padded(features, self.head(features), sizes)
        return found._asdict()

    def _choose_padded(
        self, features: list[Tensor], predictions: Sequence[list[Tensor]], sizes: Tensor
    ) -> tuple[PaddedBoxes, Tensor]:
        """The detections in the fixed-size form, and (N, D) int64, the cell of each."""
        refuse_soft(self.soft_nms)
        anchors: Any = self.anchor_generator(features)  # type: ignore[operator]
        boxes, scores, classes, valid, cells = decode_best_padded(
            anchors,
            *self._scores_and_deltas(predictions),
            self.box2box_transform,
            self.test_score_thresh,
            self.test_topk_candidates,
            sizes if self.clips_candidates else None,
            self._score_factors(predictions),
        )
        limits = self.test_nms_thresh, self.max_detections_per_image, self.num_classes
        found, chosen = detect_padded(boxes, scores, classes, valid, *limits)
        return found, cells.gather(1, chosen)

    def _scores_and_deltas(
        self, predictions: Sequence[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """(N, Ri, K) scores in [0, 1] and (N, Ri, 4) deltas of each level."""
        raise ExportError(f"{type(self).__name__} has no fixed-size form.")

    def _score_factors(self, predictions: Sequence[list[Tensor]]) -> list[Tensor] | None:
        """(N, Ri) of each level: what scores are multiplied by once the best are chosen."""
        return None

    def inference_single_image(
        self,
        anchors: list[Boxes],
        box_cls: list[Tensor],
        box_delta: list[Tensor],
        image_size: tuple[int, int],
        factors: list[Tensor] | None = None,
    ) -> Instances:
        """Choose the detections of one image.

        Args:
            anchors: of each level.
            box_cls: one (Ri, C) of scores in [0, 1] a level.
            box_delta: one (Ri, 4) a level.
            image_size: (height, width).
            factors: one (Ri,) a level, see `_score_factors`.

        Returns:
            `pred_boxes`, `scores` and `pred_classes`, best first, in pixels of the network's
            input; `cell` with `keeps_cells`.
        """
        limits = self.test_score_thresh, self.test_topk_candidates
        more = () if factors is None else (factors,)
        candidates = self._decode_multi_level_predictions(
            anchors, box_cls, box_delta, *limits, image_size, *more
        )
        if self.clips_candidates:
            candidates.pred_boxes.clip(image_size)
            candidates = candidates[candidates.pred_boxes.nonempty()]
        kept, scores = suppress(
            candidates.pred_boxes,
            candidates.scores,
            candidates.pred_classes,
            self.test_nms_thresh,
            self.max_detections_per_image,
            self.soft_nms,
        )
        found = candidates[kept]
        found.scores = scores
        return found

    def _decode_multi_level_predictions(
        self,
        anchors: Sequence[Boxes],
        pred_scores: Sequence[Tensor],
        pred_deltas: Sequence[Tensor],
        score_thresh: float,
        topk_candidates: int,
        image_size: tuple[int, int],
        factors: Sequence[Tensor] | None = None,
    ) -> Instances:
        """The candidates of one image; see `decode_best`."""
        transform, limits = self.box2box_transform, (score_thresh, topk_candidates)
        given = anchors, pred_scores, pred_deltas, transform, *limits, image_size, factors
        return decode_best(*given, keeps_cells=self.keeps_cells)

    def _decode_per_level_predictions(
        self,
        anchors: Boxes,
        pred_scores: Tensor,
        pred_deltas: Tensor,
        score_thresh: float,
        topk_candidates: int,
        image_size: tuple[int, int],
    ) -> Instances:
        """The candidates of one level of one image; see `decode_best`."""
        level = [anchors], [pred_scores], [pred_deltas], self.box2box_transform
        return decode_best(*level, score_thresh, topk_candidates, image_size)

    def _ema_update(
        self, name: str, value: float | Tensor, initial_value: float, momentum: float = 0.9
    ) -> Any:
        """A running mean that is kept as an attribute, for losses written for detectron2.

        Args:
            name: of the attribute, such as "loss_normalizer".
            value: of this step.
            initial_value: the mean before the first step.
            momentum: share of the mean before.

        Returns:
            the mean.
        """
        mean = getattr(self, name, initial_value) * momentum + value * (1 - momentum)
        setattr(self, name, mean)
        return mean

    def _detect(
        self,
        anchors: list[Boxes],
        scores: Sequence[Tensor],
        deltas: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
        factors: Sequence[Tensor] | None = None,
    ) -> list[Instances]:
        """`inference_single_image` of each image, from (N, Ri, C) scores and (N, Ri, 4) deltas."""
        found = []
        for i, size in enumerate(image_sizes):
            arguments = anchors, [x[i] for x in scores], [x[i] for x in deltas], size
            if factors is None:
                # Subclasses in users' code may have the method without the last argument.
                found.append(self.inference_single_image(*arguments))
            else:
                found.append(self.inference_single_image(*arguments, [x[i] for x in factors]))
        return found

    def _find_objects(self, gt_labels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Which anchors learn an object, and what their losses are divided by.

        Args:
            gt_labels: one (R,) an image: the class, C for background, -1 to ignore.

        Returns:
            (N, R) labels; (N, R) bool, of an object; the running count of those, a scalar.
        """
        labels_NR = torch.stack(list(gt_labels))
        is_object = (labels_NR >= 0) & (labels_NR != self.num_classes)
        num_objects = is_object.sum()
        log_scalars(num_pos_anchors=num_objects / len(gt_labels))
        return labels_NR, is_object, self.update_normalizer(num_objects)

    def _focal_loss(self, logits: Sequence[Tensor], labels_NR: Tensor) -> Tensor:
        """The summed focal loss of all anchors but the ignored ones.

        Args:
            logits: one (N, Ri, C) a level.
            labels_NR: as `_find_objects` gives them. Background is the lack of all classes.
        """
        logits_NRC, target = self._class_targets(logits, labels_NR)
        loss = sigmoid_focal_loss(
            logits_NRC, target, alpha=self.focal_loss_alpha, gamma=self.focal_loss_gamma
        )
        return (loss.sum(dim=2) * (labels_NR >= 0)).sum()

    def _class_targets(self, logits: Sequence[Tensor], labels_NR: Tensor) -> tuple[Tensor, Tensor]:
        """(N, R, C) logits and their targets of 0 and 1."""
        logits_NRC = cat(list(logits), dim=1).float()
        # One more column takes background and ignored anchors (-1), so that no row has to be
        # selected, which would wait for the device.
        column = labels_NR.remainder(self.num_classes + 1)
        target = logits_NRC.new_zeros((*labels_NR.shape, self.num_classes + 1))
        target = target.scatter_(2, column[..., None], 1.0)[..., :-1]
        return logits_NRC, target

    def _start_normalizer(self, count: float) -> None:
        """Make the running count of foreground; published weights don't hold it."""
        self.register_buffer("loss_normalizer", torch.tensor(count), persistent=False)

    @torch.no_grad()
    def update_normalizer(self, num_foreground: Tensor) -> Tensor:
        """Update the running count of foreground anchors, by which losses are divided.

        Args:
            num_foreground: scalar, anchors that are an object in the batch.

        Returns:
            the running count, a scalar.
        """
        share = pass_share()
        # The same number in all processes: only that of the first one is saved.
        count = (mean_over_processes(num_foreground) / share).clamp(min=1)
        if is_first_pass():
            count = count.to(self.loss_normalizer.dtype)
            self.loss_normalizer = torch.lerp(count, self.loss_normalizer, _MOMENTUM)
        return self.loss_normalizer * share

    def visualize_training(self, batched_inputs: Batch, results: Sequence[Instances]) -> None:
        """Log the ground truth and the best detections of the first image.

        Args:
            batched_inputs: with the truth.
            results: detections of each image, in pixels of the network's input.
        """
        boxes = results[0].pred_boxes.tensor.detach().cpu().numpy()
        log_boxes_and_truth(
            batched_inputs[0],
            lambda count: boxes[:count],
            self.input_format,
            "Left: truth; right: detections",
        )

    def _run_network(
        self, batched_inputs: Batch
    ) -> tuple[ImageList, list[Tensor], Sequence[list[Tensor]]]:
        images = self.preprocess_image(batched_inputs)
        maps = self.backbone(images.tensor)
        features = [maps[name] for name in self.head_in_features]
        return images, features, self.head(features)

    @staticmethod
    def _arguments_from(cfg: CfgNode, node: CfgNode) -> dict[str, Any]:
        """The arguments of every dense detector, from the configuration and its own node of it."""
        return {
            **common_arguments(cfg),
            "head_in_features": list(node.IN_FEATURES),
            "num_classes": node.NUM_CLASSES,
            "focal_loss_alpha": node.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": node.FOCAL_LOSS_GAMMA,
            **choice_arguments(cfg, node),
        }

    @staticmethod
    def _transpose_dense_predictions(
        predictions: Sequence[Sequence[Tensor]], dims_per_anchor: Sequence[int]
    ) -> list[list[Tensor]]:
        """Each (N, A * K, Hi, Wi) to (N, Ri, K), with K from `dims_per_anchor` by prediction."""
        return [
            [permute_to_N_HWA_K(x, dim) for x in levels]
            for levels, dim in zip(predictions, dims_per_anchor, strict=True)
        ]
