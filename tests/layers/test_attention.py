"""Attention and DropBlock against their definitions."""

import pytest
import torch
import torch.nn.functional as F

from d2lite.layers import (
    ChannelAndSpatialAttention,
    DropBlock,
    EfficientChannelAttention,
    GlobalContext,
    NonLocal,
)


def filled(layer):
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    return layer


X = torch.randn(2, 8, 5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("is_scaled", [True, False])
def test_non_local_block_adds_a_weighted_mean_of_all_cells(is_scaled):
    layer = filled(NonLocal(8, is_scaled=is_scaled))
    found = layer(X)
    for image in range(2):
        query, key, value = (
            part(X)[image].reshape(4, 30) for part in (layer.theta, layer.phi, layer.g)
        )
        for cell in range(30):
            alike = torch.stack([query[:, cell] @ key[:, j] for j in range(30)])
            weights = (alike / (2.0 if is_scaled else 1.0)).softmax(dim=0)
            mixed = (value * weights).sum(dim=1)
            added = layer.out.weight[:, :, 0, 0] @ mixed + layer.out.bias
            wanted = X[image].reshape(8, 30)[:, cell] + added
            torch.testing.assert_close(found[image].reshape(8, 30)[:, cell], wanted)


def test_global_context_adds_the_same_to_all_cells():
    layer = filled(GlobalContext(8))
    weights = layer.mask(X).reshape(2, 30).softmax(dim=1)
    context = (X.reshape(2, 8, 30) * weights[:, None]).sum(dim=2)
    first, norm, _, last = layer.add
    hidden = context @ first.weight[:, :, 0, 0].T + first.bias
    hidden = F.layer_norm(hidden, (2,), norm.weight[:, 0, 0], norm.bias[:, 0, 0]).relu()
    added = hidden @ last.weight[:, :, 0, 0].T + last.bias
    torch.testing.assert_close(layer(X), X + added[:, :, None, None])


@pytest.mark.parametrize(("channels", "size"), [(8, 3), (64, 3), (256, 5), (2048, 7)])
def test_channel_attention_looks_at_as_many_neighbours_as_its_paper_says(channels, size):
    """Source: arXiv:1910.03151, equation 12: the odd number nearest to (log2(C) + 1) / 2."""
    assert EfficientChannelAttention(channels).conv.kernel_size == (size,)


def test_channel_attention_weighs_channels_by_the_means_of_neighbours():
    layer = filled(EfficientChannelAttention(8))
    means = F.pad(X.mean(dim=(2, 3)), (1, 1))
    taps = layer.conv.weight.flatten()
    weights = sum(taps[i] * means[:, i : i + 8] for i in range(3)).sigmoid()
    torch.testing.assert_close(layer(X), X * weights[:, :, None, None])


def test_channel_and_spatial_attention_follow_each_other():
    layer = filled(ChannelAndSpatialAttention(8, ratio=0.25))
    first, _, last = layer.channel

    def shared(v):
        hidden = (v @ first.weight[:, :, 0, 0].T + first.bias).relu()
        return hidden @ last.weight[:, :, 0, 0].T + last.bias

    both = shared(X.mean(dim=(2, 3))) + shared(X.amax(dim=(2, 3)))
    y = X * both.sigmoid()[:, :, None, None]
    maps = torch.stack([y.mean(dim=1), y.amax(dim=1)], dim=1)
    wanted = y * F.conv2d(maps, layer.spatial.weight, padding=3).sigmoid()
    torch.testing.assert_close(layer(X), wanted)


def test_blocks_that_start_with_nothing_leave_maps_as_they_are():
    for layer in (NonLocal(8), GlobalContext(8)):
        torch.testing.assert_close(layer(X), X + 0)


def test_drop_block_zeroes_squares_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = DropBlock(drop_prob=0.1, block_size=3)
    x = torch.ones(8, 16, 20, 20)
    y = layer(x)
    dropped = y == 0
    assert 0.06 < dropped.float().mean() < 0.12
    assert y.mean().item() == pytest.approx(1, abs=1e-4)
    # Every dropped cell is in a whole square of them.
    middles = F.avg_pool2d(dropped.float(), 3, stride=1) == 1
    covered = F.max_pool2d(F.pad(middles.float(), (2, 2, 2, 2)), 3, stride=1) > 0
    assert torch.equal(covered, dropped)
    assert layer.eval()(x) is x
