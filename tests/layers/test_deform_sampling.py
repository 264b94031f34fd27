"""Deformable convolution as sampling and a convolution gives what the operator gives."""

import pytest
import torch
from torchvision import ops

from d2lite.layers.deform_sampling import deform_conv2d, deform_conv_by_sampling

OPERATOR = torch.ops.torchvision.deform_conv2d.default


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((3, 2), (2, 1), (2, 0), (1, 3)),
        ((1, 1), (1, 1), (0, 0), (1, 1)),
    ],
)
@pytest.mark.parametrize(("groups", "offset_groups"), [(1, 1), (2, 1), (1, 4), (2, 2)])
@pytest.mark.parametrize("use_mask", [True, False])
def test_it_is_the_operator(kernel, stride, padding, dilation, groups, offset_groups, use_mask):
    torch.manual_seed(0)
    x = torch.randn(2, 8, 9, 11)
    weight, bias = torch.randn(6, 8 // groups, *kernel), torch.randn(6)
    rows, columns = (
        (size + 2 * pad - spread * (taps - 1) - 1) // step + 1
        for size, pad, spread, taps, step in zip(
            x.shape[2:], padding, dilation, kernel, stride, strict=True
        )
    )
    taps = kernel[0] * kernel[1] * offset_groups
    # Some taps are moved out of the map, and some onto its edge.
    offset = (torch.randn(2, 2 * taps, rows, columns) * 4).round()
    offset += torch.rand(offset.shape) * (torch.rand(offset.shape) > 0.5)
    mask = torch.rand(2, taps, rows, columns)
    settings = (*stride, *padding, *dilation, groups, offset_groups, use_mask)
    expected = OPERATOR(x, weight, offset, mask, bias, *settings)
    found = deform_conv_by_sampling(x, weight, offset, mask, bias, *settings)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("with_mask", [True, False])
def test_gradients_are_those_of_the_operator(with_mask):
    """Also of taps far outside of the map, whose places no integer holds."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 8, 9, 11), torch.randn(6, 4, 3, 3), torch.randn(6)
    offset, mask = torch.randn(2, 36, 9, 11) * 4, torch.rand(2, 18, 9, 11)
    offset[0, 3, 2, 2], offset[1, 4, 5, 5], offset[1, 7, 0, 0] = 1e30, -1e20, 1e4
    gradients = []
    for convolve in (ops.deform_conv2d, deform_conv2d):
        inputs = [t.clone().requires_grad_() for t in (x, offset, weight, bias, mask)]
        steps = (1, 1), (1, 1), (1, 1)
        y = convolve(*inputs[:4], *steps, inputs[4] if with_mask else None)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        gradients.append([y, *(t.grad for t in inputs[: 4 + with_mask])])
    for theirs, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
