"""Layers of the DeepLab family, and what their sizes follow from."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import Conv2d, DepthwiseSeparableConv2d, ShapeSpec
from d2lite.utils.errors import ConfigError

from ..backbone.backbone import check_maps
from ..weight_init import filled_conv, normal_fill, xavier_fill


def double_conv(
    in_channels: int, mid_channels: int, out_channels: int, *, norm: Any, separable: bool
) -> nn.Module:
    """Two 3 x 3 convolutions, or one depthwise separable 5 x 5, with norms and ReLUs.

    Args:
        in_channels: channels of the input.
        mid_channels: channels after the first convolution.
        out_channels: channels of the output.
        norm: a name or a callable for `get_norm`.
        separable: make the depthwise separable convolution.
    """
    if separable:
        return DepthwiseSeparableConv2d(
            in_channels,
            out_channels,
            kernel_size=5,
            padding=2,
            norm1=norm,
            activation1=F.relu,
            norm2=norm,
            activation2=F.relu,
        )
    both = nn.Sequential(
        filled_conv(None, in_channels, mid_channels, 3, norm, activation=F.relu),
        filled_conv(None, mid_channels, out_channels, 3, norm, activation=F.relu),
    )
    # Both are made before one is filled, which gives detectron2's start values of a seed.
    for layer in both:
        xavier_fill(layer)
    return both


def prediction_conv(in_channels: int, out_channels: int) -> Conv2d:
    """The 1 x 1 convolution at the end of a branch.

    Args:
        in_channels: channels of the input.
        out_channels: predicted numbers of each cell.
    """
    conv = Conv2d(in_channels, out_channels, kernel_size=1)
    normal_fill(conv, std=0.001)
    return conv


def training_size(cfg: CfgNode) -> tuple[int, int] | None:
    """(height, width) of the crops that are trained on; None for images of any size.

    Raises:
        ConfigError: if the size of crops is not fixed.
    """
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return None
    if crop.TYPE != "absolute":
        raise ConfigError(
            f"INPUT.CROP.TYPE is {crop.TYPE!r}; the pooling of DeepLab needs to know the size of "
            "crops. Set INPUT.CROP.TYPE absolute and INPUT.CROP.SIZE in pixels."
        )
    height, width = crop.SIZE
    return int(height), int(width)


def pool_size(train_size: tuple[int, int] | None, stride: int) -> tuple[int, int] | None:
    """Cells of a map that a whole training crop has, the window of ASPP's pooling.

    Args:
        train_size: (height, width) of the crops in pixels; None for images of any size.
        stride: of the map.

    Returns:
        (height, width); None for the whole map.

    Raises:
        ConfigError: if the stride does not divide the crop.
    """
    if train_size is None:
        return None
    if train_size[0] % stride or train_size[1] % stride:
        raise ConfigError(
            f"INPUT.CROP.SIZE is {tuple(train_size)}; both sides must be multiples of the "
            f"encoder's stride, {stride}."
        )
    return train_size[0] // stride, train_size[1] // stride


def used_maps(input_shape: dict[str, ShapeSpec], names: Sequence[str]) -> dict[str, ShapeSpec]:
    """The maps of the given names (IN_FEATURES).

    Raises:
        ConfigError: if the backbone lacks one.
    """
    fix = "Choose among these, or extend MODEL.RESNETS.OUT_FEATURES."
    check_maps("the backbone", names, list(input_shape), "IN_FEATURES of a head", fix)
    return {name: input_shape[name] for name in names}


def to_full_size(scores: Tensor, stride: int, like: Tensor | None = None) -> Tensor:
    """Enlarge maps to the network's input.

    Args:
        scores: (N, C, h, w).
        stride: the factor.
        like: (..., H, W); what goes beyond its height and width is cut off. The last cells of a
            map reach beyond an input whose sides the stride does not divide.

    Returns:
        (N, C, h * stride, w * stride), or (N, C, H, W).
    """
    full = F.interpolate(scores, scale_factor=stride, mode="bilinear", align_corners=False)
    return full if like is None else full[..., : like.shape[-2], : like.shape[-1]]
