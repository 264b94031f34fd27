"""Keypoints of regions: the head, its loss, and the points it predicts.

R regions of all images, K keypoints, S x S cells of a heatmap.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import Conv2d, ConvTranspose2d, ShapeSpec, cat, interpolate
from d2lite.structures import Instances, heatmaps_to_keypoints, split_rows
from d2lite.structures.keypoints import heatmaps_to_keypoints_padded
from d2lite.utils.errors import ArgumentError
from d2lite.utils.process_means import mean_weight

from ..weight_init import msra_fill
from .branch_head import BranchHead
from .build import ROI_KEYPOINT_HEAD_REGISTRY, build_keypoint_head

__all__ = [
    "ROI_KEYPOINT_HEAD_REGISTRY",
    "BaseKeypointRCNNHead",
    "KRCNNConvDeconvUpsampleHead",
    "build_keypoint_head",
    "keypoint_rcnn_inference",
    "keypoint_rcnn_loss",
]

_UNSEEN = -100


def keypoint_rcnn_loss(
    pred_keypoint_logits: Tensor, instances: Sequence[Instances], normalizer: float | None
) -> Tensor:
    """Cross entropy over the cells of each visible keypoint's heatmap.

    Args:
        pred_keypoint_logits: (R, K, S, S).
        instances: the foreground regions of each image, R in all, with proposal_boxes and
            gt_keypoints.
        normalizer: what the sum is divided by; None for the number of visible keypoints.

    Returns:
        scalar; zero with a gradient where no keypoint is visible.
    """
    side = pred_keypoint_logits.shape[-1]
    present = [found for found in instances if len(found)]
    if not present:
        share = mean_weight(0, pred_keypoint_logits) if normalizer is None else 1.0
        return pred_keypoint_logits.sum() * 0.0 * share
    with torch.no_grad():
        maps = [f.gt_keypoints.to_heatmap(f.proposal_boxes.tensor, side) for f in present]
        cells = cat([cell.flatten() for cell, _ in maps])
        is_visible = cat([visible.flatten() for _, visible in maps]).bool()
        # An unseen keypoint keeps its row and is skipped, so that no shape depends on the data.
        target = torch.where(is_visible, cells, _UNSEEN)
    loss = F.cross_entropy(
        pred_keypoint_logits.reshape(-1, side * side),
        target,
        reduction="sum",
        ignore_index=_UNSEEN,
    )
    if normalizer is not None:
        return loss / normalizer
    num_visible = is_visible.sum()
    return loss / num_visible.clamp(min=1) * mean_weight(num_visible, loss)


def keypoint_rcnn_inference(pred_keypoint_logits: Tensor, pred_instances: list[Instances]) -> None:
    """Give instances the points where their heatmaps are highest.

    Args:
        pred_keypoint_logits: (R, K, S, S).
        pred_instances: of each image, R in all, with pred_boxes; each gets pred_keypoints,
            (Ri, K, 3) x, y in pixels and score, and pred_keypoint_heatmaps, (Ri, K, S, S).
    """
    boxes = cat([found.pred_boxes.tensor for found in pred_instances])
    logits = pred_keypoint_logits.detach()
    # Columns: x, y, logit, probability.
    points = heatmaps_to_keypoints(logits, boxes.detach())[:, :, [0, 1, 3]]
    points_of, logits_of = split_rows(points, pred_instances), split_rows(logits, pred_instances)
    for found, keypoints, heatmaps in zip(pred_instances, points_of, logits_of, strict=True):
        found.pred_keypoints = keypoints
        found.pred_keypoint_heatmaps = heatmaps


class BaseKeypointRCNNHead(BranchHead):
    """The loss and the inference of Keypoint R-CNN; a subclass has the layers.

    Args:
        num_keypoints: K.
        loss_weight: factor on the loss.
        loss_normalizer: "visible" divides by the visible keypoints of the batch; a number is
            divided by for each image, so that a keypoint has the same weight in all batches.

    Raises:
        ArgumentError: for another string.
    """

    @configurable
    def __init__(
        self,
        *,
        num_keypoints: int,
        loss_weight: float = 1.0,
        loss_normalizer: float | str = 1.0,
    ) -> None:
        super().__init__()
        if isinstance(loss_normalizer, str) and loss_normalizer != "visible":
            raise ArgumentError(f"loss_normalizer={loss_normalizer!r}: use 'visible' or a number.")
        self.num_keypoints = num_keypoints
        self.loss_weight = loss_weight
        self.loss_normalizer = loss_normalizer

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_KEYPOINT_HEAD` and the sampling of `MODEL.ROI_HEADS`."""
        node, heads = cfg.MODEL.ROI_KEYPOINT_HEAD, cfg.MODEL.ROI_HEADS
        most = node.NUM_KEYPOINTS * heads.BATCH_SIZE_PER_IMAGE * heads.POSITIVE_FRACTION
        return {
            "num_keypoints": node.NUM_KEYPOINTS,
            "loss_weight": node.LOSS_WEIGHT,
            "loss_normalizer": "visible" if node.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS else most,
        }

    def losses_of(self, logits: Tensor, instances: list[Instances]) -> dict[str, Tensor]:
        """{"loss_keypoint": ...} of (R, K, S, S) logits."""
        normalizer = None
        if not isinstance(self.loss_normalizer, str):
            normalizer = len(instances) * self.loss_normalizer
        loss = keypoint_rcnn_loss(logits, instances, normalizer)
        return {"loss_keypoint": loss * self.loss_weight}

    def predict_(self, logits: Tensor, instances: list[Instances]) -> None:
        """Give instances `pred_keypoints`, see `keypoint_rcnn_inference`."""
        keypoint_rcnn_inference(logits, instances)

    def predict_rows(self, logits: Tensor, boxes: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """{"keypoints": (R, K, 3) x, y and score, see `keypoint_rcnn_inference`}."""
        return {"keypoints": heatmaps_to_keypoints_padded(logits, boxes)[:, :, [0, 1, 3]]}


@ROI_KEYPOINT_HEAD_REGISTRY.register()
class KRCNNConvDeconvUpsampleHead(BaseKeypointRCNNHead, nn.Sequential):  # type: ignore[misc]
    """Some 3 x 3 convolutions, a learned and a bilinear upsampling by 2.

    Args:
        input_shape: of one region's features.
        num_keypoints: K.
        conv_dims: channels of each convolution.
        **kwargs: see `BaseKeypointRCNNHead`.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_keypoints: int,
        conv_dims: Sequence[int],
        **kwargs: Any,
    ) -> None:
        super().__init__(num_keypoints=num_keypoints, **kwargs)
        channels = input_shape.channels
        for number, width in enumerate(conv_dims, start=1):
            self.add_module(f"conv_fcn{number}", Conv2d(channels, width, 3, padding=1))
            self.add_module(f"conv_fcn_relu{number}", nn.ReLU())
            channels = width
        self.score_lowres = ConvTranspose2d(channels, num_keypoints, 4, stride=2, padding=1)
        for layer in self.children():
            if hasattr(layer, "weight"):
                msra_fill(layer)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_KEYPOINT_HEAD`."""
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "conv_dims": cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS,
        }

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, H, W) features -> (R, K, 4 * H, 4 * W) logits."""
        lowres = nn.Sequential.forward(self, x)  # type: ignore[no-untyped-call]
        return interpolate(lowres, scale_factor=2, mode="bilinear", align_corners=False)
