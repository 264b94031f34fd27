"""The layers of a region proposal network.

N images, A anchors a cell, D numbers a box, Hi x Wi cells of level i.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import Conv2d, ShapeSpec
from d2lite.utils.errors import ConfigError

from ..anchor_generator import build_anchor_generator
from ..weight_init import normal_fill
from .build import RPN_HEAD_REGISTRY


@RPN_HEAD_REGISTRY.register()
class StandardRPNHead(nn.Module):
    """3 x 3 convolutions, then objectness and deltas of every anchor; shared by all levels.

    Args:
        in_channels: of each feature map.
        num_anchors: a cell.
        box_dim: numbers a box, 4 or 5.
        conv_dims: output channels of the 3 x 3 convolutions; -1 keeps the number it is given.

    Source: Ren 2015, arXiv:1506.01497.
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        box_dim: int = 4,
        conv_dims: Sequence[int] = (-1,),
    ) -> None:
        super().__init__()
        if not conv_dims or any(dim == 0 or dim < -1 for dim in conv_dims):
            raise ConfigError(
                f"MODEL.RPN.CONV_DIMS={list(conv_dims)}: give at least one number of channels "
                "(-1: as many as the feature map)."
            )
        layers: list[nn.Conv2d] = []
        channels = in_channels
        for dim in conv_dims:
            out_channels = channels if dim == -1 else dim
            layers.append(Conv2d(channels, out_channels, 3, padding=1, activation=nn.ReLU()))
            channels = out_channels
        if len(layers) == 1:
            self.conv: nn.Module = layers[0]
        else:
            self.conv = nn.Sequential()
            for i, layer in enumerate(layers):
                self.conv.add_module(f"conv{i}", layer)
        self.objectness_logits = nn.Conv2d(channels, num_anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels, num_anchors * box_dim, 1)
        for layer in (*layers, self.objectness_logits, self.anchor_deltas):
            normal_fill(layer, std=0.01)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, object]:
        """Arguments from the feature maps and the anchors that `MODEL.ANCHOR_GENERATOR` makes."""
        channels = {shape.channels for shape in input_shape}
        anchors: Any = build_anchor_generator(cfg, input_shape)
        counts = set(anchors.num_anchors)
        if len(channels) != 1 or len(counts) != 1:
            raise ConfigError(
                f"One RPN head serves all levels, but MODEL.RPN.IN_FEATURES="
                f"{list(cfg.MODEL.RPN.IN_FEATURES)} have {sorted(channels)} channels and "
                f"MODEL.ANCHOR_GENERATOR gives {sorted(counts)} anchors a cell. Make them equal."
            )
        return {
            "in_channels": channels.pop(),
            "num_anchors": counts.pop(),
            "box_dim": anchors.box_dim,
            "conv_dims": cfg.MODEL.RPN.CONV_DIMS,
        }

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict for every anchor.

        Args:
            features: one (N, C, Hi, Wi) a level.

        Returns:
            one (N, A, Hi, Wi) of objectness logits a level; one (N, A * D, Hi, Wi) of deltas.
        """
        hidden = [self.conv(feature) for feature in features]
        return [self.objectness_logits(x) for x in hidden], [self.anchor_deltas(x) for x in hidden]
