"""FCOS: every cell inside an object predicts the distances to its four sides.

N images, L levels, Ri cells of level i, R their sum, M objects of one image, C classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import SoftNMS, cat
from d2lite.structures import Boxes, ImageList, Instances, pairwise_point_box_distance

from ..anchor_generator import DefaultAnchorGenerator
from ..backbone import Backbone
from ..backbone.backbone import check_maps
from ..box_regression import Box2BoxTransformLinear, _dense_box_regression_loss
from .build import META_ARCH_REGISTRY
from .dense_detector import DenseDetector
from .fcos_head import FCOSHead

__all__ = ["FCOS", "FCOSHead", "centerness_of"]

# Where the running count of foreground cells starts.
_FIRST_NORMALIZER = 300.0
# A level is for objects whose farthest side is so many strides away from the cell.
_REACH_IN_STRIDES = (4.0, 8.0)


@META_ARCH_REGISTRY.register()
class FCOS(DenseDetector):
    """One-stage detection without anchor boxes.

    A cell is described by a box of the stride's size around its point, so that the functions for
    anchors can be used.

    Args:
        backbone: images -> feature maps.
        head: maps -> class logits, distances and centerness of each.
        head_in_features: the maps that the head is given; all, fine to coarse, when left out.
        box2box_transform: distances <-> boxes; in units of the stride when left out.
        num_classes: C, without background.
        center_sampling_radius: a cell learns an object whose centre is at most so many strides
            away, in x and in y.
        focal_loss_alpha: weight of foreground in the focal loss.
        focal_loss_gamma: how much easy examples are held back.
        test_score_thresh: detections must score higher.
        test_topk_candidates: detections of each level that NMS is given.
        test_nms_thresh: IoU above which detections of a class suppress each other.
        max_detections_per_image: at most so many are returned.
        soft_nms: let scores of overlapping boxes fall, in place of dropping these.
        pixel_mean: of each channel.
        pixel_std: of each channel.

    Attributes:
        loss_normalizer: running number of foreground cells in a batch, by which losses are
            divided. It is in `training_state`, not in `state_dict()`.

    Source: Tian 2019, arXiv:1904.01355; score and targets by stride as in arXiv:2006.09214.
    """

    predicts = frozenset({"instances"})
    training_buffers: tuple[str, ...] = ("loss_normalizer",)
    # Whether an object at the limit of two levels is learnt by both, or by neither.
    shares_reach_limits: bool = False

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: list[str] | None = None,
        box2box_transform: Box2BoxTransformLinear | None = None,
        num_classes: int,
        center_sampling_radius: float = 1.5,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        test_score_thresh: float = 0.2,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        max_detections_per_image: int = 100,
        soft_nms: SoftNMS | None = None,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(
            backbone, head, head_in_features, pixel_mean=pixel_mean, pixel_std=pixel_std
        )
        shapes = backbone.output_shape()
        strides = [shapes[name].stride for name in self.head_in_features]
        self.anchor_generator = DefaultAnchorGenerator(
            sizes=[[stride] for stride in strides], aspect_ratios=[1.0], strides=strides
        )
        self.box2box_transform = box2box_transform or Box2BoxTransformLinear(normalize_by_size=True)
        self.num_classes = num_classes
        self.center_sampling_radius = center_sampling_radius
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.soft_nms = soft_nms
        self._start_normalizer(_FIRST_NORMALIZER)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.FCOS` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.FCOS
        arguments = cls._arguments_from(cfg, node)
        known = arguments["backbone"].output_shape()
        check_maps("the backbone", node.IN_FEATURES, list(known), "MODEL.FCOS.IN_FEATURES")
        return {
            **arguments,
            "head": FCOSHead(cfg, [known[name] for name in node.IN_FEATURES]),
            "center_sampling_radius": node.CENTER_SAMPLING_RADIUS,
        }

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Label the cells and compare; arguments as in `DenseDetector`.

        Returns:
            `loss_fcos_cls`, `loss_fcos_loc` and `loss_fcos_ctr`.
        """
        logits, deltas, centerness = self._by_cell(predictions)
        anchors = self.anchor_generator(features)
        gt_labels, gt_boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, gt_labels, deltas, gt_boxes, centerness)

    def _by_cell(self, predictions: Sequence[list[Tensor]]) -> list[list[Tensor]]:
        return self._transpose_dense_predictions(predictions, [self.num_classes, 4, 1])

    def losses(
        self,
        anchors: Any,
        pred_logits: Any = None,
        gt_labels: Any = None,
        pred_anchor_deltas: Any = None,
        gt_boxes: Any = None,
        pred_centerness: Any = None,
    ) -> dict[str, Tensor]:
        """Compare predictions with labelled cells; or, given a batch alone, compute everything.

        Args:
            anchors: the cells of each level; or a batch, and no other argument (see `RetinaNet`).
            pred_logits: one (N, Ri, C) a level.
            gt_labels: one (R,) an image, as `label_anchors` returns them.
            pred_anchor_deltas: one (N, Ri, 4) of distances a level.
            gt_boxes: one (R, 4) an image.
            pred_centerness: one (N, Ri, 1) of logits a level.

        Returns:
            `loss_fcos_cls`, `loss_fcos_loc` and `loss_fcos_ctr`, scalars.
        """
        if pred_logits is None:
            return super().losses(anchors)
        labels_NR, is_object, normalizer = self._find_objects(gt_labels)
        box_loss = _dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            is_object,
            box_reg_loss_type="giou",
        )
        # A weight of 0 instead of a selection, whose size would have to be fetched first.
        centerness_loss = F.binary_cross_entropy_with_logits(
            cat(pred_centerness, dim=1).squeeze(2).float(),
            self.compute_ctrness_targets(anchors, gt_boxes),
            weight=is_object.float(),
            reduction="sum",
        )
        return {
            "loss_fcos_cls": self._focal_loss(pred_logits, labels_NR) / normalizer,
            "loss_fcos_loc": box_loss / normalizer,
            "loss_fcos_ctr": centerness_loss / normalizer,
        }

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Say of each cell which class and box it should give.

        Args:
            anchors: the cells of each level.
            gt_instances: of each image, with `gt_boxes` and `gt_classes`.

        Returns:
            for each image (R,) int64: the class, C for background; and (R, 4) float, the box
            (arbitrary for background).
        """
        return self._labels_of(anchors, self.find_owners(anchors, gt_instances), gt_instances)

    @torch.no_grad()
    def find_owners(self, anchors: list[Boxes], gt_instances: list[Instances]) -> list[Tensor]:
        """Say of each cell which object it learns.

        Args:
            anchors: the cells of each level.
            gt_instances: of each image, with `gt_boxes`.

        Returns:
            for each image (R,) int64: the number of the object, -1 for background.
        """
        owners = []
        for gt in gt_instances:
            if len(gt):
                area, owner = self._areas_where_learnt(gt.gt_boxes, anchors).min(dim=1)
                owners.append(owner.masked_fill(area.isinf(), -1))
            else:
                device, count = anchors[0].device, sum(map(len, anchors))
                owners.append(torch.full((count,), -1, dtype=torch.int64, device=device))
        return owners

    def _labels_of(
        self, anchors: list[Boxes], owners: Sequence[Tensor], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What `label_anchors` returns, for owners that are known."""
        labels_per_image, boxes_per_image = [], []
        for owner, gt in zip(owners, gt_instances, strict=True):
            if len(gt):
                row = owner.clamp(min=0)
                labels = gt.gt_classes[row].masked_fill(owner < 0, self.num_classes)
                boxes = gt.gt_boxes.tensor[row]
            else:
                boxes = Boxes.cat(anchors).tensor
                labels = torch.full_like(owner, self.num_classes)
            labels_per_image.append(labels)
            boxes_per_image.append(boxes)
        return labels_per_image, boxes_per_image

    def _areas_where_learnt(self, gt_boxes: Boxes, anchors: list[Boxes]) -> Tensor:
        """(R, M) areas of objects in pixels, infinite where the cell does not learn the object.

        Of the objects that a cell may learn it learns the smallest.
        """
        # DIFFERS: exact areas; the reference subtracts them from 1e8, which in float32 makes areas
        # equal that differ by less than 8 pixels.
        cells = Boxes.cat(anchors)
        points = cells.get_centers()
        strides_R1 = cells.tensor[:, 2:3] - cells.tensor[:, 0:1]
        low, high = (strides_R1 * strides for strides in _REACH_IN_STRIDES)
        low[: len(anchors[0])] = 0
        high[len(high) - len(anchors[-1]) :] = torch.inf

        distances_RM4 = pairwise_point_box_distance(points, gt_boxes)
        reach = distances_RM4.amax(dim=2)
        off_centre = (points[:, None] - gt_boxes.get_centers()).abs().amax(dim=2)
        compare = torch.ge if self.shares_reach_limits else torch.gt
        is_learnt = (
            (distances_RM4.amin(dim=2) > 0)
            & (off_centre < self.center_sampling_radius * strides_R1)
            & compare(reach, low)
            & compare(high, reach)
        )
        return torch.where(is_learnt, gt_boxes.area(), torch.inf)

    @torch.no_grad()
    def compute_ctrness_targets(self, anchors: list[Boxes], gt_boxes: list[Tensor]) -> Tensor:
        """Say how central each cell is in its object.

        Args:
            anchors: the cells of each level.
            gt_boxes: one (R, 4) an image.

        Returns:
            (N, R) float, 1 at the centre of the box, 0 on its sides and outside.
        """
        cells = Boxes.cat(anchors).tensor
        distances_NR4 = torch.stack(
            [self.box2box_transform.get_deltas(cells, boxes) for boxes in gt_boxes]
        )
        return centerness_of(distances_NR4)

    def _scores_and_deltas(
        self, predictions: Sequence[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas, centerness = self._by_cell(predictions)
        # The geometric mean of both keeps scores on the scale of probabilities.
        scores = [
            (cls.sigmoid() * centre.sigmoid()).sqrt()
            for cls, centre in zip(logits, centerness, strict=True)
        ]
        return scores, deltas


def centerness_of(distances: Tensor) -> Tensor:
    """Say how central a point is in its box.

    Args:
        distances: (..., 4) float to the left, upper, right and lower side, in any unit.

    Returns:
        (...) float, 1 at the centre of the box, 0 on its sides and outside.

    Source: Tian 2019, arXiv:1904.01355, section 3.3.
    """
    # (..., 2, 2): the last two axes are (low side, high side) and (x, y).
    near, far = distances.clamp(min=0).unflatten(-1, (2, 2)).aminmax(dim=-2)
    # Where even the far side has no distance, the near one is 0 and so is the ratio.
    ratios = near / far.clamp(min=torch.finfo(far.dtype).tiny)
    return ratios.prod(dim=-1).sqrt()
