"""Deformable attention against loops over queries, heads, maps and points in numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from d2lite.modeling.transformer import (
    BoxAttention,
    MultiScaleDeformableAttention,
    cell_centers,
    deformable_attention,
)

SHAPES = [(3, 4), (2, 2), (1, 5)]
CELLS = sum(h * w for h, w in SHAPES)


def _interpolated(grid: np.ndarray, x: float, y: float) -> np.ndarray:
    """(H, W, D) at a place in cells, whose centres are at halves; zeros outside."""
    total = np.zeros(grid.shape[2])
    left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]:
                near = (1 - abs(y - 0.5 - row)) * (1 - abs(x - 0.5 - column))
                total += near * grid[row, column]
    return total


def _definition(values, places, weights):
    batch, queries, heads, _, points, _ = places.shape
    out = np.zeros((batch, queries, heads, values.shape[3]))
    starts = np.cumsum([0] + [h * w for h, w in SHAPES])
    for n, q, m, p in np.ndindex(batch, queries, heads, points):
        for level, (h, w) in enumerate(SHAPES):
            grid = values[n, starts[level] : starts[level + 1], m].reshape(h, w, -1)
            x, y = places[n, q, m, level, p] * [w, h]
            out[n, q, m] += weights[n, q, m, level, p] * _interpolated(grid, x, y)
    return out.reshape(batch, queries, -1)


def test_it_is_the_weighted_sum_of_interpolated_values():
    """Also at places on and beyond the border."""
    values = torch.randn(2, CELLS, 2, 3, dtype=torch.float64)
    places = torch.rand(2, 4, 2, 3, 2, 2, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(2, 4, 2, 3, 2, dtype=torch.float64)
    found = deformable_attention(values, SHAPES, places.unbind(3), weights.unbind(3))
    expected = _definition(values.numpy(), places.numpy(), weights.numpy())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_no_query_gives_no_row():
    found = deformable_attention(
        torch.randn(1, CELLS, 2, 3),
        SHAPES,
        [torch.zeros(1, 0, 2, 4, 2)] * 3,
        [torch.zeros(1, 0, 2, 4)] * 3,
    )
    assert found.shape == (1, 0, 6)


def test_cells_that_do_not_make_up_the_maps_are_refused():
    with pytest.raises(ValueError, match=r"7 cells, but maps of \[\(3, 4\)"):
        deformable_attention(
            torch.zeros(1, 7, 1, 4),
            SHAPES,
            [torch.zeros(1, 1, 1, 1, 2)] * 3,
            [torch.zeros(1, 1, 1, 1)] * 3,
        )


def test_gradients_are_those_of_differences():
    values = torch.randn(1, CELLS, 1, 2, dtype=torch.float64, requires_grad=True)
    places = torch.rand(1, 2, 1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, 2, 1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v, p, w: deformable_attention(v, SHAPES, p.unbind(3), w.unbind(3)),
        (values, places, weights),
    )


def test_offsets_of_the_module_are_cells_of_each_map():
    """A head that looks one cell to the right sees the right neighbour in every map."""
    attention = MultiScaleDeformableAttention(4, levels=2, heads=1, points=1).eval()
    shapes = [(2, 4), (2, 2)]
    maps = torch.randn(1, 12, 4)
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(torch.tensor([1.0, 0.0, 1.0, 0.0]))
        for layer in (attention.value_proj, attention.output_proj):
            layer.weight.copy_(torch.eye(4))
        found = attention(torch.zeros(1, 1, 4), cell_centers(*shapes[0])[:1], maps, shapes)[0, 0]
    # The place (0.125, 0.25) is in column -0.25 of the small map, counted from centres, so that
    # one cell to the right of it is column 0.75 of row 0.
    expected = (maps[0, 1] + 0.25 * maps[0, 8] + 0.75 * maps[0, 9]) / 2
    torch.testing.assert_close(found, expected)


def test_heads_start_in_eight_directions():
    """On the border of squares of 1, 2, ... cells; weights start equal."""
    attention = MultiScaleDeformableAttention(16, levels=2, heads=8, points=2)
    bias = attention.sampling_offsets.bias.view(8, 2, 2, 2)
    directions = [[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]]
    expected = torch.tensor(directions, dtype=torch.float32)
    for level in range(2):
        torch.testing.assert_close(bias[:, level, 0], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(bias[:, level, 1], 2 * expected, atol=1e-5, rtol=0)
    assert not attention.attention_weights.weight.any()


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="10 channels do not divide over 4 heads"):
        MultiScaleDeformableAttention(10, levels=1, heads=4, points=1)


def test_offsets_around_boxes_are_in_units_of_half_a_box():
    """As `BoxAttention` has them, with the same weights; another box for each map is possible."""
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(8, levels=2, heads=2, points=3)
    around = BoxAttention(8, 2, [3, 3])
    around.load_state_dict(attention.state_dict())
    shapes = [(4, 6), (2, 3)]
    queries, boxes, maps = torch.randn(2, 5, 8), torch.rand(2, 5, 4), torch.randn(2, 30, 8)
    found = attention(queries, boxes, maps, shapes)
    torch.testing.assert_close(found, around(queries, boxes, maps, shapes))
    of_maps = boxes[:, :, None].expand(-1, -1, 2, -1)
    torch.testing.assert_close(attention(queries, of_maps, maps, shapes), found)


def test_cells_of_the_padding_have_the_value_zero():
    """What the maps hold there does not matter, and neither does the bias of the projection."""
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(8, levels=1, heads=2, points=3)
    nn.init.normal_(attention.value_proj.bias)
    queries, places, maps = torch.randn(1, 4, 8), torch.rand(1, 4, 2), torch.randn(1, 12, 8)
    padding = torch.zeros(1, 12, dtype=torch.bool)
    padding[:, 6:] = True
    found = attention(queries, places, maps, [(3, 4)], padding)
    other = maps.clone()
    other[:, 6:] = 100.0
    assert torch.equal(attention(queries, places, other, [(3, 4)], padding), found)
    nothing = attention(queries, places, maps, [(3, 4)], torch.ones_like(padding))
    torch.testing.assert_close(nothing, attention.output_proj.bias.expand_as(nothing))
