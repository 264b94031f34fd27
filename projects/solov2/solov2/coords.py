"""Two channels with the position of each pixel (CoordConv, Liu et al. 2018)."""

import torch
from torch import Tensor

from d2lite.utils.tracing import is_tracing


def append_coords(features: Tensor) -> Tensor:
    """Append the x and the y of every pixel as two more channels.

    Args:
        features: (N, C, H, W) float.

    Returns:
        (N, C + 2, H, W): the last two channels run from -1 at the first column (row) to 1 at the
        last; a single column (row) is at -1.
    """
    num_images, _, height, width = features.shape
    x, y = _places(width, features), _places(height, features)
    return torch.cat(
        [
            features,
            x.expand(num_images, 1, height, width),
            y[:, None].expand(num_images, 1, height, width),
        ],
        dim=1,
    )


def _places(count: int, like: Tensor) -> Tensor:
    """(count,) from -1 to 1."""
    if is_tracing():
        # linspace looks at the number of its steps, which an export does not know.
        cells = torch.arange(count, dtype=like.dtype, device=like.device)
        return cells * (2 / cells[-1:].clamp(min=1)) - 1
    return torch.linspace(-1, 1, count, dtype=like.dtype, device=like.device)
