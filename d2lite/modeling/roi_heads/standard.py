"""StandardROIHeads: a box branch, then mask and keypoint branches with features of their own."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.structures import Boxes, ImageList, Instances
from d2lite.utils.errors import ArgumentError, ExportError

from ..backbone.backbone import check_maps
from ..padded import PaddedBoxes, images_of_rows, rows_of
from ..poolers import ROIPooler
from .base import RATED, ROIHeads
from .build import ROI_HEADS_REGISTRY, build_box_head, build_keypoint_head, build_mask_head
from .fast_rcnn import FastRCNNOutputLayers
from .label_proposals import (
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)
from .prime_samples import score_priority

Pooler = ROIPooler | None
Features = dict[str, Tensor]


def build_pooler(
    cfg: CfgNode, node: CfgNode, input_shape: dict[str, ShapeSpec]
) -> tuple[list[str], Pooler, Any]:
    """Make the pooler of one branch.

    Args:
        cfg: its MODEL.ROI_HEADS.IN_FEATURES names the maps.
        node: the branch's configuration, with POOLER_TYPE, POOLER_RESOLUTION and
            POOLER_SAMPLING_RATIO.
        input_shape: the feature maps of the backbone, by name.

    Returns:
        The names of the maps; the pooler, None for an empty POOLER_TYPE (the input of the branch
        is then whole maps); the shape of that input.

    Raises:
        ArgumentError: if the maps differ in channels.
    """
    names = list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
    check_maps("the backbone", names, list(input_shape), "MODEL.ROI_HEADS.IN_FEATURES")
    if not node.POOLER_TYPE:
        return names, None, {name: input_shape[name] for name in names}
    channels = {input_shape[name].channels for name in names}
    if len(channels) != 1:
        raise ArgumentError(
            f"MODEL.ROI_HEADS.IN_FEATURES {names} have {sorted(channels)} channels; regions are "
            "pooled from maps of equal channels."
        )
    size = node.POOLER_RESOLUTION
    pooler = ROIPooler(
        output_size=size,
        scales=tuple(1.0 / input_shape[name].stride for name in names),
        sampling_ratio=node.POOLER_SAMPLING_RATIO,
        pooler_type=node.POOLER_TYPE,
    )
    return names, pooler, ShapeSpec(channels=channels.pop(), height=size, width=size)


def _branch_arguments(
    name: str,
    build_head: Callable[[CfgNode, Any], nn.Module],
    cfg: CfgNode,
    input_shape: dict[str, ShapeSpec],
) -> dict[str, Any]:
    """The arguments of `StandardROIHeads` for "box", "mask" or "keypoint"."""
    node = cfg.MODEL[f"ROI_{name.upper()}_HEAD"]
    names, pooler, shape = build_pooler(cfg, node, input_shape)
    head = build_head(cfg, shape)
    return {f"{name}_in_features": names, f"{name}_pooler": pooler, f"{name}_head": head}


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """Box branch, then masks and keypoints of its detections; every branch pools its own features.

    In training all branches use the same labelled proposals.

    Args:
        box_in_features: the maps of the box branch, by name.
        box_pooler: maps and boxes -> features of regions.
        box_head: features of regions -> features for class and box.
        box_predictor: those -> scores and deltas; see `FastRCNNOutputLayers`.
        mask_in_features: the maps of the mask branch.
        mask_pooler: as `box_pooler`; None to give whole maps to the head.
        mask_head: None for no masks.
        keypoint_in_features: the maps of the keypoint branch.
        keypoint_pooler: as `mask_pooler`.
        keypoint_head: None for no keypoints.
        train_on_pred_boxes: train masks and keypoints on the predicted boxes in place of the
            proposals.
        **kwargs: see `ROIHeads`.
    """

    box_in_features: list[str]
    box_pooler: ROIPooler
    box_head: Any
    box_predictor: Any
    knows_hard_proposals = True
    # Makes the box predictor, from the configuration and the shape of a region's features.
    _predictor: type[FastRCNNOutputLayers] = FastRCNNOutputLayers

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_in_features: list[str] | None = None,
        mask_pooler: Pooler = None,
        mask_head: nn.Module | None = None,
        keypoint_in_features: list[str] | None = None,
        keypoint_pooler: Pooler = None,
        keypoint_head: nn.Module | None = None,
        train_on_pred_boxes: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = box_in_features
        self.train_on_pred_boxes = train_on_pred_boxes
        self._add_branch("box", box_in_features, box_pooler, box_head)
        self.box_predictor = box_predictor
        self.mask_on = self._add_branch("mask", mask_in_features, mask_pooler, mask_head)
        self.keypoint_on = self._add_branch(
            "keypoint", keypoint_in_features, keypoint_pooler, keypoint_head
        )

    def _add_branch(
        self, name: str, in_features: list[str] | None, pooler: Pooler, head: nn.Module | None
    ) -> bool:
        """Keep the parts of a branch as `NAME_in_features` and so on; returns whether it exists."""
        if head is None:
            return False
        for part, value in (("in_features", in_features), ("pooler", pooler), ("head", head)):
            setattr(self, f"{name}_{part}", value)
        return True

    @classmethod
    def from_config(  # type: ignore[override]  # these heads are made for given maps
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]
    ) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_HEADS` and the node of each branch.

        A subclass changes one branch by overriding `_init_box_head`, `_init_mask_head` or
        `_init_keypoint_head`. Old overrides are not classmethods: the constructor of the subclass
        calls these.
        """
        arguments = {
            **super().from_config(cfg),
            "train_on_pred_boxes": cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES,
        }
        for make in (cls._init_box_head, cls._init_mask_head, cls._init_keypoint_head):
            if inspect.ismethod(make):
                arguments.update(make(cfg, input_shape))
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        branch = _branch_arguments("box", build_box_head, cfg, input_shape)
        return {**branch, "box_predictor": cls._predictor(cfg, branch["box_head"].output_shape)}

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        is_on = cfg.MODEL.MASK_ON
        return _branch_arguments("mask", build_mask_head, cfg, input_shape) if is_on else {}

    @classmethod
    def _init_keypoint_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        is_on = cfg.MODEL.KEYPOINT_ON
        return _branch_arguments("keypoint", build_keypoint_head, cfg, input_shape) if is_on else {}

    def forward(
        self,
        images: ImageList,
        features: Features,
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See `ROIHeads.forward`."""
        if not self.training:
            detections = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        if targets is None:
            raise ArgumentError("In training the heads need targets, the instances of each image.")
        more = {"rate": partial(self._hardness, features)} if self.sampler in RATED else {}
        proposals = self.label_and_sample_proposals(proposals, targets, **more)
        losses = self._box_losses(features, proposals, targets)
        # All branches learn on the same proposals, in a cascade on those of the first stage.
        for branch in (self._forward_mask, self._forward_keypoint):
            losses.update(branch(features, proposals))
        return proposals, losses

    def _box_losses(
        self, features: Features, proposals: list[Instances], targets: list[Instances]
    ) -> dict[str, Tensor]:
        return self._forward_box(features, proposals)

    def _hardness(
        self, features: Features, image: int, found: Instances, classes: Tensor
    ) -> Tensor:
        """(R,) what the sampler asks about each proposal of one image; the largest are drawn."""
        maps = [features[name][image : image + 1] for name in self.box_in_features]
        predictions, predictor = self._predict_regions(maps, [found]), self._first_predictor
        if self.sampler == "score_hlr":
            return score_priority(predictor, predictions, found, classes)
        return predictor.losses_of_classes(predictions[0], classes)

    def forward_with_given_boxes(
        self, features: Features, instances: list[Instances]
    ) -> list[Instances]:
        """Add masks and keypoints to boxes that are known already.

        Args:
            features: maps of the backbone, by name.
            instances: of each image, with pred_boxes and pred_classes.
        """
        instances = self._forward_mask(features, instances)
        return self._forward_keypoint(features, instances)

    def predict_padded(
        self, features: Features, proposals: Tensor, valid: Tensor, sizes: Tensor
    ) -> dict[str, Tensor]:
        """Detect in the fixed-size form.

        Args:
            features: maps of the backbone, by name.
            proposals: (N, R, 4) float, xyxy in pixels of the network's input.
            valid: (N, R) bool.
            sizes: (N, 2) height and width of each image.

        Returns:
            The fields of `PaddedBoxes`, and what the heads give: (N, D, ...) each.
        """
        boxes, probs = self._padded_boxes(features, proposals, sizes)
        found = self._last_predictor.detect_padded(boxes, probs, valid, sizes)
        outputs = found._asdict()
        for name in ("mask", "keypoint"):
            outputs.update(self._padded_branch(name, features, found))
        return outputs

    @property
    def _first_predictor(self) -> Any:
        return self.box_predictor

    @property
    def _last_predictor(self) -> Any:
        return self.box_predictor

    def _predict_regions(self, maps: list[Tensor], proposals: list[Instances]) -> Any:
        """Scores and deltas of the proposals of all images."""
        pooled = self.box_pooler(maps, [p.proposal_boxes for p in proposals])
        return self.box_predictor(self.box_head(pooled))

    def _padded_boxes(
        self, features: Features, proposals: Tensor, sizes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(N, R, K * 4) or (N, R, 4) boxes, and (N, R, K + 1) probabilities."""
        maps = [features[name] for name in self.box_in_features]
        pooled = self.box_pooler.pool_rows(maps, images_of_rows(proposals))
        predictions = self.box_predictor(self.box_head(pooled))
        boxes, probs = self.box_predictor.predict_rows(predictions, proposals.flatten(0, 1))
        count = proposals.shape[:2]
        return boxes.reshape(*count, boxes.shape[1]), probs.reshape(*count, probs.shape[1])

    def _padded_branch(
        self, name: str, features: Features, found: PaddedBoxes
    ) -> dict[str, Tensor]:
        if not getattr(self, f"{name}_on"):
            return {}
        head, pooler = getattr(self, f"{name}_head"), getattr(self, f"{name}_pooler")
        maps = {key: features[key] for key in getattr(self, f"{name}_in_features")}
        rows = rows_of(found.valid)
        rois, classes = images_of_rows(found.boxes)[rows], found.classes.flatten()[rows]
        if pooler is not None:
            logits = head.layers(pooler.pool_rows(list(maps.values()), rois))
            return found.placed(head.predict_rows(logits, rois[:, 1:], classes), rows)
        if not hasattr(head, "predict_regions"):
            raise ExportError(f"{type(head).__name__} on whole maps has no fixed-size form.")
        return found.placed(head.predict_regions(maps, rois, classes), rows)

    def _forward_box(self, features: Features, proposals: list[Instances]) -> Any:
        """Losses in training; else detections of each image."""
        maps = [features[name] for name in self.box_in_features]
        predictions = self._predict_regions(maps, proposals)
        if not self.training:
            detections, _ = self.box_predictor.inference(predictions, proposals)
            return detections
        losses = self.box_predictor.losses(predictions, proposals)
        if self.train_on_pred_boxes:
            with torch.no_grad():
                boxes = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
                for found, boxes_per_image in zip(proposals, boxes, strict=True):
                    found.proposal_boxes = Boxes(boxes_per_image)
        return losses

    def _forward_mask(self, features: Features, instances: list[Instances]) -> Any:
        """Losses in training; else the instances with masks."""
        if self.mask_on and self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        return self._forward_branch("mask", features, instances)

    def _forward_keypoint(self, features: Features, instances: list[Instances]) -> Any:
        """Losses in training; else the instances with keypoints."""
        if self.keypoint_on and self.training:
            foreground, _ = select_foreground_proposals(instances, self.num_classes)
            instances = select_proposals_with_visible_keypoints(foreground)
        return self._forward_branch("keypoint", features, instances)

    def _forward_branch(self, name: str, features: Features, instances: list[Instances]) -> Any:
        """What a head returns for the regions of instances; without the head no loss is added."""
        if not getattr(self, f"{name}_on"):
            return {} if self.training else instances
        maps = {key: features[key] for key in getattr(self, f"{name}_in_features")}
        pooler, head = getattr(self, f"{name}_pooler"), getattr(self, f"{name}_head")
        if pooler is None:
            return head(maps, instances)
        boxes = [i.proposal_boxes if self.training else i.pred_boxes for i in instances]
        return head(pooler(list(maps.values()), boxes), instances)
