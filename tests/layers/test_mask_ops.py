"""Pasting of masks, against its definition by grid sampling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from d2lite.layers import mask_ops, paste_masks_in_image
from d2lite.layers.mask_ops import _do_paste_mask, pad_masks, paste_mask_in_image_old, scale_boxes
from d2lite.structures import Boxes


def by_grid_sample(masks: torch.Tensor, boxes: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """The probability at each pixel's centre: zeros outside, half-pixel convention."""
    x0, y0, x1, y1 = (v[:, None] for v in boxes.unbind(1))
    x = ((torch.arange(w) + 0.5) - x0) / (x1 - x0) * 2 - 1
    y = ((torch.arange(h) + 0.5) - y0) / (y1 - y0) * 2 - 1
    n = len(masks)
    grid = torch.stack([x[:, None].expand(n, h, w), y[:, :, None].expand(n, h, w)], 3)
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]


def case(count: int, cells: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-15, 45, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.5, 70, (count, 2))], axis=1)
    return torch.from_numpy(rng.uniform(0, 1, (count, cells, cells))).float(), torch.from_numpy(
        boxes
    ).float()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 28))
def test_pasting_is_grid_sampling(seed, cells):
    masks, boxes = case(4, cells, seed)
    expected = by_grid_sample(masks, boxes, 40, 50)
    clear = (expected - 0.5).abs() > 1e-4
    found = paste_masks_in_image(masks, boxes, (40, 50))
    assert found.dtype == torch.bool
    assert (found == (expected >= 0.5))[clear].all()
    levels = paste_masks_in_image(masks, boxes, (40, 50), threshold=-1)
    assert levels.dtype == torch.uint8
    assert (levels.float() - expected * 255).abs().max() <= 1.01


def test_full_size_batches_give_what_regions_give(monkeypatch):
    """The way of accelerators, two images at a time."""
    masks, boxes = case(5, 14, 3)
    monkeypatch.setattr(mask_ops, "GPU_MEM_LIMIT", 2 * 40 * 50 * 4)
    pasted = torch.zeros(5, 40, 50, dtype=torch.bool)
    mask_ops._paste_full_size(masks, boxes, 0.5, pasted)
    assert pasted.equal(paste_masks_in_image(masks, Boxes(boxes), (40, 50)))


def test_box_without_area_or_off_the_image_pastes_nothing():
    boxes = torch.tensor([[5.0, 5, 5, 5], [90, 90, 99, 99], [7, 7, 3, 9], [0, 0, torch.inf, 4]])
    masks = torch.ones(4, 3, 3)
    assert not paste_masks_in_image(masks, boxes, (20, 30)).any()
    pasted = torch.zeros(2, 20, 30, dtype=torch.bool)
    mask_ops._paste_full_size(masks[:2], boxes[:2], 0.5, pasted)
    assert not pasted.any()


def test_no_masks_give_an_empty_stack_of_the_right_kind():
    empty = paste_masks_in_image(torch.zeros(0, 28, 28), torch.zeros(0, 4), (20, 30))
    assert empty.shape == (0, 20, 30)
    assert empty.dtype == torch.bool


def test_full_mask_covers_just_its_box():
    pasted = paste_masks_in_image(torch.ones(1, 7, 7), torch.tensor([[3.0, 2, 8, 6]]), (10, 10))[0]
    assert pasted.sum() == 20
    assert pasted[2:6, 3:8].all()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_pastes_any_number_of_masks():
    """Where the boxes are is data, which a trace must not hold."""
    traced = torch.jit.trace(
        lambda masks, boxes: paste_masks_in_image(masks, boxes, (20, 30), 0.5),
        case(2, 7, 0),
        check_trace=False,
    )
    masks, boxes = case(3, 7, 1)
    assert traced(masks, boxes).equal(paste_masks_in_image(masks, boxes, (20, 30), 0.5))


def test_misfits_are_refused():
    with pytest.raises(ValueError, match=r"masks have shape \[1, 7, 6\]"):
        paste_masks_in_image(torch.ones(1, 7, 6), torch.zeros(1, 4), (9, 9))
    with pytest.raises(ValueError, match=r"2 masks came with boxes of shape \[1, 4\]; give \(2, 4"):
        paste_masks_in_image(torch.ones(2, 7, 7), torch.zeros(1, 4), (9, 9))


def test_old_pasting_spans_first_and_last_pixel():
    canvas = paste_mask_in_image_old(torch.ones(4, 4), torch.tensor([-2.0, 1, 3.9, 4]), 8, 9, 0.5)
    assert canvas.dtype == torch.uint8
    assert canvas.sum() == 4 * 4
    assert canvas[1:5, :4].all()


def test_padded_masks_on_scaled_boxes_paste_the_same():
    masks, boxes = case(3, 10, 5)
    padded, scale = pad_masks(masks, 1)
    assert padded.shape == (3, 12, 12)
    found = paste_masks_in_image(padded, scale_boxes(boxes, scale), (40, 50), -1)
    expected = paste_masks_in_image(masks, boxes, (40, 50), -1)
    assert (found.int() - expected.int()).abs().max() <= 1


def test_probabilities_come_with_the_rectangle_they_are_for():
    masks, boxes = case(3, 7, 5)
    expected = by_grid_sample(masks, boxes, 40, 50)
    whole, place = _do_paste_mask(masks[:, None], boxes, 40, 50, skip_empty=False)
    assert place == ()
    torch.testing.assert_close(whole, expected, rtol=0, atol=1e-4)
    boxes = torch.tensor([[5.0, 6, 9, 12], [8, 10, 20, 30]])
    part, (rows, columns) = _do_paste_mask(masks[:2, None], boxes, 40, 50)
    assert (rows, columns) == (slice(5, 31), slice(4, 21))
    whole, _ = _do_paste_mask(masks[:2, None], boxes, 40, 50, skip_empty=False)
    torch.testing.assert_close(part, whole[:, rows, columns])
    assert not whole[:, :5].any()
