"""Masks of regions: the head, its loss, and the probabilities it predicts.

R regions of all images, K classes (1 if masks are the same for all), S x S cells of a mask.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import Conv2d, ConvTranspose2d, CosineConv2d, ShapeSpec, cat
from d2lite.layers.batch_norm import Norm
from d2lite.structures import Instances, split_rows
from d2lite.utils.errors import ArgumentError
from d2lite.utils.events import has_event_storage, log_image, log_scalars
from d2lite.utils.process_means import mean_weight

from ..training_visualization import should_visualize
from ..weight_init import conv_relu, msra_fill, normal_fill
from .branch_head import BranchHead
from .build import ROI_MASK_HEAD_REGISTRY, build_mask_head

__all__ = [
    "ROI_MASK_HEAD_REGISTRY",
    "BaseMaskRCNNHead",
    "MaskRCNNConvUpsampleHead",
    "build_mask_head",
    "mask_rcnn_inference",
    "mask_rcnn_loss",
]


def _of_class(masks_RKSS: Tensor, classes: Tensor) -> Tensor:
    """(R, S, S): the mask of each region's class, or the only one there is."""
    if masks_RKSS.shape[1] == 1:
        return masks_RKSS[:, 0]
    return masks_RKSS[torch.arange(classes.shape[0], device=classes.device), classes]


def mask_rcnn_loss(
    pred_mask_logits: Tensor, instances: Sequence[Instances], vis_period: int = 0
) -> Tensor:
    """Binary cross entropy of the mask of each region's true class, mean over cells.

    Args:
        pred_mask_logits: (R, K, S, S).
        instances: the foreground regions of each image, R in all, with proposal_boxes,
            gt_classes and gt_masks.
        vis_period: log predicted and true masks every so many iterations; 0 for never.

    Returns:
        scalar; zero with a gradient without foreground.
    """
    present = [found for found in instances if len(found)]
    share = mean_weight(sum(len(found) for found in present), pred_mask_logits)
    if not present:
        return pred_mask_logits.sum() * 0.0
    side = pred_mask_logits.shape[-1]
    with torch.no_grad():
        truth_RSS = cat(
            [found.gt_masks.crop_and_resize(found.proposal_boxes.tensor, side) for found in present]
        ).to(pred_mask_logits.device)
        classes = cat([found.gt_classes for found in present])
    logits_RSS = _of_class(pred_mask_logits, classes)
    is_inside = truth_RSS if truth_RSS.dtype == torch.bool else truth_RSS > 0.5
    _log_accuracy(logits_RSS.detach(), is_inside)
    if should_visualize(vis_period):
        log_image(
            "Left: mask prediction; right: truth",
            lambda: _side_by_side(logits_RSS.detach().sigmoid(), truth_RSS),
        )
    loss = F.binary_cross_entropy_with_logits(logits_RSS, truth_RSS.to(logits_RSS.dtype))
    return loss * share


def _log_accuracy(logits_RSS: Tensor, is_inside: Tensor) -> None:
    if not has_event_storage():
        return
    is_wrong = (logits_RSS > 0) != is_inside
    num_inside = is_inside.sum()
    num_outside = is_inside.numel() - num_inside
    log_scalars(
        {
            "mask_rcnn/accuracy": 1 - is_wrong.float().mean(),
            "mask_rcnn/false_positive": (is_wrong & ~is_inside).sum() / num_outside.clamp(min=1),
            "mask_rcnn/false_negative": (is_wrong & is_inside).sum() / num_inside.clamp(min=1),
        }
    )


def _side_by_side(probs_RSS: Tensor, truth_RSS: Tensor) -> Tensor:
    """(3, rows, 2 * S): a few masks below each other, as a grey picture."""
    pairs = torch.cat([probs_RSS[:10], truth_RSS[:10].to(probs_RSS.dtype)], dim=2)
    return pairs.flatten(0, 1).cpu().expand(3, -1, -1)


def mask_rcnn_inference(pred_mask_logits: Tensor, pred_instances: Sequence[Instances]) -> None:
    """Give instances the probabilities of their class's mask.

    Args:
        pred_mask_logits: (R, K, S, S).
        pred_instances: of each image, R in all, with pred_classes; each gets pred_masks,
            (Ri, 1, S, S) float in [0, 1] inside its box.
    """
    classes = cat([found.pred_classes for found in pred_instances])
    probs_R1SS = _of_class(pred_mask_logits, classes).sigmoid()[:, None]
    of_images = split_rows(probs_R1SS, pred_instances)
    for found, probs in zip(pred_instances, of_images, strict=True):
        found.pred_masks = probs


class BaseMaskRCNNHead(BranchHead):
    """The loss and the inference of Mask R-CNN; a subclass has the layers.

    Args:
        loss_weight: factor on the loss.
        vis_period: see `mask_rcnn_loss`.
    """

    @configurable
    def __init__(self, *, loss_weight: float = 1.0, vis_period: int = 0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.vis_period = vis_period

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `VIS_PERIOD`."""
        return {"vis_period": cfg.VIS_PERIOD}

    def losses_of(self, logits: Tensor, instances: list[Instances]) -> dict[str, Tensor]:
        """{"loss_mask": ...} of (R, K, S, S) logits."""
        loss = mask_rcnn_loss(logits, instances, self.vis_period)
        return {"loss_mask": loss * self.loss_weight}

    def predict_(self, logits: Tensor, instances: list[Instances]) -> None:
        """Give instances `pred_masks`, see `mask_rcnn_inference`."""
        mask_rcnn_inference(logits, instances)

    def predict_rows(self, logits: Tensor, boxes: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """{"masks": (R, 1, S, S) probabilities of the mask of each region's class}."""
        return {"masks": _of_class(logits, classes).sigmoid()[:, None]}


@ROI_MASK_HEAD_REGISTRY.register()
class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead, nn.Sequential):  # type: ignore[misc]
    """Some 3 x 3 convolutions, an upsampling by 2, and a prediction.

    Args:
        input_shape: of one region's features.
        num_classes: 1 for masks that are the same for all classes.
        conv_dims: channels of each convolution; the last entry is those of the upsampling.
        conv_norm: a name or a callable for `get_norm`.
        cosine_scale: above 0, logits are cosines times this; see `CosineConv2d`.
        **kwargs: see `BaseMaskRCNNHead`.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        conv_dims: Sequence[int],
        conv_norm: Norm = "",
        cosine_scale: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not conv_dims:
            raise ArgumentError("conv_dims is empty; its last entry is the upsampling's channels.")
        channels = input_shape.channels
        for number, width in enumerate(conv_dims[:-1], start=1):
            self.add_module(f"mask_fcn{number}", conv_relu(channels, width, conv_norm))
            channels = width
        # Heads written for detectron2 walk through it in `layers` of their own.
        self.conv_norm_relus = list(self)
        self.deconv = ConvTranspose2d(channels, conv_dims[-1], kernel_size=2, stride=2)
        self.add_module("deconv_relu", nn.ReLU())
        self.predictor = (
            CosineConv2d(conv_dims[-1], num_classes, cosine_scale)
            if cosine_scale
            else Conv2d(conv_dims[-1], num_classes, kernel_size=1)
        )
        # After all layers are made, so that a seed gives the same start values as in detectron2.
        for layer in self:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer is not self.predictor:
                msra_fill(layer)
        normal_fill(self.predictor, std=0.001)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_MASK_HEAD`."""
        node = cfg.MODEL.ROI_MASK_HEAD
        # Heads in users' code may lack the argument.
        more = {"cosine_scale": node.COSINE_SCALE} if node.COSINE_SCALE else {}
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "num_classes": 1 if node.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "conv_dims": [node.CONV_DIM] * (node.NUM_CONV + 1),
            "conv_norm": node.NORM,
            **more,
        }

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, H, W) features -> (R, K, 2 * H, 2 * W) logits."""
        return nn.Sequential.forward(self, x)  # type: ignore[no-untyped-call]
