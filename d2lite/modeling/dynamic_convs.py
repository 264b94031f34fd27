"""Dynamic convolutions: each object has 1 x 1 convolutions of its own over features of the image.

D objects, P channels of the features, H x W cells.

Source: Tian 2020 (CondInst), arXiv:2003.05664.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

# The way to an object's point is divided by so many strides of the object's level.
_REACH = 8


def kernel_sizes(widths: Sequence[int]) -> tuple[list[int], list[int]]:
    """Numbers of the weights and of the biases of an object's convolutions.

    Args:
        widths: channels of the input, and of the output of each convolution.
    """
    return [before * after for before, after in pairwise(widths)], list(widths[1:])


def with_ways(
    features: Tensor, points: Tensor, strides: Tensor, stride: int, shift: float = 0.0
) -> Tensor:
    """Features of the image, preceded by the way from each cell to the point of each object.

    Args:
        features: (P, H, W) of the image, or (D, P, H, W).
        points: (D, 2) float (x, y) in pixels.
        strides: (D,) float, of the objects' levels; a way is in units of eight of these.
        stride: pixels between the cells of the features.
        shift: where in a cell its own point is, in pixels.

    Returns:
        (D, 2 + P, H, W).
    """
    height, width = features.shape[-2:]
    x, y = (torch.arange(n, device=points.device) * stride + shift for n in (width, height))
    cells = torch.stack(torch.meshgrid(x, y, indexing="xy")).to(points.dtype)
    reach = (strides * _REACH)[:, None, None, None]
    ways = ((points[:, :, None, None] - cells) / reach).to(features.dtype)
    return torch.cat([ways, features.expand(points.shape[0], -1, -1, -1)], dim=1)


def run_dynamic(values: Tensor, kernels: Tensor, widths: Sequence[int]) -> Tensor:
    """Run the convolutions of each object, with a ReLU between them.

    Args:
        values: (D, widths[0], H, W).
        kernels: (D, K): all weights (of the outputs in turn), then all biases; see
            `kernel_sizes`.
        widths: see `kernel_sizes`.

    Returns:
        (D, widths[-1], H, W).
    """
    height, width = values.shape[-2:]
    weights, biases = kernel_sizes(widths)
    parts = kernels.to(values.dtype).split([*weights, *biases], dim=1)
    values = values.flatten(2)
    count = len(biases)
    for number, (weight, bias) in enumerate(zip(parts[:count], parts[count:], strict=True)):
        layer = weight.unflatten(1, (bias.shape[1], -1))
        values = torch.baddbmm(bias[:, :, None], layer, values)
        if number < count - 1:
            values = values.relu()
    return values.unflatten(2, (height, width))
