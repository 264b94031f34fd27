"""The receptive field block and the pyramid of poolings against their definitions, cell by cell."""

import numpy as np
import pytest
import torch

from d2lite.layers import PoolPyramid, ReceptiveFieldBlock

from .test_attention import filled

X = torch.randn(2, 4, 6, 7, generator=torch.Generator().manual_seed(1))


def _convolved(x, weight, bias, gap=1):
    """Each cell: the sum over a square of cells, `gap` apart, with zeros around the map."""
    height, width = x.shape[2:]
    half = weight.shape[2] // 2 * gap
    padded = np.pad(x, [(0, 0), (0, 0), (half, half), (half, half)])
    found = np.zeros((len(x), len(weight), height, width))
    for row in range(weight.shape[2]):
        for column in range(weight.shape[3]):
            top, left = row * gap, column * gap
            part = padded[:, :, top : top + height, left : left + width]
            found += np.einsum("nchw,oc->nohw", part, weight[:, :, row, column])
    return found + bias[:, None, None]


def _numbers(layer):
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()


def test_receptive_field_block_adds_what_three_branches_see():
    """Source: arXiv:1711.07767, section 3.2: sizes 1, 3, 5 and gaps as large."""
    layer = filled(ReceptiveFieldBlock(4, ratio=0.5))
    x, seen = X.double().numpy(), []
    for gap, stacked, branch in zip((1, 3, 5), (0, 1, 2), layer.branches, strict=True):
        *steps, last = branch
        assert [step.conv.kernel_size[0] for step in steps] == [1, *[3] * stacked]
        part = x
        for step in steps:
            part = np.maximum(_convolved(part, *_numbers(step.conv)), 0)
        seen.append(_convolved(part, *_numbers(last), gap=gap))
    wanted = x + 0.1 * _convolved(np.concatenate(seen, axis=1), *_numbers(layer.out))
    np.testing.assert_allclose(layer(X).detach().numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_receptive_field_block_starts_with_nothing():
    assert torch.equal(ReceptiveFieldBlock(8)(torch.ones(1, 8, 3, 3)), torch.ones(1, 8, 3, 3))


@pytest.mark.parametrize("windows", [(3, 5), (5, 9, 13)])
def test_pyramid_joins_maxima_over_windows(windows):
    """Source: arXiv:1406.4729, with windows that keep the size of the map."""
    layer = filled(PoolPyramid(4, "", windows))

    def step(part, conv):
        out = _convolved(part, *_numbers(conv))
        return out / (1 + np.exp(-out))

    x = step(X.double().numpy(), layer.conv1.conv)
    pooled = [np.zeros_like(x) for _ in windows]
    for size, part in zip(windows, pooled, strict=True):
        for row, column in np.ndindex(*x.shape[2:]):
            low, left = max(row - size // 2, 0), max(column - size // 2, 0)
            window = x[:, :, low : row + size // 2 + 1, left : column + size // 2 + 1]
            part[:, :, row, column] = window.max(axis=(2, 3))
    wanted = step(np.concatenate([x, *pooled], axis=1), layer.conv2.conv)
    np.testing.assert_allclose(layer(X).detach().numpy(), wanted, rtol=1e-4, atol=1e-4)
