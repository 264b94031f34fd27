"""Two channels with the position of each pixel (CoordConv, Liu et al. 2018)."""

import torch
from torch import Tensor


def append_coords(features: Tensor) -> Tensor:
    """Append the x and the y of every pixel as two more channels.

    Args:
        features: (N, C, H, W) float.

    Returns:
        (N, C + 2, H, W): the last two channels run from -1 at the first column (row) to 1 at the
        last; a single column (row) is at -1.
    """
    num_images, _, height, width = features.shape
    x = torch.linspace(-1, 1, width, dtype=features.dtype, device=features.device)
    y = torch.linspace(-1, 1, height, dtype=features.dtype, device=features.device)
    return torch.cat(
        [
            features,
            x.expand(num_images, 1, height, width),
            y[:, None].expand(num_images, 1, height, width),
        ],
        dim=1,
    )
