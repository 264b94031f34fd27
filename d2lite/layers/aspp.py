"""ASPP: one map seen through several dilations and as a whole, fused by a 1 x 1 convolution."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils.errors import ArgumentError
from .batch_norm import get_norm
from .blocks import DepthwiseSeparableConv2d
from .wrappers import Conv2d

__all__ = ["ASPP"]


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling. Source: Chen 2017, arXiv:1706.05587."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilations: Sequence[int],
        *,
        norm: str | Callable[[int], nn.Module],
        activation: Callable[[Tensor], Tensor],
        pool_kernel_size: Sequence[int] | None = None,
        dropout: float = 0.0,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        """Make the five branches and the projection.

        Args:
            in_channels: channels of the input.
            out_channels: channels of every branch and of the output.
            dilations: of the three 3 x 3 branches.
            norm: as for `get_norm`.
            activation: after every norm.
            pool_kernel_size: (height, width) of the average pooling, or None for the whole map.
            dropout: probability that a value of the output is dropped while training.
            use_depthwise_separable_conv: make the 3 x 3 branches depthwise separable.
        """
        super().__init__()
        if len(dilations) != 3:
            raise ArgumentError(f"ASPP got {len(dilations)} dilations ({dilations}); give three.")
        self.pool_kernel_size = pool_kernel_size
        self.dropout = dropout

        def conv(channels: int, size: int = 1, dilation: int = 1, normed: bool = True) -> Conv2d:
            layer = Conv2d(
                channels,
                out_channels,
                size,
                padding=dilation if size > 1 else 0,
                dilation=dilation,
                bias=not (normed and norm),
                norm=get_norm(norm, out_channels) if normed else None,
                activation=deepcopy(activation),
            )
            nn.init.kaiming_uniform_(layer.weight, a=1)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            return layer

        def separable(dilation: int) -> DepthwiseSeparableConv2d:
            both: dict[str, Any] = {"norm1": norm, "norm2": norm}
            return DepthwiseSeparableConv2d(
                in_channels,
                out_channels,
                padding=dilation,
                dilation=dilation,
                activation1=deepcopy(activation),
                activation2=deepcopy(activation),
                **both,
            )

        # In this order, so that a seed gives the start values that it gives in detectron2.
        narrow = conv(in_channels)
        dilated = [
            separable(d) if use_depthwise_separable_conv else conv(in_channels, 3, d)
            for d in dilations
        ]
        pooling = (
            nn.AdaptiveAvgPool2d(1)
            if pool_kernel_size is None
            else nn.AvgPool2d((pool_kernel_size[0], pool_kernel_size[1]), stride=1)
        )
        # A norm over a 1 x 1 map has no statistics to work with when the batch is one image.
        whole = nn.Sequential(pooling, conv(in_channels, normed=False))
        self.convs = nn.ModuleList([narrow, *dilated, whole])
        self.project = conv(5 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W).

        Raises:
            ArgumentError: if `pool_kernel_size` is set and does not divide the input.
        """
        height, width = x.shape[-2:]
        if self.pool_kernel_size is not None:
            pool_h, pool_w = self.pool_kernel_size
            if height % pool_h or width % pool_w:
                raise ArgumentError(
                    f"The input of ASPP is {height} x {width}, which pool_kernel_size "
                    f"{pool_h} x {pool_w} does not divide. Pad the input or change the kernel."
                )
        branches = [branch(x) for branch in self.convs]
        branches[-1] = F.interpolate(
            branches[-1], size=(height, width), mode="bilinear", align_corners=False
        )
        fused = self.project(torch.cat(branches, dim=1))
        return F.dropout(fused, self.dropout, self.training) if self.dropout > 0 else fused
