"""PointRend as a mask head: coarse masks of boxes, then predictions at points.

R regions of all images, P points of each, K classes (1 if masks are the same for all).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.layers.point_sampling import points_of_images, put_at_cells
from d2lite.modeling.roi_heads import ROI_MASK_HEAD_REGISTRY
from d2lite.modeling.roi_heads.mask_head import mask_rcnn_inference, mask_rcnn_loss
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError

from .coarse_head import ConvFCHead
from .point_features import (
    generate_regular_grid_point_coords,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    sample_point_labels,
)
from .point_head import build_point_head, follow_num_classes, of_class, roi_mask_point_loss
from .point_maps import PointMaps, Regions, Subdivision

Features = dict[str, Tensor]

# Tells these draws about an image from others; see `image_generator`.
_POINTS = 3


def calculate_uncertainty(logits: Tensor, classes: Tensor) -> Tensor:
    """How near the mask of each region's class is to the decision.

    Args:
        logits: (R, K, ...).
        classes: (R,) int64, not used if K is 1.

    Returns:
        (R, 1, ...), 0 at most.
    """
    return -of_class(logits, classes).abs()


@ROI_MASK_HEAD_REGISTRY.register()
class PointRendMaskHead(nn.Module):
    """A coarse mask of each box, and predictions at points that combine it with fine features.

    Args:
        region_maps: what the coarse head's input is sampled from.
        region_side: samples along a side of a box.
        coarse_head: (R, C, region_side, region_side) -> (R, K, S, S) logits.
        point_maps: what the fine features come from; None without a point head.
        point_head: fine features and coarse logits at points -> logits; None for coarse masks.
        train_num_points: P in training.
        oversample_ratio: see `get_uncertain_point_coords_with_randomness`.
        importance_sample_ratio: likewise.
        subdivision: see there; None without a point head.

    Source: Kirillov 2019, arXiv:1912.08193.
    """

    @configurable
    def __init__(
        self,
        *,
        region_maps: PointMaps,
        region_side: int,
        coarse_head: nn.Module,
        point_maps: PointMaps | None = None,
        point_head: nn.Module | None = None,
        train_num_points: int = 0,
        oversample_ratio: float = 3,
        importance_sample_ratio: float = 0.75,
        subdivision: Subdivision | None = None,
    ) -> None:
        super().__init__()
        self.region_maps = region_maps
        self.region_side = region_side
        self.coarse_head = coarse_head
        self.point_maps = point_maps
        self.point_head = point_head
        self.train_num_points = train_num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.subdivision = subdivision

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_MASK_HEAD` and `MODEL.POINT_HEAD`."""
        node = cfg.MODEL.ROI_MASK_HEAD
        num_classes = 1 if node.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES
        side = node.OUTPUT_SIDE_RESOLUTION
        arguments, shape = region_arguments(cfg, input_shape)
        arguments["coarse_head"] = ConvFCHead(cfg, shape, output_shape=(num_classes, side, side))
        if not node.POINT_HEAD_ON:
            return arguments
        points = cfg.MODEL.POINT_HEAD
        steps, num_points = points.SUBDIVISION_STEPS, points.SUBDIVISION_NUM_POINTS
        # Steps that would predict every cell anyway are left out: it begins with a larger side.
        while steps > 0 and 4 * side**2 <= num_points:
            side, steps = 2 * side, steps - 1
        return {
            **arguments,
            **point_arguments(cfg, input_shape),
            "oversample_ratio": points.OVERSAMPLE_RATIO,
            "importance_sample_ratio": points.IMPORTANCE_SAMPLE_RATIO,
            "subdivision": Subdivision(side, steps, num_points),
        }

    def forward(
        self, features: Features, instances: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        """Predict the masks of regions.

        Args:
            features: maps of the backbone, by name.
            instances: the regions of each image: in training labelled foreground proposals, else
                detections.

        Returns:
            In training `loss_mask` and `loss_mask_point`; else the instances, with pred_masks.
        """
        name = "proposal_boxes" if self.training else "pred_boxes"
        boxes = [found.get(name) for found in instances]
        coarse = self._represent(self._roi_pooler(features, boxes))
        if self.training:
            losses = {"loss_mask": mask_rcnn_loss(coarse, instances)}
            if self.point_head is not None:
                points, labels = self._sample_train_points(coarse, instances)
                logits = self._get_point_logits(features, boxes, points, coarse)
                losses["loss_mask_point"] = roi_mask_point_loss(logits, instances, labels)
            return losses
        if self.point_head is not None:
            return self._subdivision_inference(features, coarse, instances)
        mask_rcnn_inference(coarse, instances)
        return instances

    def predict_regions(
        self, features: Features, rois: Tensor, classes: Tensor
    ) -> dict[str, Tensor]:
        """The masks of regions as a tensor, for the fixed-size form.

        Args:
            features: maps of the backbone, by name.
            rois: (R, 5) float, (image, x0, y0, x1, y1) in pixels of the network's input, R > 0.
            classes: (R,) int64.

        Returns:
            {"masks": (R, 1, S, S) probabilities of the mask of each region's class}.
        """
        representation = self._represent(self._roi_pooler(features, rois))
        if self.point_head is None:
            return {"masks": of_class(representation, classes).sigmoid()}
        return {"masks": self._subdivided(features, representation, rois, classes).sigmoid()}

    def _represent(self, regions: Tensor) -> Tensor:
        """What points are predicted from, of (R, C, side, side) features of boxes."""
        coarse: Tensor = self.coarse_head(regions)
        return coarse

    def _roi_pooler(self, features: Features, boxes: Regions) -> Tensor:
        """(R, C, side, side) features on a regular grid in each box."""
        num_boxes = (
            boxes.shape[0] if isinstance(boxes, Tensor) else sum(len(each) for each in boxes)
        )
        side = self.region_side
        grid = generate_regular_grid_point_coords(
            num_boxes, side, features[self.region_maps.names[0]].device
        )
        return self.region_maps.sample(features, boxes, grid).unflatten(2, (side, side))

    def _sample_train_points(
        self, coarse: Tensor, instances: list[Instances]
    ) -> tuple[Tensor, Tensor]:
        """(R, P, 2) points where the coarse mask of the true class is unsure; (R, P) labels."""
        classes = torch.cat([found.gt_classes for found in instances])
        with torch.no_grad():
            points = get_uncertain_point_coords_with_randomness(
                coarse,
                partial(calculate_uncertainty, classes=classes),
                self.train_num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
                draw=draw_of(instances, coarse.device),
            )
        return points, sample_point_labels(instances, points)

    def _get_point_logits(
        self, features: Features, boxes: Regions, points: Tensor, representation: Tensor
    ) -> Tensor:
        """(R, K, P) logits at (R, P, 2) points; the representation is the coarse logits."""
        fine = self.point_maps.sample(features, boxes, points)
        coarse = point_sample(representation, points, align_corners=False)
        return self.point_head(fine, coarse)

    def _subdivision_inference(
        self, features: Features, representation: Tensor, instances: list[Instances]
    ) -> list[Instances]:
        boxes = [found.pred_boxes for found in instances]
        classes = torch.cat([found.pred_classes for found in instances])
        masks = self._subdivided(features, representation, boxes, classes)
        mask_rcnn_inference(masks, instances)
        return instances

    def _subdivided(
        self, features: Features, representation: Tensor, boxes: Regions, classes: Tensor
    ) -> Tensor:
        """Predict a small mask; then double it and predict its least certain cells, repeatedly.

        DIFFERS: only the class that is wanted is kept of each mask, which is all the result
        depends on. All 80 of COCO would be 1.6 GB for 100 objects.

        Returns:
            (R, 1, S, S) logits.
        """
        side, count = self.subdivision.side, classes.shape[0]
        points = generate_regular_grid_point_coords(count, side, representation.device)
        logits = self._get_point_logits(features, boxes, points, representation)
        masks = of_class(logits, classes).unflatten(2, (side, side))
        for _ in range(self.subdivision.steps if count > 0 else 0):
            masks = F.interpolate(masks, scale_factor=2, mode="bilinear", align_corners=False)
            cells, points = get_uncertain_point_coords_on_grid(
                calculate_uncertainty(masks, classes), self.subdivision.num_points
            )
            logits = self._get_point_logits(features, boxes, points, representation)
            masks = put_at_cells(masks, cells, of_class(logits, classes))
        return masks


def draw_of(instances: Sequence[Instances], device: torch.device) -> Any:
    """A source of the random points of labelled proposals, see `points_of_images`."""
    return points_of_images([len(found) for found in instances], _POINTS, device)


def region_arguments(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec]
) -> tuple[dict[str, Any], ShapeSpec]:
    """What boxes are shown as, and the shape of that."""
    if cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE:
        raise ConfigError(
            f"MODEL.ROI_MASK_HEAD.POOLER_TYPE is {cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE!r}; "
            "PointRend samples whole maps by itself. Set it to the empty text, ''."
        )
    maps = PointMaps.of(cfg.MODEL.ROI_MASK_HEAD.IN_FEATURES, input_shape)
    side = cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION
    shape = ShapeSpec(channels=maps.channels, height=side, width=side)
    return {"region_maps": maps, "region_side": side}, shape


def point_arguments(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
    """The point head, and what it is shown."""
    follow_num_classes(cfg, cfg.MODEL.ROI_HEADS.NUM_CLASSES, "MODEL.ROI_HEADS.NUM_CLASSES")
    maps = PointMaps.of(cfg.MODEL.POINT_HEAD.IN_FEATURES, input_shape)
    return {
        "point_maps": maps,
        "point_head": build_point_head(cfg, ShapeSpec(channels=maps.channels, height=1, width=1)),
        "train_num_points": cfg.MODEL.POINT_HEAD.TRAIN_NUM_POINTS,
    }
