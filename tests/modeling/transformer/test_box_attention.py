"""Attention around boxes against loops over queries, heads and places in numpy."""

import numpy as np
import pytest
import torch

from d2lite.modeling.transformer import BoxAttention, deformable_attention

SHAPES = [(4, 6), (2, 3)]
CELLS = sum(height * width for height, width in SHAPES)
POINTS = [3, 1]


def _value_at(grid, x, y, is_discrete):
    height, width = grid.shape[:2]
    if is_discrete:
        column = min(max(int(np.floor(x * width)), 0), width - 1)
        row = min(max(int(np.floor(y * height)), 0), height - 1)
        return grid[row, column]
    total = np.zeros(grid.shape[2])
    x, y = x * width - 0.5, y * height - 0.5
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * grid[row, column]
    return total


def _definition(attention, queries, boxes, maps, *, is_discrete):
    """The layer, written out; without projections."""
    heads, places = attention.heads, sum(POINTS)
    offsets = attention.sampling_offsets(queries).detach().numpy()
    weights = attention.attention_weights(queries).detach().numpy()
    out = np.zeros(queries.shape)
    for n, q, m in np.ndindex(*queries.shape[:2], heads):
        logits = weights[n, q].reshape(heads, places)[m]
        shares = np.exp(logits) / np.exp(logits).sum()
        cx, cy, w, h = boxes[n, q].numpy()
        place, start = 0, 0
        for (height, width), number in zip(SHAPES, POINTS, strict=True):
            cells = maps[n, start : start + height * width].numpy()
            grid = cells.reshape(height, width, heads, -1)[:, :, m]
            for _ in range(number):
                dx, dy = offsets[n, q].reshape(heads, places, 2)[m, place]
                x, y = cx + dx / number * 0.5 * w, cy + dy / number * 0.5 * h
                part = out[n, q].reshape(heads, -1)[m]
                part += shares[place] * _value_at(grid, x, y, is_discrete)
                place += 1
            start += height * width
    return out


@pytest.mark.parametrize("method", ["default", "discrete"])
def test_it_is_the_definition(method):
    """Also where places are beyond the border, and with another number of places in each map."""
    torch.manual_seed(0)
    attention = BoxAttention(8, 2, POINTS, method=method, has_projections=False).double()
    for layer in (attention.sampling_offsets, attention.attention_weights):
        torch.nn.init.normal_(layer.weight)
    queries = torch.randn(2, 5, 8, dtype=torch.float64)
    boxes = torch.rand(2, 5, 4, dtype=torch.float64)
    maps = torch.randn(2, CELLS, 8, dtype=torch.float64)
    found = attention(queries, boxes, maps, SHAPES)
    expected = _definition(attention, queries, boxes, maps, is_discrete=method == "discrete")
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)


def test_places_start_inside_or_at_the_edge_of_the_box_in_all_maps():
    """The farthest place of each map is half a side away, however many there are."""
    attention = BoxAttention(16, 8, [4, 2])
    steps = attention.sampling_offsets.bias.view(8, 6, 2) * attention.scale
    farthest = steps.abs().amax(dim=(0, 2))
    torch.testing.assert_close(farthest, torch.tensor([0.125, 0.25, 0.375, 0.5, 0.25, 0.5]))


def test_discrete_attention_takes_the_nearest_cell_beyond_the_border():
    values = torch.arange(4.0).view(1, 4, 1, 1)
    places = torch.tensor([[-1.0, -1.0], [2.0, 2.0], [1.0, 0.0]]).view(1, 3, 1, 1, 2)
    weights = torch.ones(1, 3, 1, 1)
    found = deformable_attention(values, [(2, 2)], [places], [weights], is_discrete=True)
    assert found.flatten().tolist() == [0.0, 3.0, 1.0]


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="10 channels do not divide over 4 heads"):
        BoxAttention(10, 4, [4])
    with pytest.raises(ValueError, match="METHOD='fast'"):
        BoxAttention(8, 4, [4], method="fast")


def test_half_precision_leaves_places_in_full_precision():
    """A bfloat16 place is wrong by pixels in an image of 640."""
    attention = BoxAttention(8, 2, POINTS)
    queries, maps = torch.randn(1, 3, 8), torch.randn(1, CELLS, 8)
    boxes = torch.rand(1, 3, 4)
    full = attention(queries, boxes, maps, SHAPES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = attention(queries, boxes, maps, SHAPES)
    torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0.05)
