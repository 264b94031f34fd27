"""FastRCNNConvFCHead: convolutions, then fully connected layers, on the features of a region."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ConfigError

from ..weight_init import conv_relu, msra_fill, xavier_fill
from .build import ROI_BOX_HEAD_REGISTRY, build_box_head

__all__ = ["ROI_BOX_HEAD_REGISTRY", "FastRCNNConvFCHead", "build_box_head"]


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(nn.Sequential):
    """Some 3 x 3 convolutions, then some fully connected layers, each with a ReLU.

    Args:
        input_shape: channels, height and width of a region's features.
        conv_dims: channels of each convolution.
        fc_dims: channels of each fully connected layer.
        conv_norm: a name or a callable for `get_norm`.

    Raises:
        ConfigError: without any layer.
    """

    __jit_unused_properties__: ClassVar[list[str]] = ["output_shape"]

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dims: Sequence[int],
        fc_dims: Sequence[int],
        conv_norm: Norm = "",
    ) -> None:
        super().__init__()
        if not conv_dims and not fc_dims:
            raise ConfigError(
                "The box head has no layer. Set MODEL.ROI_BOX_HEAD.NUM_FC (2 with FPN) or NUM_CONV."
            )
        shape = input_shape
        for number, channels in enumerate(conv_dims, start=1):
            self.add_module(f"conv{number}", conv_relu(shape.channels, channels, conv_norm))
            shape = ShapeSpec(channels=channels, height=shape.height, width=shape.width)
        for number, channels in enumerate(fc_dims, start=1):
            if number == 1:
                self.add_module("flatten", nn.Flatten())
            self.add_module(f"fc{number}", nn.Linear(_num_values(shape), channels))
            self.add_module(f"fc_relu{number}", nn.ReLU())
            shape = ShapeSpec(channels=channels)
        self._output_shape = shape
        # Heads written for detectron2 walk through these two lists in a `forward` of their own.
        self.conv_norm_relus = [layer for layer in self if isinstance(layer, nn.Conv2d)]
        self.fcs = [layer for layer in self if isinstance(layer, nn.Linear)]
        # After all layers are made, so that a seed gives the same start values as in detectron2.
        for convolution in self.conv_norm_relus:
            msra_fill(convolution)
        for linear in self.fcs:
            xavier_fill(linear)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_BOX_HEAD`."""
        node = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [node.CONV_DIM] * node.NUM_CONV,
            "fc_dims": [node.FC_DIM] * node.NUM_FC,
            "conv_norm": node.NORM,
        }

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, H, W) -> (R, fc_dims[-1]), or (R, conv_dims[-1], H, W) without such layers."""
        for layer in self:
            x = layer(x)
        return x

    @property
    def output_shape(self) -> ShapeSpec:
        """Of one region; height and width are None after a fully connected layer."""
        return self._output_shape


def _num_values(shape: ShapeSpec) -> int:
    return shape.channels * (shape.height or 1) * (shape.width or 1)
