"""RTMDet and RTMDet-Ins: dense real-time detection of boxes, with masks where wanted.

N images, L levels, R cells of all levels, C classes, M objects of one image, D detections of one.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.layers import giou_loss, quality_focal_loss
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.assigning import Assignment, assign_by_alignment, assign_by_soft_labels
from d2lite.modeling.backbone.backbone import check_maps
from d2lite.modeling.dense_predictions import cell_corners, cells_first
from d2lite.modeling.dynamic_convs import kernel_sizes
from d2lite.modeling.meta_arch.cell_detector import CellDetector, without_cells
from d2lite.modeling.meta_arch.detector import Batch, output_sizes
from d2lite.modeling.padded import rows_of, take_rows
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import log_scalars
from d2lite.utils.process_means import mean_over_processes, own_share

from .head import DensePredictions, RTMDetHead
from .mask_head import (
    MaskFeatures,
    dice_losses,
    mask_centers,
    mask_logits,
    mask_widths,
    paste_masks,
    true_masks,
)


class Cells(NamedTuple):
    """The cells of all levels: points (R, 2) in pixels, strides (R,); what the head says of them.

    counts: cells of each level; logits (N, R, C); boxes (N, R, 4) xyxy in pixels; kernels
    (N, R, K), None without masks.
    """

    points: Tensor
    strides: Tensor
    counts: list[int]
    logits: Tensor
    boxes: Tensor
    kernels: Tensor | None


@META_ARCH_REGISTRY.register()
class RTMDet(CellDetector):
    """A score and a box for every cell; with a mask head also the kernels of a mask.

    Args:
        head: maps -> predictions of each cell.
        mask_head: maps -> prototypes of masks; None for boxes alone.
        in_features: the maps, finest first.
        assigner: "soft_label" or "task_aligned"; see `assign_by_soft_labels` and
            `assign_by_alignment`.
        topk: likewise.
        box_weight: of the loss of boxes.
        mask_weight: of the loss of masks.
        max_masks: cells of an image whose masks a training step compares, at most; 0 for all.
        mask_threshold: pixels of a mask have at least this probability.
        **others: see `CellDetector`.

    Raises:
        ConfigError: for another assigner, or topk below 1.

    Source: Lyu 2022, arXiv:2212.07784.
    """

    compiled_parts = ("backbone", "head", "mask_head")

    @configurable
    def __init__(
        self,
        *,
        head: RTMDetHead,
        mask_head: MaskFeatures | None = None,
        in_features: Sequence[str],
        assigner: str = "soft_label",
        topk: int = 13,
        box_weight: float = 2.0,
        mask_weight: float = 2.0,
        max_masks: int = 0,
        mask_threshold: float = 0.5,
        **others: Any,
    ) -> None:
        super().__init__(head=head, **others)
        if assigner not in ("soft_label", "task_aligned"):
            raise ConfigError(
                f'MODEL.RTMDET.ASSIGNER={assigner!r}: use "soft_label" or "task_aligned".'
            )
        if topk < 1:
            raise ConfigError(f"MODEL.RTMDET.TOPK={topk}: give at least 1, else nothing is learnt.")
        self.mask_head = mask_head
        self.in_features = list(in_features)
        self.assigner = assigner
        self.topk = topk
        self.box_weight = box_weight
        self.mask_weight = mask_weight
        self.max_masks = max_masks
        self.mask_threshold = mask_threshold

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.RTMDET`, `MODEL.MASK_ON` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.RTMDET
        arguments = cls._arguments_from(cfg, node)
        known = arguments["backbone"].output_shape()
        check_maps("the backbone", node.IN_FEATURES, list(known), "MODEL.RTMDET.IN_FEATURES")
        shapes = [known[name] for name in node.IN_FEATURES]
        width = node.CHANNELS or shapes[0].channels
        num_kernel, mask_head = 0, None
        if cfg.MODEL.MASK_ON:
            num_kernel = sum(map(sum, kernel_sizes(mask_widths(node.PROTOTYPES))))
            mask_head = MaskFeatures(
                len(shapes),
                shapes[0].channels,
                width,
                node.NUM_MASK_CONVS,
                node.PROTOTYPES,
                node.NORM,
            )
        return {
            **arguments,
            "head": RTMDetHead(
                shapes,
                num_classes=node.NUM_CLASSES,
                channels=width,
                num_convs=node.NUM_CONVS,
                norm=node.NORM,
                distances=node.DISTANCES,
                kernel_size=num_kernel,
            ),
            "mask_head": mask_head,
            "in_features": node.IN_FEATURES,
            "assigner": node.ASSIGNER,
            "topk": node.TOPK,
            "box_weight": node.BOX_WEIGHT,
            "mask_weight": node.MASK_WEIGHT,
            "max_masks": node.MAX_MASKS,
            "mask_threshold": node.MASK_THRESH_TEST,
        }

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """`loss_cls` and `loss_bbox`, and with masks `loss_mask`."""
        images = self.preprocess_image(batched_inputs)
        truth = self.truth_of(batched_inputs)
        cells, prototypes = self._run(images.tensor)
        masks = [None if prototypes is None else true_masks(gt) for gt in truth]
        found = [
            self._assign(cells, i, gt, mask)
            for i, (gt, mask) in enumerate(zip(truth, masks, strict=True))
        ]
        quality = cells.logits.new_zeros(cells.logits.shape, dtype=torch.float32)
        box_losses, mask_losses = [], []
        for i, (gt, one) in enumerate(zip(truth, found, strict=True)):
            rows = (one.owner >= 0).nonzero().squeeze(1)
            owners = one.owner[rows]
            quality[i, rows, gt.gt_classes[owners]] = one.quality[rows]
            wanted = gt.gt_boxes.tensor[owners]
            box_losses.append(giou_loss(cells.boxes[i, rows], wanted) * one.quality[rows])
            if prototypes is not None:
                mask_losses.append(self._mask_losses(cells, prototypes, i, rows, owners, masks[i]))
        total = torch.stack([one.quality.sum() for one in found]).sum()
        log_scalars({"rtmdet/num_positive_cells": sum((x.owner >= 0).sum() for x in found)})
        normalizer = mean_over_processes(total).clamp(min=own_share())
        # Where no object is, only this gives these parameters a gradient.
        nothing = cells.boxes.flatten()[:0].sum()
        class_loss = quality_focal_loss(cells.logits.float(), quality, reduction="sum")
        losses = {
            "loss_cls": class_loss / normalizer,
            "loss_bbox": self.box_weight * (torch.cat(box_losses).sum() + nothing) / normalizer,
        }
        if prototypes is not None:
            dice = torch.cat(mask_losses)
            count = mean_over_processes(dice.new_tensor(float(len(dice)))).clamp(min=own_share())
            nothing = prototypes.flatten()[:0].sum() + cells.kernels.flatten()[:0].sum()
            losses["loss_mask"] = self.mask_weight * (dice.sum() + nothing) / count
        return losses

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """{"instances": detections} of each image, in pixels of `height` and `width`.

        With masks, `pred_masks` is (D, height, width) bool.
        """
        images = self.preprocess_image(batched_inputs)
        cells, prototypes = self._run(images.tensor)
        scores, sizes = cells.logits.float().sigmoid(), images.image_sizes
        results = self._detect(cells.boxes, scores, cells.counts, batched_inputs, sizes)
        if prototypes is not None:
            sizes = output_sizes(batched_inputs, images.image_sizes)
            for i, (result, size) in enumerate(zip(results, sizes, strict=True)):
                own = result["instances"]
                logits = self._logits_of(cells, prototypes, i, own.get("cell"))
                own.pred_masks = paste_masks(
                    logits, self.head.strides[0], images.image_sizes[i], size, self.mask_threshold
                )
        return without_cells(results)

    @property
    def soft_mask_threshold(self) -> float:  # type: ignore[override]  # of logits
        """See `Detector`."""
        return math.log(self.mask_threshold / (1 - self.mask_threshold))

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`; masks are those of the padded image."""
        cells, prototypes = self._run(images)
        scores = cells.logits.float().sigmoid()
        found, chosen = self._choice.detect_padded(cells.boxes, scores, cells.counts, sizes)
        outputs = found._asdict()
        if prototypes is not None:
            assert cells.kernels is not None
            rows = rows_of(found.valid)
            cell = chosen.flatten()[rows]
            logits = mask_logits(
                prototypes[rows // chosen.shape[1]],
                take_rows(cells.kernels, chosen).flatten(0, 1)[rows],
                cells.points[cell],
                cells.strides[cell],
                self.head.strides[0],
            )
            outputs |= found.placed({"soft_masks": logits}, rows)
        return outputs

    def _run(self, images: Tensor) -> tuple[Cells, Tensor | None]:
        """What the network says of (N, 3, H, W) images, and the prototypes of masks."""
        maps = self.backbone(images)
        features = [maps[name] for name in self.in_features]
        predicted: DensePredictions = self.head(features)
        # The upper left corner of a cell stands for it.
        points, strides = cell_corners(predicted.logits, self.head.strides)
        distances = cells_first(predicted.distances)
        boxes = torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=2)
        kernels = cells_first(predicted.kernels) if predicted.kernels else None
        counts = [level.shape[-2] * level.shape[-1] for level in predicted.logits]
        cells = Cells(points, strides, counts, cells_first(predicted.logits), boxes, kernels)
        return cells, None if self.mask_head is None else self.mask_head(features)

    def _assign(self, cells: Cells, number: int, gt: Instances, masks: Tensor | None) -> Assignment:
        predicted = cells.logits[number], cells.boxes[number]
        truth = gt.gt_boxes.tensor, gt.gt_classes
        if self.assigner == "task_aligned":
            return assign_by_alignment(cells.points, *predicted, *truth, topk=self.topk)
        return assign_by_soft_labels(
            cells.points,
            cells.strides,
            *predicted,
            *truth,
            None if masks is None else mask_centers(masks),
            topk=self.topk,
        )

    def _logits_of(self, cells: Cells, prototypes: Tensor, number: int, rows: Tensor) -> Tensor:
        assert cells.kernels is not None
        return mask_logits(
            prototypes[number],
            cells.kernels[number, rows],
            cells.points[rows],
            cells.strides[rows],
            self.head.strides[0],
        )

    def _mask_losses(
        self,
        cells: Cells,
        prototypes: Tensor,
        number: int,
        rows: Tensor,
        owners: Tensor,
        masks: Tensor | None,
    ) -> Tensor:
        """The dice loss of each cell that learns an object, (D,)."""
        assert masks is not None
        if self.max_masks and len(rows) > self.max_masks:
            # Evenly, so that no draw is needed: cells of an object are neighbours in their order.
            picked = torch.linspace(0, len(rows) - 1, self.max_masks, device=rows.device).long()
            rows, owners = rows[picked], owners[picked]
        logits = self._logits_of(cells, prototypes, number, rows).float()
        return dice_losses(logits, masks[owners], self.head.strides[0])
