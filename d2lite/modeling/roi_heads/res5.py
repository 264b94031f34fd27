"""Res5ROIHeads: the last stage of the ResNet runs on each region, and all branches share it."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.structures import Boxes, ImageList, Instances
from d2lite.utils.errors import ArgumentError, ConfigError

from ..backbone.backbone import check_maps
from ..backbone.resnet import ResNet
from ..backbone.resnet_blocks import BottleneckBlock
from ..padded import images_of_rows, rows_of
from ..poolers import ROIPooler
from .base import ROIHeads
from .build import ROI_HEADS_REGISTRY, build_mask_head
from .fast_rcnn import FastRCNNOutputLayers
from .label_proposals import select_foreground_proposals

# Each of the stages res3, res4 and res5 doubles the channels of the one before.
_CHANNEL_FACTOR = 8


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeads(ROIHeads):
    """The heads of the "C4" models: regions of res4 go through res5, then to box and mask.

    Args:
        in_features: the one map that regions are cut from.
        pooler: maps and boxes -> features of regions.
        res5: features of regions -> the features that all branches share.
        box_predictor: their mean -> scores and deltas; see `FastRCNNOutputLayers`.
        mask_head: None for no masks.
        **kwargs: see `ROIHeads`.
    """

    box_predictor: Any
    mask_head: Any

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        pooler: ROIPooler,
        res5: nn.Module,
        box_predictor: nn.Module,
        mask_head: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = in_features
        self.pooler = pooler
        self.res5 = nn.Sequential(*res5) if isinstance(res5, list | tuple) else res5
        self.box_predictor = box_predictor
        self.mask_on = mask_head is not None
        if self.mask_on:
            self.mask_head = mask_head

    @classmethod
    def from_config(  # type: ignore[override]  # these heads are made for given maps
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]
    ) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_HEADS`, `MODEL.ROI_BOX_HEAD` and `MODEL.RESNETS`.

        Raises:
            ConfigError: with keypoints on, or more than one map.
        """
        names = list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
        check_maps("the backbone", names, list(input_shape), "MODEL.ROI_HEADS.IN_FEATURES")
        if cfg.MODEL.KEYPOINT_ON or len(names) != 1:
            raise ConfigError(
                f"Res5ROIHeads has no keypoint branch and reads one map, not {names}; with "
                "MODEL.KEYPOINT_ON or several maps use MODEL.ROI_HEADS.NAME StandardROIHeads."
            )
        node = cfg.MODEL.ROI_BOX_HEAD
        make_res5: Any = cls._build_res5_block
        # Overrides that are not classmethods, as MoCo's, are given the class as `self`.
        is_bound = inspect.ismethod(make_res5)
        res5, channels = make_res5(cfg) if is_bound else make_res5(cls, cfg)
        arguments = {
            **super().from_config(cfg),
            "in_features": names,
            "pooler": ROIPooler(
                output_size=node.POOLER_RESOLUTION,
                scales=(1.0 / input_shape[names[0]].stride,),
                sampling_ratio=node.POOLER_SAMPLING_RATIO,
                pooler_type=node.POOLER_TYPE,
            ),
            "res5": res5,
            "box_predictor": FastRCNNOutputLayers(
                cfg, ShapeSpec(channels=channels, height=1, width=1)
            ),
        }
        if cfg.MODEL.MASK_ON:
            size = node.POOLER_RESOLUTION
            shape = ShapeSpec(channels=channels, height=size, width=size)
            arguments["mask_head"] = build_mask_head(cfg, shape)
        return arguments

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Sequential, int]:
        """The stage, and its channels."""
        node = cfg.MODEL.RESNETS
        if node.DEFORM_ON_PER_STAGE[-1]:
            raise ConfigError(
                "Res5ROIHeads makes a res5 without deformation, which does not fit "
                f"MODEL.RESNETS.DEFORM_ON_PER_STAGE={list(node.DEFORM_ON_PER_STAGE)}. Set its "
                "last value to False, or use StandardROIHeads."
            )
        channels = node.RES2_OUT_CHANNELS * _CHANNEL_FACTOR
        blocks = ResNet.make_stage(
            BottleneckBlock,
            3,
            stride_per_block=[2, 1, 1],
            in_channels=channels // 2,
            bottleneck_channels=node.NUM_GROUPS * node.WIDTH_PER_GROUP * _CHANNEL_FACTOR,
            out_channels=channels,
            num_groups=node.NUM_GROUPS,
            norm=node.NORM,
            stride_in_1x1=node.STRIDE_IN_1X1,
        )
        return nn.Sequential(*blocks), channels

    def _shared_roi_transform(self, features: list[Tensor], boxes: list[Boxes]) -> Tensor:
        return self.res5(self.pooler(features, boxes))

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See `ROIHeads.forward`."""
        if self.training:
            if targets is None:
                raise ArgumentError(
                    "In training the heads need targets, the instances of each image."
                )
            proposals = self.label_and_sample_proposals(proposals, targets)
        maps = [features[name] for name in self.in_features]
        x = self._shared_roi_transform(maps, [p.proposal_boxes for p in proposals])
        predictions = self.box_predictor(x.mean(dim=(2, 3)))
        if not self.training:
            detections, _ = self.box_predictor.inference(predictions, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        losses = self.box_predictor.losses(predictions, proposals)
        if self.mask_on:
            foreground, masks = select_foreground_proposals(proposals, self.num_classes)
            # The features of all proposals exist already; masks need those of the foreground.
            losses.update(self.mask_head(x[torch.cat(masks)], foreground))
        return proposals, losses

    def predict_padded(
        self, features: dict[str, Tensor], proposals: Tensor, valid: Tensor, sizes: Tensor
    ) -> dict[str, Tensor]:
        """See `StandardROIHeads.predict_padded`."""
        maps = [features[name] for name in self.in_features]
        x = self.res5(self.pooler.pool_rows(maps, images_of_rows(proposals)))
        predictions = self.box_predictor(x.mean(dim=(2, 3)))
        boxes, probs = self.box_predictor.predict_rows(predictions, proposals.flatten(0, 1))
        count = proposals.shape[:2]
        boxes, probs = boxes.reshape(*count, boxes.shape[1]), probs.reshape(*count, probs.shape[1])
        found = self.box_predictor.detect_padded(boxes, probs, valid, sizes)
        if not self.mask_on:
            return found._asdict()
        rows = rows_of(found.valid)
        rois = images_of_rows(found.boxes)[rows]
        logits = self.mask_head.layers(self.res5(self.pooler.pool_rows(maps, rois)))
        classes = found.classes.flatten()[rows]
        masks = self.mask_head.predict_rows(logits, rois[:, 1:], classes)
        return {**found._asdict(), **found.placed(masks, rows)}

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Add masks to boxes that are known already.

        Args:
            features: maps of the backbone, by name.
            instances: of each image, with pred_boxes and pred_classes.
        """
        if not self.mask_on:
            return instances
        maps = [features[name] for name in self.in_features]
        x = self._shared_roi_transform(maps, [i.pred_boxes for i in instances])
        return self.mask_head(x, instances)
