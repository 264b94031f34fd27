"""The contract that every backbone keeps."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from d2lite.layers import ShapeSpec

__all__ = ["Backbone"]


class Backbone(nn.Module, ABC):
    """A network from images to named feature maps.

    A subclass lists its maps in `_out_features` and their sizes in `_out_feature_channels` and
    `_out_feature_strides` (dicts by name), or overrides `output_shape`.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps.

        Args:
            x: (N, C, H, W) float, normalised images.

        Returns:
            name -> (N, channels, H / stride, W / stride), names as in `output_shape`.
        """

    @property
    def size_divisibility(self) -> int:
        """Image height and width must be multiples of this; 0 where any size will do."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """More wishes about the padded size: `size_divisibility`, `square_size` (pixels)."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map, by name."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }
