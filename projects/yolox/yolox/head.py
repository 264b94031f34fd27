"""The head of YOLOX: classes, a box and whether there is an object, of each cell.

N images, C classes, Hi x Wi cells of level i.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from d2lite.layers import ShapeSpec
from d2lite.modeling.weight_init import prior_fill

from .darknet import conv_layer, published_norm

# Share of cells that are an object at the start.
_PRIOR = 0.01


class DensePredictions(NamedTuple):
    """What the head predicts for the cells of each level.

    logits: (N, C, Hi, Wi) of the classes.
    deltas: (N, 4, Hi, Wi): the box's centre from the cell's corner, and the logarithm of its
        width and height, in strides.
    objectness: (N, 1, Hi, Wi), logits.
    """

    logits: list[Tensor]
    deltas: list[Tensor]
    objectness: list[Tensor]


class YOLOXHead(nn.Module):
    """Two towers for each level: one for the classes, one for the box and the object.

    Args:
        input_shape: of each level.
        num_classes: C.
        channels: of the towers.
        num_convs: of each tower.
        norm: see `get_norm`.
        depthwise: whether the towers' convolutions are separable.

    Source: Ge 2021, arXiv:2107.08430, section 2.1.
    """

    def __init__(
        self,
        input_shape: Sequence[ShapeSpec],
        *,
        num_classes: int,
        channels: int,
        num_convs: int,
        norm: str,
        depthwise: bool,
    ) -> None:
        super().__init__()
        self.strides = [shape.stride for shape in input_shape]
        conv = conv_layer(published_norm(norm), depthwise)

        def towers() -> nn.ModuleList:
            widths = [[shape.channels, *[channels] * (num_convs - 1)] for shape in input_shape]
            return nn.ModuleList(
                nn.Sequential(*(conv(width, channels, 3) for width in of_level))
                for of_level in widths
            )

        def outputs(size: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(channels, size, 1) for _ in input_shape)

        self.cls_convs, self.reg_convs = towers(), towers()
        self.cls_preds, self.reg_preds, self.obj_preds = (
            outputs(num_classes),
            outputs(4),
            outputs(1),
        )
        for layer in (*self.cls_preds, *self.obj_preds):
            prior_fill(layer, _PRIOR)

    def forward(self, features: Sequence[Tensor]) -> DensePredictions:
        """Predict from one (N, channels, Hi, Wi) a level."""
        about_classes = [tower(x) for tower, x in zip(self.cls_convs, features, strict=True)]
        about_boxes = [tower(x) for tower, x in zip(self.reg_convs, features, strict=True)]
        return DensePredictions(
            [layer(x) for layer, x in zip(self.cls_preds, about_classes, strict=True)],
            [layer(x) for layer, x in zip(self.reg_preds, about_boxes, strict=True)],
            [layer(x) for layer, x in zip(self.obj_preds, about_boxes, strict=True)],
        )
