"""Block base class, depthwise separable convolution, ASPP, deformable convolution."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lite.layers import (
    ASPP,
    CNNBlockBase,
    Conv2d,
    DeformConv,
    DepthwiseSeparableConv2d,
    FrozenBatchNorm2d,
    ModulatedDeformConv,
)
from d2lite.layers.deform_conv import deform_conv, modulated_deform_conv


def test_frozen_block_learns_nothing():
    block = CNNBlockBase(3, 4, 2)
    block.conv = Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4))
    assert block.freeze() is block
    assert not any(p.requires_grad for p in block.parameters())
    assert isinstance(block.conv.norm, FrozenBatchNorm2d)
    assert (block.in_channels, block.out_channels, block.stride) == (3, 4, 2)


def test_depthwise_separable_conv_is_two_convolutions():
    layer = DepthwiseSeparableConv2d(4, 6, activation1=F.relu)
    x = torch.randn(2, 4, 7, 7)
    first = F.conv2d(x, layer.depthwise.weight, layer.depthwise.bias, padding=1, groups=4)
    expected = F.conv2d(F.relu(first), layer.pointwise.weight, layer.pointwise.bias)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("pool", [None, (4, 4)])
def test_aspp_keeps_height_and_width(separable, pool):
    layer = ASPP(
        4,
        8,
        [1, 2, 3],
        norm="BN",
        activation=nn.ReLU(),
        pool_kernel_size=pool,
        dropout=0.1,
        use_depthwise_separable_conv=separable,
    )
    y = layer(torch.randn(1, 4, 8, 12))
    assert y.shape == (1, 8, 8, 12)
    assert layer.project.weight.shape == (8, 40, 1, 1)


def test_aspp_says_what_does_not_fit():
    with pytest.raises(ValueError, match="got 2 dilations"):
        ASPP(4, 8, [1, 2], norm="", activation=F.relu)
    layer = ASPP(4, 8, [1, 2, 3], norm="", activation=F.relu, pool_kernel_size=(3, 3))
    with pytest.raises(ValueError, match="pool_kernel_size 3 x 3 does not divide"):
        layer(torch.randn(1, 4, 8, 9))


def test_deformable_conv_without_offset_is_a_convolution():
    layer = DeformConv(4, 6, 3, stride=2, padding=1, groups=2, activation=F.relu)
    x = torch.randn(2, 4, 9, 9)
    y = layer(x, torch.zeros(2, 18, 5, 5))
    expected = F.relu(F.conv2d(x, layer.weight, None, stride=2, padding=1, groups=2))
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_deformable_conv_by_whole_cells_reads_the_shifted_map():
    layer = DeformConv(1, 1, 1)
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    offset = torch.zeros(1, 2, 3, 4)
    offset[:, 1] = 1  # one cell to the right
    expected = F.pad(x[..., 1:], (0, 1)) * layer.weight.flatten()
    torch.testing.assert_close(layer(x, offset), expected)


def test_modulation_weighs_the_taps():
    layer = ModulatedDeformConv(2, 3, 3, padding=1, deformable_groups=2)
    x, offset = torch.randn(1, 2, 5, 5), torch.zeros(1, 36, 5, 5)
    half = layer(x, offset, torch.full((1, 18, 5, 5), 0.5))
    torch.testing.assert_close(half, F.conv2d(x, layer.weight, padding=1) / 2, rtol=1e-4, atol=1e-5)


def test_deformable_conv_takes_an_empty_batch():
    layer = ModulatedDeformConv(2, 3, 3, padding=1, norm=nn.GroupNorm(1, 3))
    y = layer(torch.zeros(0, 2, 5, 5), torch.zeros(0, 18, 5, 5), torch.zeros(0, 9, 5, 5))
    assert y.shape == (0, 3, 5, 5)


def test_deformable_conv_says_what_does_not_fit():
    with pytest.raises(ValueError, match="in_channels=4 does not divide by groups=3"):
        DeformConv(4, 6, 3, groups=3)
    with pytest.raises(ValueError, match="out_channels=3 does not divide by groups=2"):
        DeformConv(4, 3, 3, groups=2)
    for kind in (ValueError, RuntimeError):
        with pytest.raises(kind, match="offset has 10 channels; 1 deformable_groups of"):
            DeformConv(4, 6, 3)(torch.zeros(1, 4, 5, 5), torch.zeros(1, 10, 3, 3))
    with pytest.raises(RuntimeError, match="in_channels=3 does not divide by deformable_groups=2"):
        DeformConv(3, 6, 3, deformable_groups=2)(torch.zeros(1, 3, 5, 5), torch.zeros(1, 36, 3, 3))


def test_deformable_layers_show_their_options_as_detectron2_does():
    assert repr(DeformConv(3, 10, 3, padding=1)) == (
        "DeformConv(in_channels=3, out_channels=10, kernel_size=(3, 3), stride=(1, 1), "
        "padding=(1, 1), dilation=(1, 1), groups=1, deformable_groups=1, bias=False)"
    )
    assert repr(ModulatedDeformConv(3, 10, 3, padding=1)) == (
        "ModulatedDeformConv(in_channels=3, out_channels=10, kernel_size=(3, 3), stride=1, "
        "padding=1, dilation=1, groups=1, deformable_groups=1, bias=True)"
    )


def test_deformable_functions_are_what_the_layers_compute():
    x, offset, mask = torch.randn(1, 4, 5, 5), torch.randn(1, 36, 3, 3), torch.rand(1, 18, 3, 3)
    options = {"stride": 2, "padding": 1, "groups": 2, "deformable_groups": 2}
    plain = DeformConv(4, 6, 3, **options)
    torch.testing.assert_close(
        deform_conv(x, offset, plain.weight, 2, 1, 1, 2, 2), plain(x, offset)
    )
    weighted = ModulatedDeformConv(4, 6, 3, **options)
    found = modulated_deform_conv(x, offset, mask, weighted.weight, weighted.bias, 2, 1, 1, 2, 2)
    torch.testing.assert_close(found, weighted(x, offset, mask))


@pytest.mark.parametrize("is_modulated", [False, True])
def test_offset_that_is_not_a_number_gives_such_a_result(is_modulated):
    """The operator read outside of its memory then, which ended the process without a message."""
    layer = (ModulatedDeformConv if is_modulated else DeformConv)(2, 2, 3, padding=1)
    masks = [torch.ones(1, 9, 4, 4)] if is_modulated else []
    x = torch.rand(1, 2, 4, 4)
    offset = torch.zeros(1, 18, 4, 4)
    plain = layer(x, offset, *masks)
    offset[0, 5, 1, 2] = torch.nan
    found = layer(x, offset.requires_grad_(), *masks)
    assert found[0, :, 1, 2].isnan().all()
    is_other = torch.ones(4, 4, dtype=torch.bool)
    is_other[1, 2] = False
    assert torch.equal(found[..., is_other], plain[..., is_other])
    found[..., is_other].sum().backward()
    assert offset.grad.isfinite().all()
