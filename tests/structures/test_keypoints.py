"""Keypoints, to heatmaps and back."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from d2lite.structures import Keypoints, heatmaps_to_keypoints
from d2lite.structures import keypoints as keypoints_module
from d2lite.structures.keypoints import heatmaps_to_keypoints_padded


def test_keypoints_pick_join_and_move():
    points = Keypoints(np.zeros((2, 5, 3)))
    assert points.tensor.dtype == torch.float32
    assert points[0].tensor.shape == (1, 5, 3)
    assert len(points[torch.tensor([True, False])]) == 1
    assert len(Keypoints.cat([points, points[:1]])) == 3
    assert points.to("meta").device.type == "meta"
    assert repr(points) == "Keypoints(num_instances=2)"
    with pytest.raises(ValueError, match=r"Keypoints got shape \(2, 5\)"):
        Keypoints(torch.zeros(2, 5))


def test_cells_cover_the_box_and_its_far_border():
    box = torch.tensor([[10.0, 20, 30, 60]])
    places = [(10, 20, 2), (29.9, 20, 1), (30, 60, 2), (20, 40, 0), (31, 40, 2), (9.9, 40, 2)]
    cells, valid = Keypoints(torch.tensor([places])).to_heatmap(box, 10)
    assert cells.tolist() == [[0, 9, 99, 0, 0, 0]]
    assert valid.tolist() == [[1, 1, 1, 0, 0, 0]]
    assert cells.dtype == torch.int64


def test_keypoints_of_nobody_have_shapes():
    cells, valid = Keypoints(torch.zeros(0, 17, 3)).to_heatmap(torch.zeros(0, 4), 56)
    assert cells.shape == valid.shape == (0, 17)
    assert heatmaps_to_keypoints(torch.zeros(0, 17, 7, 7), torch.zeros(0, 4)).shape == (0, 17, 4)


@pytest.mark.parametrize("bytes_at_once", [1, 10**9])
def test_best_pixel_is_that_of_a_bicubic_stretch(bytes_at_once, monkeypatch):
    monkeypatch.setattr(keypoints_module, "_BYTES_AT_ONCE", bytes_at_once)
    torch.manual_seed(0)
    maps = torch.randn(6, 3, 9, 9)
    low = torch.rand(6, 2) * 50
    boxes = torch.cat([low, low + torch.rand(6, 2) * 40 + 0.2], dim=1)
    found = heatmaps_to_keypoints(maps, boxes)
    for heat, box, rows in zip(maps, boxes, found, strict=True):
        width, height = (box[2:] - box[:2]).clamp(min=1).tolist()
        size = (int(np.ceil(height)), int(np.ceil(width)))
        large = F.interpolate(heat[None], size, mode="bicubic", align_corners=False)[0]
        for kind in range(3):
            y, x = np.unravel_index(int(large[kind].argmax()), size)
            assert rows[kind, 0] == pytest.approx(
                box[0].item() + (x + 0.5) * width / size[1], abs=1e-4
            )
            assert rows[kind, 1] == pytest.approx(
                box[1].item() + (y + 0.5) * height / size[0], abs=1e-4
            )
            best = large[kind].max()
            assert rows[kind, 2] == pytest.approx(best.item(), abs=1e-4)
            share = best.exp() / heat[kind].exp().sum()
            assert rows[kind, 3] == pytest.approx(share.item(), rel=1e-4)


def test_there_and_back_stays_within_a_cell():
    box = torch.tensor([[0.0, 0, 56, 112]])
    points = torch.tensor([[[10.3, 80.2, 2.0], [55.0, 3.0, 2.0]]])
    cells, _ = Keypoints(points).to_heatmap(box, 56)
    maps = F.one_hot(cells, 56 * 56).reshape(1, 2, 56, 56).float() * 9
    found = heatmaps_to_keypoints(maps, box)[..., :2]
    assert (found - points[..., :2]).abs().max() <= 1.01


@pytest.mark.parametrize("largest", [28, 300])
def test_form_of_fixed_memory_finds_the_same_pixels(largest):
    """Of small boxes all pixels are looked at; in large ones one clear peak is found."""
    generator = torch.Generator().manual_seed(0)
    middle = torch.rand(20, 3, 2, 1, 1, generator=generator) * 14
    cells = torch.arange(14.0) + 0.5
    x, y = ((cells - middle[:, :, axis]) for axis in range(2))
    maps = -(x.mT**2 + y**2) / 8
    if largest == 28:
        maps = torch.randn(20, 3, 14, 14, generator=generator)
    low, side = (torch.rand(20, 2, generator=generator) for _ in range(2))
    boxes = torch.cat([low * 50, low * 50 + side * largest], dim=1)
    found = heatmaps_to_keypoints_padded(maps, boxes)
    expected = heatmaps_to_keypoints(maps, boxes)
    if largest == 28:
        torch.testing.assert_close(found, expected)
    # Two pixels beside a peak may be equally high.
    torch.testing.assert_close(found[..., :2], expected[..., :2], atol=1.01, rtol=0)
