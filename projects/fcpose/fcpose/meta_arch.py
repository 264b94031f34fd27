"""FCPose: FCOS, and for each object three small convolutions that draw its keypoints.

N images, R cells of all levels, C classes, K keypoints, P bases, D objects, M of one image.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.modeling import FCOS, META_ARCH_REGISTRY
from d2lite.modeling.backbone.backbone import check_maps
from d2lite.modeling.dynamic_convs import kernel_sizes, run_dynamic, with_ways
from d2lite.modeling.meta_arch.detector import Batch
from d2lite.modeling.padded import rows_of
from d2lite.structures import Boxes, ImageList, Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import log_scalars

from .heatmaps import enlarged, moved, peaks, pose_losses
from .layers import BasisModule, Controller, FCPoseHead
from .learners import choose_learners
from .losses import class_loss, direction_loss, heatmap_loss, shared_count

# The published number, for COCO's keypoints; a config that a run saved has it for others too.
_ATTN_LEN = 2737


@META_ARCH_REGISTRY.register()
class FCPose(FCOS):
    """Boxes by FCOS; the poses of those that are kept by convolutions of their own.

    A cell with an object gives the numbers of three 1 x 1 convolutions. They run over the bases,
    which all objects of an image share, and the ways to the cell, and give a heat map for each
    keypoint. From the peak of it a predicted way leads to the keypoint.

    Args:
        basis_module: maps -> bases, ways to keypoints, heat maps of all objects.
        basis_features: the maps that it is given, finest first; of `head_in_features`.
        num_keypoints: K.
        dynamic_channels: between the convolutions of an object.
        max_proposals: cells of an image whose poses a step compares, at most.
        proposals_per_inst: likewise, of one object.
        heatmap_stride: pixels of a cell of the heat maps that are learnt.
        distance_norm: pixels; how far from a keypoint cells learn the way to it.
        keypoint_weight: of the loss of poses.
        direction_weight: of the loss of ways.
        basis_weight: of the loss of the heat maps of all objects together.
        class_weight: of the loss of the class of each cell, where the basis module gives it.
        **others: see `FCOS`; the head is a `FCPoseHead`.

    Source: Mao 2021, arXiv:2105.14185.
    """

    compiled_parts = ("backbone", "head", "basis_module")
    keeps_cells = True

    @configurable
    def __init__(
        self,
        *,
        basis_module: BasisModule,
        basis_features: Sequence[str],
        num_keypoints: int,
        dynamic_channels: int = 32,
        max_proposals: int = 70,
        proposals_per_inst: int = 70,
        heatmap_stride: int = 2,
        distance_norm: float = 12.0,
        keypoint_weight: float = 2.5,
        direction_weight: float = 9.0,
        basis_weight: float = 0.2,
        class_weight: float = 0.3,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        shapes = self.backbone.output_shape()
        self.basis_module = basis_module
        self._basis_levels = [self.head_in_features.index(name) for name in basis_features]
        self.num_keypoints = num_keypoints
        width = dynamic_channels
        self._widths = [basis_module.num_bases + 2, width, width, num_keypoints]
        assert isinstance(self.head, FCPoseHead)
        self.controller = Controller(
            self.head.bbox_pred.in_channels, sum(map(sum, kernel_sizes(self._widths)))
        )
        self.max_proposals = max_proposals
        self.proposals_per_inst = proposals_per_inst
        self._stride = shapes[basis_features[0]].stride
        if self._stride % heatmap_stride:
            raise ConfigError(
                f"MODEL.FCPOSE.GT_HEATMAP_STRIDE={heatmap_stride} does not divide {self._stride}, "
                f"the stride of {basis_features[0]!r} (MODEL.FCPOSE.BASIS_MODULE.IN_FEATURES)."
            )
        self._factor = self._stride // heatmap_stride
        self.heatmap_stride = heatmap_stride
        self.distance_norm = distance_norm
        self.keypoint_weight = keypoint_weight
        self.direction_weight = direction_weight
        self.basis_weight = basis_weight
        self.class_weight = class_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.FCOS`, `MODEL.FCPOSE` and `MODEL.ROI_KEYPOINT_HEAD`."""
        for key in ("FCPOSE_ON", "KEYPOINT_ON"):
            if not cfg.MODEL[key]:
                raise ConfigError(f"FCPose learns keypoints; set MODEL.{key} True.")
        node, basis = cfg.MODEL.FCPOSE, cfg.MODEL.FCPOSE.BASIS_MODULE
        num_keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        arguments = cls._arguments_from(cfg, cfg.MODEL.FCOS)
        names = arguments["head_in_features"]
        known = arguments["backbone"].output_shape()
        check_maps("the backbone", names, list(known), "MODEL.FCOS.IN_FEATURES")
        section = "MODEL.FCPOSE.BASIS_MODULE.IN_FEATURES"
        check_maps("MODEL.FCOS.IN_FEATURES", basis.IN_FEATURES, names, section)
        width = node.DYNAMIC_CHANNELS
        found = sum(map(sum, kernel_sizes([basis.NUM_BASES + 2, width, width, num_keypoints])))
        if node.ATTN_LEN not in (found, _ATTN_LEN):
            raise ConfigError(
                f"MODEL.FCPOSE.ATTN_LEN={node.ATTN_LEN}, but the convolutions of an object with "
                f"{num_keypoints} keypoints have {found} numbers. Leave the key out."
            )
        return {
            **arguments,
            "head": FCPoseHead(cfg, [known[name] for name in names]),
            "center_sampling_radius": cfg.MODEL.FCOS.CENTER_SAMPLING_RADIUS,
            "basis_module": BasisModule(
                len(basis.IN_FEATURES),
                known[basis.IN_FEATURES[0]].channels,
                channels=basis.CONVS_DIM,
                num_bases=basis.NUM_BASES,
                num_keypoints=num_keypoints,
                norm=basis.BN_TYPE,
                num_classes=cfg.MODEL.FCOS.NUM_CLASSES if cfg.MODEL.BASIS_MODULE.LOSS_ON else 0,
            ),
            "basis_features": basis.IN_FEATURES,
            "num_keypoints": num_keypoints,
            "dynamic_channels": width,
            "max_proposals": node.MAX_PROPOSALS,
            "proposals_per_inst": node.PROPOSALS_PER_INST,
            "heatmap_stride": node.GT_HEATMAP_STRIDE,
            "distance_norm": node.DISTANCE_NORM,
            "keypoint_weight": node.LOSS_WEIGHT_KEYPOINT,
            "direction_weight": node.LOSS_WEIGHT_DIRECTION,
            "basis_weight": basis.LOSS_WEIGHT,
            "class_weight": cfg.MODEL.BASIS_MODULE.LOSS_WEIGHT,
        }

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """The losses of `FCOS`, `loss_keypoint`, `loss_direction` and `loss_basis`.

        `loss_basis_sem` too, where the basis module gives classes.

        Args:
            batched_inputs: see `Detector`; with `keypoint_heatmaps`, see `FCPoseDatasetMapper`,
                and for classes `basis_sem`, see `DatasetMapperWithBasis`.
        """
        truth = self.truth_of(batched_inputs)
        heights = self.truth_of(batched_inputs, "keypoint_heatmaps")
        _, features, predictions = self._run_network(batched_inputs)
        anchors = self.anchor_generator(features)
        owners = self.find_owners(anchors, truth)
        labels, boxes = self._labels_of(anchors, owners, truth)
        logits, deltas, centerness = self._by_cell(predictions)
        losses = self.losses(anchors, logits, labels, deltas, boxes, centerness)
        bases, ways, mixed = self._run_basis(features)
        points = [self._points_of(gt) for gt in truth]
        if self.basis_module.classes is not None:
            classes = self.truth_of(batched_inputs, "basis_sem")
            logits = self.basis_module.classes(mixed)
            losses["loss_basis_sem"] = self.class_weight * class_loss(logits, classes, self._stride)
        return {
            **losses,
            "loss_keypoint": self._keypoint_loss(predictions[3], bases, anchors, owners, points),
            "loss_direction": self.direction_weight
            * direction_loss(ways, points, self._stride, self.distance_norm),
            "loss_basis": self.basis_weight
            * heatmap_loss(enlarged(self.basis_module.heatmaps(mixed), self._factor), heights),
        }

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: Sequence[list[Tensor]]
    ) -> list[Instances]:
        """See `DenseDetector`; with `pred_keypoints`, (D, K, 3) x, y and score in (0, 1)."""
        found = super().forward_inference(images, features, predictions)
        bases, ways, _ = self._run_basis(features)
        anchors = self.anchor_generator(features)
        for number, one in enumerate(found):
            cell = one.cell
            points, scores = self._poses(
                predictions[3], bases, anchors, torch.full_like(cell, number), cell
            )
            points = moved(points[None], ways[number][None], self._stride, self.distance_norm)[0]
            one.pred_keypoints = torch.cat([points, scores[..., None]], dim=2)
            one.remove("cell")
        return found

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`."""
        maps = self.backbone(images)
        features = [maps[name] for name in self.head_in_features]
        predictions = self.head(features)
        found, cells = self._choose_padded(features, predictions, sizes)
        bases, ways, _ = self._run_basis(features)
        anchors = self.anchor_generator(features)
        rows = rows_of(found.valid)
        image, cell = rows // cells.shape[1], cells.flatten()[rows]
        points, scores = self._poses(predictions[3], bases, anchors, image, cell)
        placed = found.placed({"points": points, "scores": scores}, rows)
        points = moved(placed["points"], ways, self._stride, self.distance_norm)
        points = points.masked_fill(~found.valid[..., None, None], 0.0)
        keypoints = torch.cat([points, placed["scores"][..., None]], dim=3)
        return {**found._asdict(), "keypoints": keypoints}

    def _by_cell(self, predictions: Sequence[list[Tensor]]) -> list[list[Tensor]]:
        return super()._by_cell(predictions[:3])

    def _run_basis(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        levels = [features[level] for level in self._basis_levels]
        bases, ways, mixed = self.basis_module(levels)
        return bases, ways, mixed

    def _heat_maps(
        self,
        towers: Sequence[Tensor],
        bases: Tensor,
        anchors: Sequence[Boxes],
        image: Tensor,
        cell: Tensor,
    ) -> Tensor:
        """(D, K, H, W) float32 logits of the objects of some cells.

        Args:
            towers: one (N, channels, Hi, Wi) a level.
            bases: (N, P, H, W).
            anchors: the cells of each level.
            image: (D,) int64.
            cell: (D,) int64.
        """
        kernels = self.controller.at(towers, image, cell)
        own = torch.cat([level.tensor for level in anchors])[cell]
        centers, strides = (own[:, :2] + own[:, 2:]) / 2, own[:, 2] - own[:, 0]
        values = with_ways(bases[image], centers, strides, self._stride, self._stride / 2)
        return run_dynamic(values, kernels, self._widths).float()

    def _poses(
        self,
        towers: Sequence[Tensor],
        bases: Tensor,
        anchors: Sequence[Boxes],
        image: Tensor,
        cell: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The peaks of `_heat_maps`; see `peaks`."""
        return peaks(
            self._heat_maps(towers, bases, anchors, image, cell), self._stride, self._factor
        )

    def _points_of(self, gt: Instances) -> Tensor:
        """(M, K, 3) keypoints of an image."""
        if len(gt) == 0:
            return torch.zeros(0, self.num_keypoints, 3, device=gt.gt_classes.device)
        points: Tensor = gt.gt_keypoints.tensor
        return points

    def _keypoint_loss(
        self,
        towers: Sequence[Tensor],
        bases: Tensor,
        anchors: Sequence[Boxes],
        owners: Sequence[Tensor],
        points: Sequence[Tensor],
    ) -> Tensor:
        """The mean of `pose_losses` over the labelled keypoints of the cells that learn a pose."""
        images, cells, wanted = [], [], []
        centers = torch.cat([level.get_centers() for level in anchors])
        for number, (owner, own) in enumerate(zip(owners, points, strict=True)):
            rows = choose_learners(owner, own, centers, self.proposals_per_inst, self.max_proposals)
            images.append(torch.full_like(rows, number))
            cells.append(rows)
            wanted.append(own[owner[rows]])
        image, cell, keypoints = torch.cat(images), torch.cat(cells), torch.cat(wanted)
        log_scalars({"fcpose/num_poses": len(cell) / len(owners)})
        logits = enlarged(self._heat_maps(towers, bases, anchors, image, cell), self._factor)
        losses = pose_losses(logits, keypoints, self.heatmap_stride)
        count = (keypoints[..., 2] > 0).sum().float()
        return self.keypoint_weight * losses.sum() / shared_count(count)
