"""The head of RTMDet: classes, distances to the sides of a box and kernels of masks, by cell.

N images, C classes, K numbers of a kernel, Hi x Wi cells of level i.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from d2lite.layers import ConvStep, ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.modeling.weight_init import normal_fill
from d2lite.utils.errors import ConfigError

# Share of cells that are an object at the start.
_PRIOR = 0.01


class DensePredictions(NamedTuple):
    """What the head says of the cells of each level.

    logits: (N, C, Hi, Wi) of the classes.
    distances: (N, 4, Hi, Wi) to the left, upper, right and lower side, in pixels.
    kernels: (N, K, Hi, Wi); empty without masks.
    """

    logits: list[Tensor]
    distances: list[Tensor]
    kernels: list[Tensor]


class RTMDetHead(nn.Module):
    """Towers of convolutions, with a norm of each level; those of classes and boxes are shared.

    Args:
        input_shape: of each level; all have the same channels.
        num_classes: C.
        channels: of the towers.
        num_convs: of each tower.
        norm: see `get_norm`.
        distances: what a predicted number means: "exp" its power of e, "linear" itself, "relu"
            itself if positive; in strides.
        kernel_size: K; 0 for boxes alone.

    Source: Lyu 2022, arXiv:2212.07784, section 3.1.
    """

    def __init__(
        self,
        input_shape: Sequence[ShapeSpec],
        *,
        num_classes: int,
        channels: int,
        num_convs: int,
        norm: Norm,
        distances: str,
        kernel_size: int = 0,
    ) -> None:
        super().__init__()
        if distances not in ("exp", "linear", "relu"):
            raise ConfigError(
                f'MODEL.RTMDET.DISTANCES={distances!r}: use "exp", "linear" or "relu".'
            )
        self.strides = [shape.stride for shape in input_shape]
        self._distances = distances
        levels, in_channels = len(input_shape), input_shape[0].channels

        def towers(is_shared: bool) -> nn.ModuleList:
            made = [
                nn.Sequential(
                    *(
                        ConvStep(in_channels if i == 0 else channels, channels, 3, norm=norm)
                        for i in range(num_convs)
                    )
                )
                for _ in range(levels)
            ]
            for tower in made[1:] if is_shared else ():
                for step, first in zip(tower, made[0], strict=True):
                    step.conv = first.conv
            return nn.ModuleList(made)

        def outputs(size: int, bias: float = 0.0) -> nn.ModuleList:
            made = nn.ModuleList(nn.Conv2d(channels, size, 1) for _ in range(levels))
            for layer in made:
                normal_fill(layer, std=0.01)
                nn.init.constant_(layer.bias, bias)
            return made

        self.cls_convs = towers(True)
        # One tower for both where there are masks, as the published models have it.
        self.reg_convs = self.cls_convs if kernel_size else towers(True)
        self.rtm_cls = outputs(num_classes, bias=-math.log((1 - _PRIOR) / _PRIOR))
        # A "relu" that begins below 0 would never learn.
        self.rtm_reg = outputs(4, bias=1.0 if distances == "relu" else 0.0)
        if kernel_size:
            self.kernel_convs, self.rtm_kernel = towers(False), outputs(kernel_size)

    def forward(self, features: Sequence[Tensor]) -> DensePredictions:
        """Predict from one (N, channels, Hi, Wi) a level."""
        logits, distances, kernels = [], [], []
        for i, (x, stride) in enumerate(zip(features, self.strides, strict=True)):
            about_classes = self.cls_convs[i](x)
            is_one = self.reg_convs is self.cls_convs
            about_boxes = about_classes if is_one else self.reg_convs[i](x)
            logits.append(self.rtm_cls[i](about_classes))
            # In float32, since a power of e may pass the range of float16.
            raw = self.rtm_reg[i](about_boxes).float()
            grown = {"exp": raw.exp, "relu": raw.relu, "linear": lambda raw=raw: raw}
            distances.append(grown[self._distances]() * stride)
            if hasattr(self, "rtm_kernel"):
                kernels.append(self.rtm_kernel[i](self.kernel_convs[i](x)))
        return DensePredictions(logits, distances, kernels)
