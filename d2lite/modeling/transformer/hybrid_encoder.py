"""HybridEncoder: attention within the coarsest map, then convolutions from map to map and back.

N images, C channels, maps of Hi x Wi cells, finest first.

Source: Zhao 2023 (RT-DETR), arXiv:2304.08069, section 4.2; Peng 2024 (D-FINE), arXiv:2410.13842,
for the blocks "elan".
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import get_norm
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ConfigError

from .position_encoding import grid_position_encoding
from .rep_blocks import ConvNorm, CSPRepLayer, ELANRepLayer, SeparateDownsample

BLOCKS = ("csp", "elan")


class EncoderLayer(nn.Module):
    """Attention of all cells of a map to each other, and a perceptron; norms after each.

    Args:
        channels: C.
        heads: of the attention.
        hidden: channels in the middle of the perceptron.
        dropout: rate, also of the shares of the attention.
        activation: in the perceptron.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.self_attn = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, cells: Tensor, positions: Tensor, hidden: Tensor | None) -> Tensor:
        """Compute the layer.

        Args:
            cells: (N, S, C).
            positions: (S, C) or (N, S, C), added to what asks and is asked.
            hidden: (N, S) bool, True for cells that none sees; None if there are none.
        """
        asking = cells + positions
        attended, _ = self.self_attn(
            asking, asking, cells, key_padding_mask=hidden, need_weights=False
        )
        cells = self.norm1(cells + self.dropout(attended))
        inner = self.dropout(self.activation(self.linear1(cells)))
        return self.norm2(cells + self.dropout(self.linear2(inner)))


class HybridEncoder(nn.Module):
    """Maps of a backbone -> maps of C channels that have seen each other.

    Args:
        in_channels: of the maps, finest first; strides double from map to map.
        channels: C.
        heads: of the attention.
        hidden: channels in the middle of its perceptron.
        attended: numbers of the maps that have attention.
        layers: of attention.
        blocks: "csp" as in RT-DETR, or "elan" as in D-FINE.
        expansion: widens or narrows the blocks.
        depth: factor on the three RepVGG blocks of each block.
        norm: a name or callable for `get_norm`, after each convolution.
        dropout: rate in the attention.

    Raises:
        ConfigError: for blocks that are not known.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        *,
        heads: int = 8,
        hidden: int = 1024,
        attended: Sequence[int] = (2,),
        layers: int = 1,
        blocks: str = "csp",
        expansion: float = 1.0,
        depth: float = 1.0,
        norm: Norm = "BN",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if blocks not in BLOCKS:
            raise ConfigError(f"ENCODER.BLOCKS={blocks!r}: use one of {list(BLOCKS)}.")
        self.attended = list(attended) if layers else []
        self.input_proj = nn.ModuleList(
            nn.ModuleDict(
                {
                    "conv": nn.Conv2d(own, channels, 1, bias=False),
                    "norm": get_norm(norm, channels) or nn.Identity(),
                }
            )
            for own in in_channels
        )
        stack = [
            nn.ModuleList(EncoderLayer(channels, heads, hidden, dropout) for _ in range(layers))
            for _ in self.attended
        ]
        self.encoder = nn.ModuleList(nn.ModuleDict({"layers": of_map}) for of_map in stack)
        is_csp, repeats = blocks == "csp", round(3 * depth)
        self.lateral_convs = nn.ModuleList()
        self.fpn_blocks = nn.ModuleList()
        self.downsample_convs = nn.ModuleList()
        self.pan_blocks = nn.ModuleList()
        for _ in in_channels[1:]:
            self.lateral_convs.append(
                ConvNorm(channels, channels, 1, norm=norm, activation="silu" if is_csp else None)
            )
            self.downsample_convs.append(
                ConvNorm(channels, channels, 3, stride=2, norm=norm)
                if is_csp
                else nn.Sequential(SeparateDownsample(channels, norm))
            )
            for group in (self.fpn_blocks, self.pan_blocks):
                group.append(
                    CSPRepLayer(2 * channels, channels, repeats, expansion, norm=norm)
                    if is_csp
                    else ELANRepLayer(channels, repeats, expansion, norm=norm)
                )

    def forward(
        self, maps: Sequence[Tensor], hidden: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Encode.

        Args:
            maps: (N, in_channels, Hi, Wi), Hi and Wi half of those of the map before.
            hidden: for each map (N, Hi, Wi) bool, True for cells of the padding, which attention
                does not see.

        Returns:
            (N, C, Hi, Wi) maps.
        """
        projections: Any = self.input_proj
        projected = [
            layer["norm"](layer["conv"](level))
            for layer, level in zip(projections, maps, strict=True)
        ]
        stacks: Any = self.encoder
        for number, stack in zip(self.attended, stacks, strict=True):
            level = projected[number]
            cells = level.flatten(2).transpose(1, 2)
            height, width = level.shape[-2:]
            waves = grid_position_encoding(height, width, level.shape[1], level.device)
            mask = None if hidden is None else hidden[number].flatten(1)
            for layer in stack["layers"]:
                cells = layer(cells, waves.to(cells.dtype), mask)
            projected[number] = cells.transpose(1, 2).unflatten(2, level.shape[-2:])
        down = [projected[-1]]
        for lateral, block, level in zip(
            self.lateral_convs, self.fpn_blocks, projected[-2::-1], strict=True
        ):
            down[-1] = lateral(down[-1])
            enlarged = F.interpolate(down[-1], scale_factor=2.0, mode="nearest")
            down.append(block(torch.cat([enlarged, level], dim=1)))
        up = [down.pop()]
        for smaller, block, level in zip(
            self.downsample_convs, self.pan_blocks, down[::-1], strict=True
        ):
            up.append(block(torch.cat([smaller(up[-1]), level], dim=1)))
        return up
