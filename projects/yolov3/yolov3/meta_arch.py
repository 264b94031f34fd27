"""YOLOv3: classes, a box and the probability of an object for three anchors of every cell.

N images, A anchors a cell, R anchors of all maps, C classes, M objects of an image.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.assigning import CellAssignment, assign_in_cells, learners_of
from d2lite.modeling.dense_choice import DenseChoice
from d2lite.modeling.dense_predictions import cell_corners, permute_to_N_HWA_K
from d2lite.modeling.meta_arch.cell_detector import CellDetector
from d2lite.modeling.meta_arch.detector import Batch
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import log_scalars
from d2lite.utils.process_means import pass_share

from .darknet import leaky_conv

# At the start an image of this side has so many objects in each map.
_OBJECTS, _SIDE = 8, 608
_CLASS_PRIOR = 0.01
# Keeps targets of centres in (0, 1), and logarithms finite; the value of published code.
_EPS = 1e-6


class YOLOv3Head(nn.Module):
    """Two convolutions for each map; all that is predicted for a cell comes from the second.

    Args:
        input_shape: of each map.
        num_anchors: of a cell.
        num_classes: C.
        norm: see `get_norm`.
    """

    def __init__(
        self, input_shape: Sequence[ShapeSpec], num_anchors: int, num_classes: int, norm: Norm
    ) -> None:
        super().__init__()
        widths = [shape.channels for shape in input_shape]
        size = num_anchors * (5 + num_classes)
        self.convs_bridge = nn.ModuleList(leaky_conv(w, 2 * w, 3, norm=norm) for w in widths)
        self.convs_pred = nn.ModuleList(nn.Conv2d(2 * w, size, 1) for w in widths)
        for layer, shape in zip(self.convs_pred, input_shape, strict=True):
            nn.init.normal_(layer.weight, std=0.01)
            with torch.no_grad():
                of_anchor = layer.bias.view(num_anchors, -1)
                share = _OBJECTS * (shape.stride / _SIDE) ** 2
                of_anchor[:, 4] = -math.log(1 / share - 1)
                of_anchor[:, 5:] = -math.log(1 / _CLASS_PRIOR - 1)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """(N, A * (5 + C), Hi, Wi) of each map: centre, size, object and classes of an anchor."""
        return [
            predict(bridge(x))
            for bridge, predict, x in zip(self.convs_bridge, self.convs_pred, features, strict=True)
        ]


class AnchorPredictions(NamedTuple):
    """The anchors of all maps and what is predicted for them.

    centres (R, 2) of their cells, sizes (R, 2) and strides (R,) in pixels; counts: anchors of each
    map; offsets (N, R, 2), logits of the place in the cell; scales (N, R, 2), logarithms; objects
    (N, R) and logits (N, R, C).
    """

    centres: Tensor
    sizes: Tensor
    strides: Tensor
    counts: list[int]
    offsets: Tensor
    scales: Tensor
    objects: Tensor
    logits: Tensor

    def boxes(self) -> Tensor:
        """(N, R, 4) xyxy in pixels."""
        centres = self.centres + (self.offsets.sigmoid() - 0.5) * self.strides[:, None]
        halves = self.sizes / 2 * self.scales.exp()
        return torch.cat([centres - halves, centres + halves], dim=2)


@META_ARCH_REGISTRY.register()
class YOLOV3(CellDetector):
    """A score and a box for every anchor.

    Args:
        head: maps -> predictions of each; all maps of the backbone are used, from coarse to fine.
        anchors: width and height of the anchors of a cell in pixels, of each map; as many of each.
        iou_threshold: of both bounds of `assign_in_cells`.
        box_weight: of the losses of centres and sizes.
        test_object_thresh: the object of a detection must score at least this; its class higher
            than `test_score_thresh`.
        **others: see `CellDetector`.

    Source: Redmon 2018, arXiv:1804.02767.
    """

    @configurable
    def __init__(
        self,
        *,
        head: YOLOv3Head,
        anchors: Sequence[Sequence[Sequence[float]]],
        iou_threshold: float = 0.5,
        box_weight: float = 2.0,
        test_object_thresh: float = 0.005,
        **others: Any,
    ) -> None:
        super().__init__(head=head, **{"test_nms_thresh": 0.45, **others})
        self.strides = [shape.stride for shape in self.backbone.output_shape().values()]
        if len(anchors) != len(self.strides) or len({len(level) for level in anchors}) != 1:
            raise ConfigError(
                f"MODEL.YOLOV3.ANCHORS has {[len(level) for level in anchors]} anchors for maps of "
                f"the strides {self.strides}; give each map a list, all of one length."
            )
        self.register_buffer("anchors", torch.tensor(anchors).float(), persistent=False)
        self.iou_threshold = iou_threshold
        self.box_weight = box_weight
        self.test_object_thresh = test_object_thresh

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.YOLOV3` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.YOLOV3
        arguments = cls._arguments_from(cfg, node)
        shapes = list(arguments["backbone"].output_shape().values())
        return {
            **arguments,
            "head": YOLOv3Head(shapes, len(node.ANCHORS[0]), node.NUM_CLASSES, node.NORM),
            "anchors": node.ANCHORS,
            "iou_threshold": node.IOU_THRESHOLD,
            "box_weight": node.BOX_WEIGHT,
            "test_object_thresh": node.OBJECT_THRESH_TEST,
        }

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """`loss_cls`, `loss_conf`, `loss_xy` and `loss_wh`: sums over the images, as published."""
        images = self.preprocess_image(batched_inputs)
        truth = self.truth_of(batched_inputs)
        cells = self._run(images.tensor)
        found = [self._assign(cells, gt) for gt in truth]
        owner = torch.stack([one.owner for one in found])
        is_object = owner >= 0
        counts = is_object | torch.stack([one.is_background for one in found])
        image, row, boxes, classes = learners_of(owner, truth)
        places = ((boxes[:, :2] + boxes[:, 2:]) / 2 - cells.centres[row]) / cells.strides[row, None]
        scales = (boxes[:, 2:] - boxes[:, :2]) / cells.sizes[row]
        log_scalars({"yolov3/num_positive_anchors": len(row) / len(truth)})
        conf = F.binary_cross_entropy_with_logits(
            cells.objects, is_object.float(), reduction="none"
        )
        differences = cells.scales[image, row] - scales.clamp(min=_EPS).log()
        sums = {
            "loss_cls": _entropy(
                cells.logits[image, row], F.one_hot(classes, self.num_classes).float()
            ),
            "loss_conf": (conf * counts).sum(),
            "loss_xy": self.box_weight
            * _entropy(cells.offsets[image, row], (places + 0.5).clamp(_EPS, 1 - _EPS)),
            "loss_wh": self.box_weight * (differences**2).sum(),
        }
        # A step that is made in passes adds their means, weighted by their shares of the images.
        return {name: value / pass_share() for name, value in sums.items()}

    def _decoded(self, images: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        cells = self._run(images)
        return cells.boxes(), self._scores(cells), cells.counts

    @property
    def _choice(self) -> DenseChoice:
        # `_scores` applies the thresholds, which are of class and object by themselves.
        return super()._choice._replace(score_thresh=0.0)

    def _run(self, images: Tensor) -> AnchorPredictions:
        """What the network predicts for (N, 3, H, W) normalised images."""
        levels = self.head(list(self.backbone(images).values()))
        corners, strides = cell_corners(levels, self.strides)
        num_anchors = self.anchors.shape[1]
        cells = [level.shape[-2] * level.shape[-1] for level in levels]
        sizes = [of_map.repeat(count, 1) for of_map, count in zip(self.anchors, cells, strict=True)]
        predicted = torch.cat(
            [permute_to_N_HWA_K(level, 5 + self.num_classes) for level in levels], dim=1
        ).float()
        offsets, scales, objects, logits = predicted.split([2, 2, 1, self.num_classes], dim=2)
        centres = corners + strides[:, None] / 2
        return AnchorPredictions(
            centres.repeat_interleave(num_anchors, dim=0),
            torch.cat(sizes),
            strides.repeat_interleave(num_anchors),
            [count * num_anchors for count in cells],
            offsets,
            scales,
            objects.squeeze(2),
            logits,
        )

    @torch.no_grad()
    def _assign(self, cells: AnchorPredictions, gt: Instances) -> CellAssignment:
        boxes = gt.gt_boxes.tensor
        anchors = torch.cat([cells.centres - cells.sizes / 2, cells.centres + cells.sizes / 2], 1)
        # A centre on the border between two cells is in the second one.
        corners = cells.centres - cells.strides[:, None] / 2
        inside = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2 - corners
        has_centre = ((inside >= 0) & (inside < cells.strides[:, None])).all(dim=2).any(dim=0)
        return assign_in_cells(
            box_iou(boxes, anchors), has_centre, above=self.iou_threshold, below=self.iou_threshold
        )

    def _scores(self, cells: AnchorPredictions) -> Tensor:
        """(N, R, C), 0 where class or object score too low."""
        chances, objects = cells.logits.sigmoid(), cells.objects.sigmoid()[..., None]
        is_high = (chances > self.test_score_thresh) & (objects >= self.test_object_thresh)
        return (chances * objects).where(is_high, 0.0)


def _entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
