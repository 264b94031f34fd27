"""Boxes of queries: forms, refinement, and those that the first predictions start from."""

import math

import torch

from d2lite.modeling.transformer import (
    cell_boxes,
    cxcywh_to_xyxy,
    inverse_sigmoid,
    place_logits,
    refine_boxes,
    usable_cells,
    xyxy_to_cxcywh,
)


def test_inverse_sigmoid_is_the_logit_and_stays_finite_at_both_ends():
    values = torch.tensor([-0.5, 0.0, 0.25, 1.0, 2.0])
    found = inverse_sigmoid(values)
    limit = math.log(1 / 1e-5)
    expected = torch.tensor([-limit, -limit, math.log(0.25 / 0.75), limit, limit])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_change_of_zero_leaves_boxes_where_they_are():
    boxes = torch.rand(2, 3, 4) * 0.9 + 0.05
    torch.testing.assert_close(refine_boxes(boxes, torch.zeros(2, 3, 4)), boxes)
    moved = refine_boxes(boxes, torch.ones(2, 3, 4, dtype=torch.bfloat16))
    assert moved.dtype == torch.float32
    assert (moved > boxes).all()


def test_both_forms_of_boxes_are_each_others_inverse():
    boxes = torch.tensor([[0.5, 0.4, 0.2, 0.6]])
    corners = cxcywh_to_xyxy(boxes)
    torch.testing.assert_close(corners, torch.tensor([[0.4, 0.1, 0.6, 0.7]]))
    torch.testing.assert_close(xyxy_to_cxcywh(corners), boxes)
    assert cxcywh_to_xyxy(torch.zeros(0, 4)).shape == (0, 4)


def test_first_boxes_are_squares_at_cell_centers_that_double_from_map_to_map():
    found = cell_boxes([(1, 2), (1, 1)])
    expected = [[0.25, 0.5, 0.05, 0.05], [0.75, 0.5, 0.05, 0.05], [0.5, 0.5, 0.1, 0.1]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_queries_do_not_start_in_the_padding_nor_at_the_border():
    boxes = torch.tensor([[0.5, 0.5, 0.1, 0.1], [0.005, 0.5, 0.1, 0.1], [0.5, 0.995, 0.1, 0.1]])
    assert usable_cells(boxes, None).tolist() == [True, False, False]
    hidden = torch.tensor([[False, False, False], [True, False, False]])
    usable = usable_cells(boxes, hidden)
    assert usable.tolist() == [[True, False, False], [False, False, False]]
    logits = place_logits(boxes, usable)
    torch.testing.assert_close(logits[0, 0].sigmoid(), boxes[0])
    assert (logits[~usable].sigmoid() == 1).all()
