"""The two branches of Panoptic-DeepLab: classes of pixels, and centres with offsets to them.

N images, K classes, H x W pixels of the padded network input, s the common stride.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.modeling.deeplab import (
    DeepLabV3PlusHead,
    build_pixel_loss,
    double_conv,
    prediction_conv,
    to_full_size,
)
from d2lite.modeling.meta_arch.semantic_seg import SEM_SEG_HEADS_REGISTRY
from d2lite.utils.errors import ArgumentError
from d2lite.utils.process_means import mean_weight
from d2lite.utils.registry import Registry

INS_EMBED_BRANCHES_REGISTRY = Registry("INS_EMBED_BRANCHES")
INS_EMBED_BRANCHES_REGISTRY.__doc__ = """
Branches that tell objects apart, by name: callables of (cfg, input_shape: dict[str, ShapeSpec]),
chosen by `MODEL.INS_EMBED_HEAD.NAME`.
"""


def build_ins_embed_branch(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Make the branch that `MODEL.INS_EMBED_HEAD.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: the feature maps of the backbone, by name.
    """
    return INS_EMBED_BRANCHES_REGISTRY.get(cfg.MODEL.INS_EMBED_HEAD.NAME)(cfg, input_shape)


@SEM_SEG_HEADS_REGISTRY.register()
class PanopticDeepLabSemSegHead(DeepLabV3PlusHead):
    """The decoder of DeepLab V3+, two more convolutions, and the class scores.

    Args:
        input_shape: the feature maps that are used, by name.
        head_channels: channels after the two convolutions.
        loss_top_k: share of the pixels that "hard_pixel_mining" takes.
        num_classes: K.
        **kwargs: see `DeepLabV3PlusHead`.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        head_channels: int,
        loss_top_k: float,
        num_classes: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_shape, **kwargs)
        self.decoder_only = False
        self.loss = build_pixel_loss(self.loss_type, self.ignore_value, loss_top_k)
        channels = kwargs["decoder_channels"][0]
        self.head = double_conv(
            channels,
            channels,
            head_channels,
            norm=kwargs["norm"],
            separable=kwargs.get("use_depthwise_separable_conv", False),
        )
        self.predictor = prediction_conv(head_channels, num_classes)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.SEM_SEG_HEAD` and `INPUT.CROP`."""
        node = cfg.MODEL.SEM_SEG_HEAD
        return {
            **super().from_config(cfg, input_shape),
            "head_channels": node.HEAD_CHANNELS,
            "loss_top_k": node.LOSS_TOP_K,
        }

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Maps by name -> (N, K, H / s, W / s) scores."""
        return self.predictor(self.head(self.decode(features)))

    def forward(
        self,
        features: dict[str, Tensor],
        targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Score the classes of each pixel, or compare with the truth in training.

        Args:
            features: maps by name.
            targets: (N, H, W) int64 labels; needed in training.
            weights: (N, H, W) factor of each pixel in the loss, or None.

        Returns:
            in training None and the losses, otherwise (N, K, H, W) scores and {}.
        """
        if self.training and targets is not None:
            return None, self.losses(self.layers(features), targets, weights)
        return super().forward(features, targets)


@INS_EMBED_BRANCHES_REGISTRY.register()
class PanopticDeepLabInsEmbedHead(DeepLabV3PlusHead):
    """A decoder of its own, and from it the map of centres and the offsets to them.

    Args:
        input_shape: the feature maps that are used, by name.
        head_channels: channels before both predictions.
        center_loss_weight: factor on the loss of centres.
        offset_loss_weight: factor on the loss of offsets.
        **kwargs: see `DeepLabV3PlusHead`; its use_depthwise_separable_conv makes the decoder and
            the layers before the offsets depthwise separable.

    Source: Cheng 2020, arXiv:1911.10194, section 3.2.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        head_channels: int,
        center_loss_weight: float,
        offset_loss_weight: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_shape, **kwargs)
        self.center_loss_weight = center_loss_weight
        self.offset_loss_weight = offset_loss_weight
        channels, norm = kwargs["decoder_channels"][0], kwargs["norm"]
        separable = kwargs.get("use_depthwise_separable_conv", False)
        self.center_head = double_conv(
            channels, channels, head_channels, norm=norm, separable=False
        )
        self.center_predictor = prediction_conv(head_channels, 1)
        self.offset_head = double_conv(
            channels, channels, head_channels, norm=norm, separable=separable
        )
        self.offset_predictor = prediction_conv(head_channels, 2)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.INS_EMBED_HEAD`, `MODEL.PANOPTIC_DEEPLAB` and `INPUT.CROP`."""
        node = cfg.MODEL.INS_EMBED_HEAD
        return {
            **cls.decoder_arguments(cfg, node, input_shape),
            "head_channels": node.HEAD_CHANNELS,
            "center_loss_weight": node.CENTER_LOSS_WEIGHT,
            "offset_loss_weight": node.OFFSET_LOSS_WEIGHT,
            "use_depthwise_separable_conv": cfg.MODEL.PANOPTIC_DEEPLAB.USE_DEPTHWISE_SEPARABLE_CONV,
        }

    def layers(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Maps by name -> (N, 1, H / s, W / s) centres and (N, 2, ...) offsets in cells."""
        decoded = self.decode(features)
        centers = self.center_predictor(self.center_head(decoded))
        return centers, self.offset_predictor(self.offset_head(decoded))

    def forward(
        self,
        features: dict[str, Tensor],
        center_targets: Tensor | None = None,
        center_weights: Tensor | None = None,
        offset_targets: Tensor | None = None,
        offset_weights: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None, dict[str, Tensor], dict[str, Tensor]]:
        """Predict centres and offsets, or compare with the truth in training.

        Args:
            features: maps by name.
            center_targets: (N, 1, H, W); this and the following are needed in training.
            center_weights: (N, 1, H, W).
            offset_targets: (N, 2, H, W) pixels, down and right.
            offset_weights: (N, 1, H, W).

        Returns:
            in training None, None and the losses of both; otherwise (N, 1, H, W) centres,
            (N, 2, H, W) offsets in pixels, {} and {}.

        Raises:
            ArgumentError: in training without the truth.
        """
        centers, offsets = self.layers(features)
        truth = (center_targets, center_weights, offset_targets, offset_weights)
        if not self.training:
            full = to_full_size(offsets, self.common_stride) * self.common_stride
            return to_full_size(centers, self.common_stride), full, {}, {}
        if any(target is None for target in truth):
            raise ArgumentError(
                "In training the branch of objects needs targets and weights of both."
            )
        return (
            None,
            None,
            self.center_losses(centers, center_targets, center_weights),
            self.offset_losses(offsets, offset_targets, offset_weights),
        )

    def center_losses(
        self, predictions: Tensor, targets: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """`loss_center`: the weighted mean of squared differences."""
        full = to_full_size(predictions.float(), self.common_stride, targets)
        squares = F.mse_loss(full, targets, reduction="none")
        return {"loss_center": _weighted_mean(squares, weights) * self.center_loss_weight}

    def offset_losses(
        self, predictions: Tensor, targets: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """`loss_offset`: the weighted mean of the distances along both axes together."""
        full = to_full_size(predictions.float(), self.common_stride, targets) * self.common_stride
        distances = F.l1_loss(full, targets, reduction="none")
        return {"loss_offset": _weighted_mean(distances, weights) * self.offset_loss_weight}


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Sum of weighted losses over the sum of weights; 0 with a gradient without any weight."""
    total = weights.sum()
    mean = (losses * weights).sum() / torch.where(total > 0, total, 1.0)
    return mean * mean_weight(total, losses)
