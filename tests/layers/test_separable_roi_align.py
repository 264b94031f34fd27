"""ROIAlign by matrix products gives torchvision's numbers and gradients."""

import pytest
import torch
from torchvision.ops import roi_align

from d2lite.layers import ROIAlign
from d2lite.layers.separable_roi_align import separable_is_faster, separable_roi_align


def boxes(count: int, *, images: int = 2) -> torch.Tensor:
    """Boxes of all sizes on a 120 x 160 image, some outside of it, some empty."""
    generator = torch.Generator().manual_seed(3)
    center = torch.rand(count, 2, generator=generator) * torch.tensor([200.0, 160.0]) - 20
    size = torch.rand(count, 2, generator=generator) * 90
    size[::7] = 0
    image = torch.randint(images, (count, 1), generator=generator).float()
    return torch.cat([image, center - size / 2, center + size / 2], dim=1)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
@pytest.mark.parametrize("output_size", [(7, 7), (5, 3), (14, 14)])
def test_values_and_gradients_are_torchvisions(output_size, sampling_ratio, aligned):
    features = torch.randn(2, 3, 30, 40, dtype=torch.float64, requires_grad=True)
    settings = (boxes(200).double(), output_size, 0.25, sampling_ratio, aligned)
    wanted, found = roi_align(features, *settings), separable_roi_align(features, *settings)
    torch.testing.assert_close(found, wanted)
    seed = torch.randn_like(wanted)
    (wanted_grad,) = torch.autograd.grad(wanted, features, seed)
    (found_grad,) = torch.autograd.grad(found, features, seed)
    torch.testing.assert_close(found_grad, wanted_grad)


def test_no_box_gives_an_empty_result_with_a_gradient():
    features = torch.randn(2, 3, 8, 8, requires_grad=True)
    pooled = separable_roi_align(features, torch.zeros(0, 5), (7, 7), 0.25, 0, True)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert features.grad.eq(0).all()


def test_layer_takes_the_products_only_where_a_gradient_is_wanted():
    """Inference keeps torchvision's numbers to the bit."""
    features = torch.randn(1, 4, 20, 20)
    assert not separable_is_faster(features)
    assert separable_is_faster(features.requires_grad_())
    rois = boxes(50, images=1)
    with torch.no_grad():
        assert not separable_is_faster(features)
        wanted = roi_align(features, rois, (7, 7), 0.25, 0, True)
        assert torch.equal(ROIAlign(7, 0.25, 0)(features, rois), wanted)
    torch.testing.assert_close(ROIAlign(7, 0.25, 0)(features, rois), wanted, atol=1e-4, rtol=1e-4)


def test_pieces_do_not_show_in_the_result():
    """More boxes than are held at a time."""
    features = torch.randn(1, 2, 16, 16, dtype=torch.float64, requires_grad=True)
    rois = boxes(300, images=1).double()
    found = separable_roi_align(features, rois, (3, 3), 0.25, 2, True)
    torch.testing.assert_close(found, roi_align(features, rois, (3, 3), 0.25, 2, True))


def test_autocast_does_not_reach_the_products():
    """Under it matrix products come out in bfloat16, with two or three digits."""
    features = torch.randn(2, 3, 30, 40, requires_grad=True)
    rois = boxes(60)
    wanted = roi_align(features.detach(), rois, (7, 7), 0.25, 0, True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ROIAlign(7, 0.25, 0)(features, rois)
        found.sum().backward()
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert features.grad.dtype == torch.float32
