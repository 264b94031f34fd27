"""The head of VFNet: a first box, and a refined one from what is seen at nine of its points.

N images, C classes, Hi x Wi cells of level i.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from d2lite.layers import DeformConv, ShapeSpec
from d2lite.layers.batch_norm import Norm

from .head import level_factors, make_tower, prediction_layer

# Share of the gradient of a refined box that goes on to the first one; the published value.
_PASSED_ON = 0.1


class VFNetHead(nn.Module):
    """Towers for classes and boxes, and the refinement of both by the first box.

    Args:
        input_shape: of each level; all have the same channels.
        num_classes: C.
        reach: pixels that a first distance begins at, of each level.
        channels: of the towers.
        num_convs: of each tower.
        norm: see `get_norm`.
        conv_bias: whether convolutions before a norm have a bias.
        deform_last: whether the last convolution of each tower moves its taps.
        prior_prob: the score of every class at the start.

    Source: Zhang 2020, arXiv:2008.13367, sections 3.3 and 3.4.
    """

    def __init__(
        self,
        input_shape: Sequence[ShapeSpec],
        *,
        num_classes: int,
        reach: Sequence[float],
        channels: int,
        num_convs: int,
        norm: Norm = "GN",
        conv_bias: bool = False,
        deform_last: bool = False,
        prior_prob: float = 0.01,
    ) -> None:
        super().__init__()
        self._strides = [shape.stride for shape in input_shape]
        self._reach = list(reach)
        in_channels = input_shape[0].channels

        def tower(before: int, count: int, is_deformed: bool = False) -> nn.Sequential:
            return make_tower(
                before, channels, count, norm=norm, conv_bias=conv_bias, deform_last=is_deformed
            )

        self.cls_tower = tower(in_channels, num_convs, deform_last)
        self.box_tower = tower(in_channels, num_convs, deform_last)
        self.box_conv = tower(channels, 1)
        self.box_pred = prediction_layer(channels, 4)
        self.scales = level_factors(len(input_shape))
        self.box_star = DeformConv(channels, channels, 3, padding=1)
        self.box_refine = prediction_layer(channels, 4)
        self.refine_scales = level_factors(len(input_shape))
        self.cls_star = DeformConv(channels, channels, 3, padding=1)
        self.cls_score = prediction_layer(channels, num_classes, prior_prob)
        for star in (self.box_star, self.cls_star):
            nn.init.normal_(star.weight, std=0.01)

    def forward(
        self, features: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Predict from one (N, channels, Hi, Wi) a level.

        Returns:
            one (N, C, Hi, Wi) of class logits a level; and the refined and the first distances,
            one (N, 4, Hi, Wi) each, to the left, upper, right and lower side in pixels.
        """
        logits, refined, first = [], [], []
        for i, x in enumerate(features):
            about_classes, about_boxes = self.cls_tower(x), self.box_tower(x)
            raw = self.box_pred(self.box_conv(about_boxes)) * self.scales[i]
            # In float32, since a power of e may pass the range of float16.
            distances = raw.float().exp() * self._reach[i]
            fixed = distances.detach()
            moves = star_offsets(torch.lerp(fixed, distances, _PASSED_ON) / self._strides[i])
            moves = moves.to(about_boxes.dtype)
            factor = self.box_refine(self.box_star(about_boxes, moves).relu())
            factor = (factor * self.refine_scales[i]).float().exp()
            logits.append(self.cls_score(self.cls_star(about_classes, moves).relu()))
            refined.append(factor * fixed)
            first.append(distances)
        return logits, refined, first


def star_offsets(distances: Tensor) -> Tensor:
    """Move the nine taps of a 3 x 3 convolution to the centre, sides and corners of a box.

    Args:
        distances: (N, 4, H, W) float, from the cell to left, upper, right and lower side, in cells.

    Returns:
        (N, 18, H, W): (y, x) of each tap, row by row, from where it is in a plain convolution.
    """
    left, top, right, low = distances.unbind(dim=1)
    nothing = torch.zeros_like(left)
    rows, columns = (-top, nothing, low), (-left, nothing, right)
    moves = []
    for i, y in enumerate(rows, start=-1):
        for j, x in enumerate(columns, start=-1):
            moves += [y - i, x - j]
    return torch.stack(moves, dim=1)
