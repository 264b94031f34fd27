"""Boxes by their four sides, against loops and as a way there and back."""

import pytest
import torch

from d2lite.modeling.box_sides import Box2BoxTransformTBLR
from d2lite.utils.errors import ArgumentError

CELLS = torch.tensor([[4.0, 4, 12, 12], [-8, 8, 8, 24], [30, 10, 62, 42]])
BOXES = torch.tensor([[1.0, 2, 20, 15], [-30, 0, 9, 99], [40, 20, 90, 60]])


def test_distances_are_top_bottom_left_and_right_in_strides_over_the_number():
    found = Box2BoxTransformTBLR(normalizer=3.0).get_deltas(CELLS, BOXES)
    for row, (cell, box) in enumerate(zip(CELLS.tolist(), BOXES.tolist(), strict=True)):
        x, y, stride = (cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2, cell[2] - cell[0]
        wanted = [y - box[1], box[3] - y, x - box[0], box[2] - x]
        assert found[row].tolist() == pytest.approx([side / stride / 3.0 for side in wanted])


def test_distances_give_their_boxes_again_also_several_of_a_cell():
    transform = Box2BoxTransformTBLR()
    deltas = transform.get_deltas(CELLS, BOXES)
    torch.testing.assert_close(transform.apply_deltas(deltas, CELLS), BOXES)
    twice = transform.apply_deltas(torch.cat((deltas, deltas), dim=1), CELLS)
    torch.testing.assert_close(twice, torch.cat((BOXES, BOXES), dim=1))


def test_negative_distances_count_as_0():
    found = Box2BoxTransformTBLR().apply_deltas(torch.tensor([[-1.0, 1, 0.5, -2]]), CELLS[:1])
    assert found.tolist() == [[8 - 0.5 * 8 * 4, 8, 8, 8 + 1 * 8 * 4]]


def test_another_number_of_rows_is_refused():
    with pytest.raises(ArgumentError, match="one row a box"):
        Box2BoxTransformTBLR().apply_deltas(torch.zeros(2, 4), CELLS)
