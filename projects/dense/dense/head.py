"""The head that ATSS, GFL and FCOS share: two towers, and what is predicted from them.

N images, C classes, K numbers of a box, Hi x Wi cells of level i.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ModulatedDeformConv, ShapeSpec, get_norm
from d2lite.layers.batch_norm import Norm
from d2lite.modeling.weight_init import filled_conv, normal_fill, prior_fill, zero_fill
from d2lite.utils.errors import ConfigError

_TOWERS = ("class", "box")


class DeformStep(ModulatedDeformConv):
    """A 3 x 3 convolution whose taps are moved and weighted by another one, a norm and a ReLU.

    Args:
        channels: of input and output.
        norm: see `get_norm`.
        has_bias: whether a bias is added.
    """

    def __init__(self, channels: int, norm: Norm, has_bias: bool) -> None:
        super().__init__(
            channels,
            channels,
            3,
            padding=1,
            bias=has_bias,
            norm=get_norm(norm, channels),
            activation=torch.relu,
        )
        self.conv_offset = nn.Conv2d(channels, 27, 3, padding=1)
        # Taps start in their place.
        zero_fill(self.conv_offset)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(N, channels, H, W) -> the same shape."""
        moves, weights = self.conv_offset(x).split([18, 9], dim=1)
        return super().forward(x, moves, weights.sigmoid())


def make_tower(
    in_channels: int,
    channels: int,
    num_convs: int,
    *,
    norm: Norm,
    conv_bias: bool,
    deform_last: bool,
) -> nn.Sequential:
    """Some 3 x 3 convolutions, each with a norm and a ReLU."""
    has_bias = conv_bias or not norm
    steps: list[nn.Module] = []
    for i in range(num_convs):
        if deform_last and i == num_convs - 1 and i > 0:
            steps.append(DeformStep(channels, norm, has_bias))
            continue
        before, fill = channels if i else in_channels, partial(normal_fill, std=0.01)
        steps.append(
            filled_conv(fill, before, channels, 3, norm, has_bias=has_bias, activation=nn.ReLU())
        )
    return nn.Sequential(*steps)


def level_factors(count: int) -> nn.ParameterList:
    """A learned factor for each level, 1 at the start."""
    return nn.ParameterList(nn.Parameter(torch.ones(())) for _ in range(count))


def prediction_layer(channels: int, size: int, prior: float | None = None) -> nn.Conv2d:
    """A 3 x 3 convolution; its results begin near 0, or near the logit of a probability."""
    layer = nn.Conv2d(channels, size, 3, padding=1)
    normal_fill(layer, std=0.01)
    if prior is not None:
        prior_fill(layer, prior)
    return layer


class DenseHead(nn.Module):
    """A tower for classes and one for boxes, the same for all levels.

    Args:
        input_shape: of each level; all have the same channels.
        num_classes: C.
        box_size: K.
        channels: of the towers.
        num_convs: of each tower.
        norm: see `get_norm`.
        conv_bias: whether convolutions before a norm have a bias.
        deform_last: whether the last convolution of each tower moves its taps.
        prior_prob: the score of every class at the start.
        centerness_tower: "class" or "box", from which tower centerness is predicted; "" for none.

    Source: Zhang 2019, arXiv:1912.02424; Tian 2019, arXiv:1904.01355.
    """

    def __init__(
        self,
        input_shape: Sequence[ShapeSpec],
        *,
        num_classes: int,
        box_size: int,
        channels: int,
        num_convs: int,
        norm: Norm = "GN",
        conv_bias: bool = False,
        deform_last: bool = False,
        prior_prob: float = 0.01,
        centerness_tower: str = "",
    ) -> None:
        super().__init__()
        if centerness_tower not in ("", *_TOWERS):
            raise ConfigError(
                f'MODEL.DENSE.CENTERNESS_TOWER={centerness_tower!r}: use "class" or "box".'
            )
        self._centerness_tower = centerness_tower
        options: dict[str, Any] = {
            "norm": norm,
            "conv_bias": conv_bias,
            "deform_last": deform_last,
        }
        in_channels = input_shape[0].channels
        self.cls_tower = make_tower(in_channels, channels, num_convs, **options)
        self.box_tower = make_tower(in_channels, channels, num_convs, **options)
        self.cls_score = prediction_layer(channels, num_classes, prior_prob)
        self.box_pred = prediction_layer(channels, box_size)
        if centerness_tower:
            self.centerness = prediction_layer(channels, 1)
        self.scales = level_factors(len(input_shape))

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Predict from one (N, channels, Hi, Wi) a level.

        Returns:
            one (N, C, Hi, Wi) of class logits a level; one (N, K, Hi, Wi) of numbers of a box,
            times the factor of the level; and one (N, 1, Hi, Wi) of centerness logits, with it.
        """
        logits, boxes, centers = [], [], []
        for x, scale in zip(features, self.scales, strict=True):
            towers = {"class": self.cls_tower(x), "box": self.box_tower(x)}
            logits.append(self.cls_score(towers["class"]))
            boxes.append(self.box_pred(towers["box"]) * scale)
            if self._centerness_tower:
                centers.append(self.centerness(towers[self._centerness_tower]))
        return (logits, boxes, centers) if centers else (logits, boxes)


def head_arguments(cfg: CfgNode, shapes: Sequence[ShapeSpec]) -> dict[str, Any]:
    """The arguments of a head from `MODEL.DENSE`, without `box_size` and `centerness_tower`."""
    node = cfg.MODEL.DENSE
    if not 0 < node.PRIOR_PROB < 1:
        raise ConfigError(f"MODEL.DENSE.PRIOR_PROB={node.PRIOR_PROB}: use one between 0 and 1.")
    return {
        "input_shape": shapes,
        "num_classes": node.NUM_CLASSES,
        "channels": node.CHANNELS or shapes[0].channels,
        "num_convs": node.NUM_CONVS,
        "norm": node.NORM,
        "conv_bias": node.CONV_BIAS,
        "deform_last": node.DEFORM_LAST,
        "prior_prob": node.PRIOR_PROB,
    }
