"""ConvFCHead: a few numbers about each box from its features, such as a coarse mask."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import Conv2d, ShapeSpec
from d2lite.modeling.weight_init import msra_fill, normal_fill, xavier_fill

# What weights of the first release are called -> now.
_NAMES = {"coarse_mask_fc": "fc"}


class ConvFCHead(nn.Module):
    """Fewer channels, half the side, some fully connected layers, and a prediction.

    Args:
        input_shape: of one box's features; height and width even.
        conv_dim: channels of the convolution that halves the side; another one comes before it
            where there are more than these.
        fc_dims: channels of each fully connected layer.
        output_shape: of the prediction for one box.

    Source: Kirillov 2019, arXiv:1912.08193, section 4.1 (the coarse head).
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dim: int,
        fc_dims: Sequence[int],
        output_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        channels = input_shape.channels
        self.output_shape = tuple(output_shape)
        self.reduce_channel_dim_conv: nn.Module | None = None
        if channels > conv_dim:
            self.reduce_channel_dim_conv = Conv2d(channels, conv_dim, 1, activation=F.relu)
            channels = conv_dim
        self.reduce_spatial_dim_conv = Conv2d(channels, conv_dim, 2, stride=2, activation=F.relu)
        width = conv_dim * (input_shape.height // 2) * (input_shape.width // 2)
        self.fc_names = [f"fc{number}" for number in range(1, len(fc_dims) + 1)]
        for name, after in zip(self.fc_names, fc_dims, strict=True):
            self.add_module(name, nn.Linear(width, after))
            width = after
        self.prediction = nn.Linear(width, math.prod(self.output_shape))
        # In this order, so that a seed gives the start values that it gives in detectron2.
        normal_fill(self.prediction, std=0.001)
        if self.reduce_channel_dim_conv is not None:
            msra_fill(self.reduce_channel_dim_conv)
        msra_fill(self.reduce_spatial_dim_conv)
        for name in self.fc_names:
            xavier_fill(getattr(self, name))
        self.register_load_state_dict_pre_hook(partial(rename_old_weights_, _NAMES))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_MASK_HEAD`; the output is a mask of each class."""
        node = cfg.MODEL.ROI_MASK_HEAD
        num_classes = 1 if node.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES
        side = node.OUTPUT_SIDE_RESOLUTION
        return {
            "input_shape": input_shape,
            "conv_dim": node.CONV_DIM,
            "fc_dims": [node.FC_DIM] * node.NUM_FC,
            "output_shape": (num_classes, side, side),
        }

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, H, W) -> (R, *output_shape)."""
        if self.reduce_channel_dim_conv is not None:
            x = self.reduce_channel_dim_conv(x)
        x = self.reduce_spatial_dim_conv(x).flatten(1)
        for name in self.fc_names:
            x = F.relu(getattr(self, name)(x))
        return self.prediction(x).unflatten(1, self.output_shape)


CoarseMaskHead = ConvFCHead
"""The name that the head had in the first release."""


def rename_old_weights_(
    names: Mapping[str, str], module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Give weights of the first release today's names, in place.

    Args:
        names: what names below `prefix` begin with -> what takes its place.
        module: that is loaded.
        state_dict: changed.
        prefix: of the module's own names.
    """
    for old, new in names.items():
        for key in [key for key in state_dict if key.startswith(prefix + old)]:
            state_dict[prefix + new + key[len(prefix + old) :]] = state_dict.pop(key)
