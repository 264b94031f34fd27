"""MaskQueries: what models whose queries predict classes and masks have in common.

N images, Q queries, K classes.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.config import CfgNode
from d2lite.structures import BitMasks, Instances
from d2lite.utils.errors import ConfigError, DataError

from ..backbone import Backbone
from ..padded import inside_sizes
from ..postprocessing import sem_seg_postprocess
from ..transformer import (
    HungarianMatcher,
    MaskCriterion,
    best_instances,
    best_instances_padded,
    panoptic_segments,
    panoptic_segments_padded,
    semantic_scores,
)
from .detector import Batch, Detector, common_arguments, output_sizes


class MaskQueries(Detector):
    """Classes and masks of queries: instance, panoptic and semantic segmentation by one model.

    Args:
        backbone: see `Detector`.
        criterion: see `MaskCriterion`.
        object_mask_threshold: see `panoptic_segments`.
        overlap_threshold: likewise.
        metadata: of the training set; its thing_dataset_id_to_contiguous_id says which classes
            are objects.
        sem_seg_postprocess_before_inference: bring masks to the size of the result before
            classes of pixels are computed, not after.
        pixel_mean: see `Detector`.
        pixel_std: likewise.
        semantic_on: give classes of pixels.
        panoptic_on: give segments.
        instance_on: give objects.
        test_topk_per_image: objects of an image.
    """

    section: str
    """The section under MODEL of the architecture's keys, for messages."""

    def __init__(
        self,
        *,
        backbone: Backbone,
        criterion: MaskCriterion,
        object_mask_threshold: float,
        overlap_threshold: float,
        metadata: Any,
        sem_seg_postprocess_before_inference: bool,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        semantic_on: bool,
        panoptic_on: bool,
        instance_on: bool,
        test_topk_per_image: int,
    ) -> None:
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.criterion = criterion
        self.object_mask_threshold = object_mask_threshold
        self.overlap_threshold = overlap_threshold
        self.metadata = metadata
        self.sem_seg_postprocess_before_inference = sem_seg_postprocess_before_inference
        self.semantic_on, self.panoptic_on, self.instance_on = semantic_on, panoptic_on, instance_on
        self.test_topk_per_image = test_topk_per_image

    @property
    def things(self) -> frozenset[int] | None:
        """Class numbers of objects; None where the metadata does not say."""
        numbers = self.metadata and self.metadata.get("thing_dataset_id_to_contiguous_id")
        return None if numbers is None else frozenset(numbers.values())

    @abstractmethod
    def predict_queries(self, images: Tensor) -> dict[str, Any]:
        """Classes and masks of the queries.

        Args:
            images: (N, C, H, W) float, normalised and padded.

        Returns:
            pred_logits (N, Q, K + 1), pred_masks (N, Q, H', W'), and aux_outputs, a list of such
            dicts of earlier layers.
        """

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """`loss_ce`, `loss_mask` and `loss_dice` of the last layer and, with _0, ..., of others."""
        images = self.preprocess_image(batched_inputs)
        outputs = self.predict_queries(images.tensor)
        targets = [
            self._target_of(truth, item, images.tensor.shape[-2:])
            for truth, item in zip(self.truth_of(batched_inputs), batched_inputs, strict=True)
        ]
        weights = self.criterion.weight_dict
        if not any(name.endswith("_0") for name in weights):
            outputs = {key: value for key, value in outputs.items() if key != "aux_outputs"}
        losses = self.criterion(outputs, targets)
        return {name: loss * weights[name] for name, loss in losses.items() if name in weights}

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """Find classes of pixels, segments and objects, whatever is switched on.

        Args:
            batched_inputs: see `Detector`.

        Returns:
            for each image `sem_seg`, see `semantic_scores`; `panoptic_seg`, see
            `panoptic_segments`; `instances`, see `best_instances`.
        """
        images = self.preprocess_image(batched_inputs)
        outputs = self.predict_queries(images.tensor)
        sizes = output_sizes(batched_inputs, images.image_sizes)
        padded = images.tensor.shape[-2:]
        return [
            self._results(classes, masks, padded, seen, wanted)
            for classes, masks, seen, wanted in zip(
                outputs["pred_logits"],
                outputs["pred_masks"],
                images.image_sizes,
                sizes,
                strict=True,
            )
        ]

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`: `query_logits`, `query_masks`, or `sem_seg` alone."""
        outputs = self.predict_queries(images)
        logits, masks = outputs["pred_logits"].float(), outputs["pred_masks"].float()
        if self.sem_seg_postprocess_before_inference:
            return {"query_logits": logits, "query_masks": masks}
        masks = F.interpolate(masks, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return {"sem_seg": semantic_scores(logits, masks)}

    def results_padded(self, logits: Tensor, masks: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """The results of a batch, in pixels of the images.

        Args:
            logits: (N, Q, K + 1), the last for no object.
            masks: (N, Q, H, W) logits.
            sizes: (N, 2) height and width of each image in H x W pixels.

        Returns:
            What is switched on of `image_masks` (N, D, H, W) bool, with `scores`, `classes` and
            `valid` (N, D); `image_sem_seg` (N, K, H, W); `segments` (N, H, W) int64, 0 for none,
            and `segment_classes` (N, Q + 1), the class of each segment.
        """
        results: dict[str, Tensor] = {}
        inside = inside_sizes(masks, sizes)[:, None]
        things = self.things
        if self.instance_on:
            results |= best_instances_padded(
                logits,
                masks,
                inside,
                self.test_topk_per_image,
                things if self.panoptic_on else None,
            )
        if self.semantic_on:
            results["image_sem_seg"] = semantic_scores(logits, masks) * inside
        if self.panoptic_on:
            results["segments"], results["segment_classes"] = panoptic_segments_padded(
                logits,
                masks,
                inside,
                self._known(things),
                self.object_mask_threshold,
                self.overlap_threshold,
            )
        return results

    def _known(self, things: frozenset[int] | None) -> frozenset[int]:
        if things is None:
            raise ConfigError(
                f"MODEL.{self.section}.TEST.PANOPTIC_ON needs a panoptic set as first of "
                "DATASETS.TRAIN, whose metadata says which classes are objects "
                "(thing_dataset_id_to_contiguous_id)."
            )
        return things

    def _results(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        padded: Sequence[int],
        seen: tuple[int, int],
        wanted: tuple[int, int],
    ) -> dict[str, Any]:
        """The results of one image, from its (height, width) as seen to the wanted one."""
        class_logits = class_logits.float()
        # Image by image: the enlarged masks of a whole batch take much memory.
        masks = F.interpolate(
            mask_logits[None].float(), size=tuple(padded), mode="bilinear", align_corners=False
        )[0]
        is_final = self.sem_seg_postprocess_before_inference
        if is_final:
            masks = sem_seg_postprocess(masks, seen, *wanted)
        results: dict[str, Any] = {}
        if self.semantic_on:
            scores = semantic_scores(class_logits, masks)
            results["sem_seg"] = scores if is_final else sem_seg_postprocess(scores, seen, *wanted)
        things = self.things
        if self.panoptic_on:
            results["panoptic_seg"] = panoptic_segments(
                class_logits,
                masks,
                self._known(things),
                self.object_mask_threshold,
                self.overlap_threshold,
            )
        if self.instance_on:
            results["instances"] = best_instances(
                class_logits,
                masks,
                self.test_topk_per_image,
                things if self.panoptic_on else None,
            )
        return results

    def _target_of(
        self, truth: Instances, item: dict[str, Any], padded: Sequence[int]
    ) -> dict[str, Tensor]:
        """Labels and bool masks of an image's objects, the masks padded as the batch is.

        Args:
            truth: gt_classes, and gt_masks: a (T, H, W) tensor, `BitMasks` or `PolygonMasks`.
            item: of the batch, for messages.
            padded: (height, width) of the network's input.

        Raises:
            DataError: if there are objects without masks.
        """
        labels = truth.gt_classes
        if not truth.has("gt_masks"):
            if len(labels):
                raise DataError(
                    f"{item.get('file_name', 'An image')} has {len(labels)} objects without masks, "
                    f"and {type(self).__name__} learns masks. Use a set with masks and a mapper "
                    "that keeps them (INPUT.DATASET_MAPPER_NAME)."
                )
            return {"labels": labels, "masks": labels.new_zeros((0, *padded), dtype=torch.bool)}
        masks = truth.gt_masks
        if not isinstance(masks, Tensor):
            masks = BitMasks.of(masks, *truth.image_size).tensor
        masks = masks.to(device=labels.device, dtype=torch.bool)
        below, beside = (side - own for side, own in zip(padded, masks.shape[-2:], strict=True))
        return {"labels": labels, "masks": F.pad(masks, (0, beside, 0, below))}


def mask_query_arguments(
    cfg: CfgNode, node: CfgNode, num_aux: int, metadata: Any
) -> dict[str, Any]:
    """The arguments of `MaskQueries` that a configuration stands for.

    Args:
        cfg: the whole config.
        node: the section of the architecture, with keys as in MODEL.MASK_FORMER.
        num_aux: number of earlier layers with losses of their own.
        metadata: see `MaskQueries`.
    """
    weights = {
        "loss_ce": node.CLASS_WEIGHT,
        "loss_mask": node.MASK_WEIGHT,
        "loss_dice": node.DICE_WEIGHT,
    }
    matcher = HungarianMatcher(
        node.CLASS_WEIGHT, node.MASK_WEIGHT, node.DICE_WEIGHT, node.TRAIN_NUM_POINTS
    )
    of_aux = {f"{name}_{i}": w for i in range(num_aux) for name, w in weights.items()}
    criterion = MaskCriterion(
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        matcher,
        {**weights, **of_aux},
        node.NO_OBJECT_WEIGHT,
        ["labels", "masks"],
        node.TRAIN_NUM_POINTS,
        node.OVERSAMPLE_RATIO,
        node.IMPORTANCE_SAMPLE_RATIO,
    )
    return {
        **common_arguments(cfg),
        "criterion": criterion,
        "object_mask_threshold": node.TEST.OBJECT_MASK_THRESHOLD,
        "overlap_threshold": node.TEST.OVERLAP_THRESHOLD,
        "metadata": metadata,
        # Panoptic and instance results are computed in the size of the result.
        "sem_seg_postprocess_before_inference": node.TEST.PANOPTIC_ON or node.TEST.INSTANCE_ON,
        "semantic_on": node.TEST.SEMANTIC_ON,
        "panoptic_on": node.TEST.PANOPTIC_ON,
        "instance_on": node.TEST.INSTANCE_ON,
        "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
    }
