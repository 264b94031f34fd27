"""Where a mask head looks points up, and how it refines a mask."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from d2lite.layers import ShapeSpec
from d2lite.structures import Boxes
from d2lite.utils.errors import ConfigError

from .point_features import point_sample_fine_grained_features, sample_rows

Regions = Sequence[Boxes] | Tensor
"""The boxes of each image; or, in the fixed-size form, (R, 5) rows of (image, x0, y0, x1, y1)."""


class PointMaps(NamedTuple):
    """The maps of the backbone that points are looked up in.

    Attributes:
        names: of the maps.
        scales: 1 / stride of each.
        channels: of all together.
    """

    names: list[str]
    scales: list[float]
    channels: int

    @classmethod
    def of(cls, names: Sequence[str], input_shape: dict[str, ShapeSpec]) -> "PointMaps":
        """The maps of these names (IN_FEATURES).

        Raises:
            ConfigError: if the head is given no map of such a name.
        """
        missing = [name for name in names if name not in input_shape]
        if missing:
            raise ConfigError(
                f"PointRend is to sample {missing}, but gets the maps {list(input_shape)}. Name "
                "some of these in MODEL.ROI_MASK_HEAD.IN_FEATURES and MODEL.POINT_HEAD.IN_FEATURES "
                "(MODEL.ROI_HEADS.IN_FEATURES has them all)."
            )
        shapes = [input_shape[name] for name in names]
        scales = [1.0 / shape.stride for shape in shapes]
        return cls(list(names), scales, sum(shape.channels for shape in shapes))

    def sample(self, features: dict[str, Tensor], boxes: Regions, point_coords: Tensor) -> Tensor:
        """(R, channels, P) features at the (R, P, 2) points of the boxes."""
        maps = [features[name] for name in self.names]
        if isinstance(boxes, Tensor):
            return sample_rows(maps, self.scales, boxes, point_coords)
        return point_sample_fine_grained_features(maps, self.scales, boxes, point_coords)[0]


class Subdivision(NamedTuple):
    """How a mask is refined at inference.

    Attributes:
        side: cells along a side of the first mask, all of which are predicted.
        steps: how often the side is doubled afterwards.
        num_points: how many cells are predicted again each time.
    """

    side: int
    steps: int
    num_points: int
