"""The anchors of SSD: two squares and some longish boxes of the same area around every cell."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from d2lite.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY, DefaultAnchorGenerator
from d2lite.utils.errors import ConfigError


@ANCHOR_GENERATOR_REGISTRY.register()
class SSDAnchorGenerator(DefaultAnchorGenerator):
    """Of each level: `SIZES` has the least size and that of the next level, `ASPECT_RATIOS` ratios.

    Arguments as of `DefaultAnchorGenerator`.

    Source: Liu 2016, arXiv:1512.02325, section 2.2.
    """

    def generate_cell_anchors(
        self, sizes: Sequence[float] = (30, 60), aspect_ratios: Sequence[float] = (2, 3)
    ) -> Tensor:
        """Make the anchors around the point (0, 0).

        Args:
            sizes: the side of the small square in pixels, and of the one of the next level; the
                large square's area is their product.
            aspect_ratios: of the longer to the shorter side; each gives a wide and a high box of
                the small square's area.

        Returns:
            (2 + 2 * len(aspect_ratios), 4) float32, xyxy: squares first, a wide box before a high.

        Raises:
            ConfigError: for another number of sizes than two.
        """
        if len(sizes) != 2:
            raise ConfigError(
                f"MODEL.ANCHOR_GENERATOR.SIZES has {list(sizes)} for a map; SSD's anchors need the "
                "size of the map and that of the next one."
            )
        side = sizes[0]
        large = math.sqrt(side * sizes[1])
        shapes = [(side, side), (large, large)]
        for ratio in aspect_ratios:
            long, short = side * math.sqrt(ratio), side / math.sqrt(ratio)
            shapes += [(long, short), (short, long)]
        return torch.tensor([(-w / 2, -h / 2, w / 2, h / 2) for w, h in shapes])
