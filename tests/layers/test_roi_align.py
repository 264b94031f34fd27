"""ROIAlign, upright and rotated."""

import numpy as np
import pytest
import torch

from d2lite.layers import ROIAlign, ROIAlignRotated, roi_align_rotated

from .test_nms import upright


def some_boxes(count: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    low = rng.uniform(-50, 100, (count, 2))
    return torch.from_numpy(np.concatenate([low, low + rng.uniform(5, 60, (count, 2))], 1)).float()


def test_aligned_pooling_of_whole_cells_gives_the_cells():
    feature = torch.arange(64.0).reshape(1, 1, 8, 8)
    pooled = ROIAlign(2, 0.5, 1)(feature, torch.tensor([[0, 4.0, 8.0, 8.0, 12.0]]))
    assert pooled.flatten().tolist() == [34, 35, 42, 43]


def test_half_precision_features_keep_exact_boxes():
    feature = torch.arange(2000.0).expand(1, 1, 1, 2000) % 7
    roi = torch.tensor([[0, 1501.0, 0, 1504.0, 1]])
    layer = ROIAlign((1, 3), 1.0, 1)
    assert layer(feature.half(), roi).dtype == torch.float16
    assert layer(feature.half(), roi).float().equal(layer(feature, roi))


def test_wrong_rois_are_refused():
    with pytest.raises(ValueError, match=r"shape \[2, 4\]; give \(R, 5\)"):
        ROIAlign(7, 1.0, 0)(torch.zeros(1, 1, 4, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"shape \[2, 5\]; give \(R, 6\)"):
        ROIAlignRotated(7, 1.0, 0)(torch.zeros(1, 1, 4, 4), torch.zeros(2, 5))


def test_pooling_layers_show_their_settings():
    assert repr(ROIAlign(7, 0.25, 0)) == (
        "ROIAlign(output_size=7, spatial_scale=0.25, sampling_ratio=0, aligned=True)"
    )
    assert "sampling_ratio=2" in repr(ROIAlignRotated(7, 0.25, 2))


@pytest.mark.parametrize("ratio", [0, 2])
def test_rotated_roi_align_at_angle_zero_is_roi_align(ratio):
    feature = torch.randn(2, 3, 20, 24)
    boxes = some_boxes(9)
    images = torch.arange(9.0)[:, None] % 2
    expected = ROIAlign((4, 3), 0.2, ratio)(feature, torch.cat([images, boxes], 1))
    found = ROIAlignRotated((4, 3), 0.2, ratio)(feature, torch.cat([images, upright(boxes)], 1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_roi_turned_by_half_a_circle_is_read_backwards():
    feature = torch.randn(1, 2, 16, 16)
    roi = torch.tensor([[0, 8.0, 8.0, 6.0, 4.0, 0.0]])
    turned = roi + torch.tensor([0, 0, 0, 0, 0, 180.0])
    layer = ROIAlignRotated((4, 6), 1.0, 2)
    torch.testing.assert_close(layer(feature, turned), layer(feature, roi).flip(2, 3))


def test_pooling_of_no_box_keeps_the_graph_whole():
    feature = torch.randn(1, 2, 8, 8, requires_grad=True)
    for pooled in (
        ROIAlign(7, 1.0, 0)(feature, torch.zeros(0, 5)),
        ROIAlignRotated(7, 1.0, 0)(feature, torch.zeros(0, 6)),
    ):
        assert pooled.shape == (0, 2, 7, 7)
        pooled.sum().backward()
    assert feature.grad.abs().sum() == 0


@pytest.mark.parametrize("flat", [[0.0, 30.0], [30.0, 0.0], [0.0, 0.0]])
def test_a_rotated_box_without_an_area_pools_nothing(flat):
    """Its bins hold no cell, so with sampling_ratio=0 they hold no sample."""
    boxes = torch.tensor([[0, 4.0, 5.0, *flat, 30.0], [0, 4.0, 4.0, 4.0, 4.0, 0.0]])
    out = ROIAlignRotated((4, 6), 1.0, 0)(torch.rand(1, 2, 9, 9) + 1, boxes)
    assert not out[0].any()
    assert (out[1] > 0).all()


def test_rotated_pooling_computes_in_double():
    """A numeric gradient in float32 would be too coarse to compare with."""
    torch.manual_seed(0)
    features = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0, 2.5, 2.0, 3.0, 2.0, 30.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ROIAlignRotated((2, 3), 1.0, 0)(x, boxes), features)


def test_rotated_pooling_is_also_a_function():
    x, rois = torch.randn(1, 2, 6, 6), torch.tensor([[0.0, 3, 3, 4, 2, 30]])
    found = roi_align_rotated(x, rois, (2, 3), 1.0, 2)
    torch.testing.assert_close(found, ROIAlignRotated((2, 3), 1.0, 2)(x, rois))
