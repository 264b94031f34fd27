"""Panoptic FPN: Mask R-CNN and a semantic head on one pyramid, joined into one map of segments.

H x W pixels of the output, M detections of one image.
"""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError

from ..postprocessing import detector_postprocess, sem_seg_postprocess
from .build import META_ARCH_REGISTRY
from .detector import Batch, output_sizes
from .rcnn import GeneralizedRCNN
from .semantic_seg import batch_label_maps, build_sem_seg_head

__all__ = ["PanopticFPN", "combine_semantic_and_instance_outputs"]

logger = logging.getLogger(__name__)

Panoptic = tuple[Tensor, list[dict[str, Any]]]


@META_ARCH_REGISTRY.register()
class PanopticFPN(GeneralizedRCNN):
    """Every pixel belongs to a thing (a countable object) or to stuff (grass, sky).

    For the batch see `Detector`; for training with `instances` and `sem_seg`, (H_i, W_i) integer
    labels, in which 0 means any thing.

    Args:
        sem_seg_head: maps -> class scores of each pixel, and losses.
        combine_overlap_thresh: see `combine_semantic_and_instance_outputs`.
        combine_stuff_area_thresh: likewise.
        combine_instances_score_thresh: likewise.
        combine_enabled: return `panoptic_seg` in addition to `sem_seg` and `instances`.
        **kwargs: see `GeneralizedRCNN`.

    Source: Kirillov 2019, arXiv:1901.02446.
    """

    @configurable
    def __init__(
        self,
        *,
        sem_seg_head: Any,
        combine_overlap_thresh: float = 0.5,
        combine_stuff_area_thresh: float = 4096,
        combine_instances_score_thresh: float = 0.5,
        combine_enabled: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sem_seg_head = sem_seg_head
        self.combine_overlap_thresh = combine_overlap_thresh
        self.combine_stuff_area_thresh = combine_stuff_area_thresh
        self.combine_instances_score_thresh = combine_instances_score_thresh
        self.combine_enabled = combine_enabled

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.PANOPTIC_FPN`, `MODEL.SEM_SEG_HEAD` and those of the base.

        Raises:
            ConfigError: if panoptic maps are asked for without masks.
        """
        arguments = super().from_config(cfg)
        node = cfg.MODEL.PANOPTIC_FPN
        if node.COMBINE.ENABLED and not cfg.MODEL.MASK_ON:
            raise ConfigError(
                "MODEL.PANOPTIC_FPN.COMBINE.ENABLED True needs the masks of objects. Set "
                "MODEL.MASK_ON True, or COMBINE.ENABLED False for boxes and a semantic map."
            )
        if node.INSTANCE_LOSS_WEIGHT != 1.0:
            _scale_loss_weights_(arguments["roi_heads"], node.INSTANCE_LOSS_WEIGHT)
        return {
            **arguments,
            "sem_seg_head": build_sem_seg_head(cfg, arguments["backbone"].output_shape()),
            "combine_overlap_thresh": node.COMBINE.OVERLAP_THRESH,
            "combine_stuff_area_thresh": node.COMBINE.STUFF_AREA_LIMIT,
            "combine_instances_score_thresh": node.COMBINE.INSTANCES_CONFIDENCE_THRESH,
            "combine_enabled": node.COMBINE.ENABLED,
        }

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """Losses of the semantic head, of the proposal generator and of the heads, by name."""
        images = self.preprocess_image(batched_inputs)
        truth = self.truth_of(batched_inputs)
        label_maps = self.truth_of(batched_inputs, "sem_seg")
        targets = batch_label_maps(label_maps, self.backbone, self.sem_seg_head.ignore_value)
        features = self.backbone(images.tensor)
        _, semantic_losses = self.sem_seg_head(features, targets)
        proposal_losses, head_losses = self._instance_losses(
            batched_inputs, images, features, truth
        )
        return {**semantic_losses, **proposal_losses, **head_losses}

    def _detect_padded(self, features: dict[str, Tensor], sizes: Tensor) -> dict[str, Tensor]:
        scores, _ = self.sem_seg_head(features, None)
        return {**super()._detect_padded(features, sizes), "sem_seg": scores}

    def inference(  # type: ignore[override]  # as in the reference, without given boxes
        self, batched_inputs: Batch, do_postprocess: bool = True
    ) -> list[dict[str, Any]] | tuple[list[Instances], Tensor]:
        """Find objects and score the pixels.

        Args:
            batched_inputs: see `Detector`.
            do_postprocess: bring results to the size of `height` and `width`, and combine
                them.

        Returns:
            for each image `sem_seg` ((K, height, width) scores), `instances`, and `panoptic_seg`,
            as `combine_semantic_and_instance_outputs` returns it. Without `do_postprocess` the
            `Instances` as the network sees each image, and (N, K, H, W) scores.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        scores, _ = self.sem_seg_head(features, None)
        proposals, _ = self._propose(batched_inputs, images, features, None)
        detections, _ = self.roi_heads(images, features, proposals, None)
        if not do_postprocess:
            return detections, scores
        sizes = output_sizes(batched_inputs, images.image_sizes)
        return [
            self._join(*of_image)
            for of_image in zip(detections, scores, images.image_sizes, sizes, strict=True)
        ]

    def _join(
        self, detections: Instances, scores: Tensor, seen: tuple[int, int], wanted: tuple[int, int]
    ) -> dict[str, Any]:
        """The results of one image, from its (height, width) as seen to the wanted one."""
        semantic = sem_seg_postprocess(scores, seen, *wanted)
        instances = detector_postprocess(detections, *wanted)
        results: dict[str, Any] = {"sem_seg": semantic, "instances": instances}
        if self.combine_enabled:
            results["panoptic_seg"] = combine_semantic_and_instance_outputs(
                instances,
                semantic.argmax(dim=0),
                self.combine_overlap_thresh,
                self.combine_stuff_area_thresh,
                self.combine_instances_score_thresh,
            )
        return results


def combine_semantic_and_instance_outputs(
    instance_results: Instances,
    semantic_results: Tensor,
    overlap_threshold: float,
    stuff_area_thresh: float,
    instances_score_thresh: float,
) -> Panoptic:
    """Give each pixel to one segment: to the best object that claims it, else to stuff.

    Args:
        instance_results: M detections, with `pred_masks` ((M, H, W) bool), `scores` and
            `pred_classes`.
        semantic_results: (H, W) integer, the best class of each pixel; 0 for all things.
        overlap_threshold: an object that better ones cover to more than this share is dropped.
        stuff_area_thresh: stuff of a class that is left with fewer pixels is dropped.
        instances_score_thresh: objects of a lower score are dropped.

    Returns:
        (H, W) int32 ids of segments, 0 for none; and a dict for each segment: `id`, `isthing`,
        `category_id`, with `score` and `instance_id` (the detection) for things and `area` in
        pixels for stuff.
    """
    panoptic, things = _paint_things(
        instance_results, semantic_results, overlap_threshold, instances_score_thresh
    )
    is_free = panoptic == 0
    present = semantic_results.unique().tolist()
    # One count of everything, not one mask a class.
    free_pixels = semantic_results[is_free].bincount(minlength=max(present, default=0) + 1)
    areas = free_pixels.tolist()
    kept = [label for label in present if label != 0 and not areas[label] < stuff_area_thresh]
    first_id = len(things) + 1
    stuff = [
        {"id": number, "isthing": False, "category_id": label, "area": areas[label]}
        for number, label in enumerate(kept, start=first_id)
    ]
    id_of_label = panoptic.new_zeros(len(areas))
    id_of_label[kept] = torch.arange(
        first_id, first_id + len(kept), dtype=panoptic.dtype, device=panoptic.device
    )
    return torch.where(is_free, id_of_label[semantic_results], panoptic), things + stuff


def _paint_things(
    detections: Instances, semantic: Tensor, overlap_threshold: float, score_threshold: float
) -> Panoptic:
    """The map with the segments of things alone, the best object first, and their dicts."""
    panoptic = torch.zeros_like(semantic, dtype=torch.int32)
    masks = detections.pred_masks.to(device=panoptic.device, dtype=torch.bool)
    areas = masks.flatten(1).sum(dim=1).tolist()
    scores, classes = detections.scores.tolist(), detections.pred_classes.tolist()
    segments: list[dict[str, Any]] = []
    for index in detections.scores.argsort(descending=True, stable=True).tolist():
        if scores[index] < score_threshold:
            break
        visible = masks[index] & (panoptic == 0)
        hidden = areas[index] - int(visible.sum())
        if areas[index] == 0 or hidden / areas[index] > overlap_threshold:
            continue
        number = len(segments) + 1
        panoptic.masked_fill_(visible, number)
        segments.append(
            {
                "id": number,
                "isthing": True,
                "score": scores[index],
                "category_id": classes[index],
                "instance_id": index,
            }
        )
    return panoptic, segments


def _scale_loss_weights_(roi_heads: nn.Module, factor: float) -> None:
    """Multiply the loss weights that heads have been given, in place."""
    # A weight that is left to its default of 1 inside a dict (loss_cls) stays, as in the
    # reference, so that configurations train as they did.
    for head in _heads_with_losses(roi_heads):
        weight = head.loss_weight
        if isinstance(weight, dict):
            head.loss_weight = {name: value * factor for name, value in weight.items()}
        else:
            head.loss_weight = weight * factor
    logger.warning(
        f"MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT {factor} scales the loss of boxes, masks and "
        "keypoints, but not of their classes. Give each head a weight of its own instead, such as "
        "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT."
    )


def _heads_with_losses(roi_heads: nn.Module) -> Iterator[Any]:
    """The predictors of boxes (one a stage in a cascade), masks and keypoints."""
    for name in ("box_predictor", "mask_head", "keypoint_head"):
        head = getattr(roi_heads, name, None)
        stages = head if isinstance(head, nn.ModuleList) else [head]
        yield from (stage for stage in stages if hasattr(stage, "loss_weight"))
