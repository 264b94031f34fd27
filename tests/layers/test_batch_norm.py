"""Frozen, synchronised, cycled and layer norms, and get_norm."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from d2lite.layers import (
    CycleBatchNormList,
    FrozenBatchNorm2d,
    NaiveSyncBatchNorm,
    get_norm,
    sync_batch_norm,
)
from d2lite.layers.batch_norm import LayerNorm, norm_with
from d2lite.layers.frozen_batch_norm import scales_at_once
from d2lite.layers.sync_batch_norm import sync_on_cpu_
from d2lite.utils.errors import ConfigError


def trained_norm(channels: int = 5) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    torch.manual_seed(1)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.uniform_(0.3, 2.0)
    return norm.eval()


def test_frozen_copy_gives_what_the_norm_gave_in_evaluation():
    norm = trained_norm()
    x = torch.randn(2, 5, 3, 4)
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
    assert isinstance(frozen, FrozenBatchNorm2d)
    assert list(frozen.parameters()) == []
    torch.testing.assert_close(frozen(x), norm(x), rtol=1e-5, atol=1e-6)
    assert frozen.train()(x).equal(frozen.eval()(x))


def test_convert_reaches_nested_and_shared_norms():
    shared = nn.BatchNorm2d(3)
    model = nn.Sequential(nn.Sequential(shared), nn.ReLU(), shared, nn.SyncBatchNorm(3))
    converted = FrozenBatchNorm2d.convert_frozen_batchnorm(model)
    assert converted is model
    assert not any(isinstance(m, (nn.BatchNorm2d, nn.SyncBatchNorm)) for m in model.modules())


def test_thawing_undoes_freezing():
    norm = trained_norm()
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
    thawed = FrozenBatchNorm2d.convert_frozenbatchnorm2d_to_batchnorm2d(frozen)
    assert type(thawed) is nn.BatchNorm2d
    assert not thawed.training
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert getattr(thawed, name).equal(getattr(norm, name))


def test_frozen_norm_keeps_the_dtype_of_its_input():
    assert FrozenBatchNorm2d(3)(torch.ones(1, 3, 2, 2, dtype=torch.float16)).dtype == torch.float16


def test_affine_map_without_statistics_loads_as_the_map():
    """Weights converted from Caffe2 hold weight and bias only."""
    norm = FrozenBatchNorm2d(2)
    norm.running_mean.fill_(9)
    norm.load_state_dict({"weight": torch.tensor([2.0, 3.0]), "bias": torch.tensor([1.0, 0.0])})
    y = norm(torch.ones(1, 2, 1, 1)).flatten()
    torch.testing.assert_close(y, torch.tensor([3.0, 3.0]))


def test_version_two_files_hold_a_variance_that_includes_eps():
    norm = FrozenBatchNorm2d(1)
    state = norm.state_dict()
    state["running_var"] = torch.tensor([4.0])
    state._metadata[""]["version"] = 2
    norm.load_state_dict(state)
    torch.testing.assert_close(norm(torch.ones(1, 1, 1, 1)).flatten(), torch.tensor([0.5]))


def test_file_of_a_batch_norm_loads_strictly():
    norm = FrozenBatchNorm2d(5)
    norm.load_state_dict(trained_norm().state_dict())
    assert norm.running_var.equal(trained_norm().running_var)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BN", nn.BatchNorm2d),
        ("FrozenBN", FrozenBatchNorm2d),
        ("GN", nn.GroupNorm),
        ("LN", LayerNorm),
        ("SyncBN", nn.SyncBatchNorm),
        ("nnSyncBN", nn.SyncBatchNorm),
        ("naiveSyncBN", NaiveSyncBatchNorm),
        ("naiveSyncBN_N", NaiveSyncBatchNorm),
    ],
)
def test_every_norm_name_gives_a_layer_that_keeps_the_shape(name, kind):
    norm = get_norm(name, 64)
    assert type(norm) is kind
    assert norm(torch.randn(2, 64, 4, 4)).shape == (2, 64, 4, 4)


def test_no_norm_and_own_norm():
    assert get_norm("", 3) is None
    assert get_norm(None, 3) is None
    assert isinstance(get_norm(nn.InstanceNorm2d, 3), nn.InstanceNorm2d)


def test_unknown_norm_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"Unknown norm 'GroupNorm'. Use one of BN, FrozenBN, GN"):
        get_norm("GroupNorm", 64)


@pytest.mark.parametrize("name", ["GN", "GN_WS"])
def test_channels_that_the_groups_do_not_divide_are_named(name):
    with pytest.raises(ConfigError, match=f"'{name}' has 32 groups, into which 40 channels"):
        get_norm(name, 40)


def test_layer_norm_normalises_each_cell_over_channels():
    x = torch.randn(2, 6, 3, 4)
    mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    torch.testing.assert_close(LayerNorm(6)(x), (x - mean) / (variance + 1e-6).sqrt())


def test_cycled_norms_keep_statistics_apart_and_share_the_affine_map():
    norms = CycleBatchNormList(2, num_features=3)
    names = set(norms.state_dict())
    assert {"weight", "bias", "0.running_mean", "1.running_var"} <= names
    assert len(list(norms.parameters())) == 2
    for level in (0.0, 10.0) * 50:
        norms(torch.randn(4, 3, 8, 8) + level)
    assert norms[0].running_mean.abs().max() < 1
    assert (norms[1].running_mean - 10).abs().max() < 1


def test_naive_sync_norm_of_values_far_from_zero_stays_finite(monkeypatch):
    """In float32 their mean square is less than the square of their mean."""
    monkeypatch.setattr(sync_batch_norm, "_is_shared", lambda norm: True)
    monkeypatch.setattr(sync_batch_norm, "_sum", lambda local: local)
    norm, x = NaiveSyncBatchNorm(1), torch.full((2, 1, 7, 9), 300.3)
    assert norm(x).isfinite().all()
    assert norm.running_var >= 0


def test_naive_sync_norm_alone_is_a_batch_norm():
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(NaiveSyncBatchNorm(4)(x), nn.BatchNorm2d(4)(x))


def test_naive_sync_norm_refuses_an_unknown_mode():
    with pytest.raises(ConfigError, match="stats_mode of NaiveSyncBatchNorm is 'M'; use ''"):
        NaiveSyncBatchNorm(4, stats_mode="M")


def sync_worker(rank: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    whole = torch.randn(3, 4, 5, 5) * 3 + 1
    expected_input = whole.clone().requires_grad_()
    expected = nn.BatchNorm2d(4)(expected_input)
    expected.pow(3).sum().backward()
    for mode, parts in (("N", [whole[:1], whole[1:]]), ("N", [whole[:0], whole])):
        mine = parts[rank].clone().requires_grad_()
        norm = NaiveSyncBatchNorm(4, stats_mode=mode)
        found = norm(mine)
        found.pow(3).sum().backward()
        rows = slice(0, len(parts[0])) if rank == 0 else slice(len(parts[0]), 3)
        torch.testing.assert_close(found, expected[rows], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(mine.grad, expected_input.grad[rows], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(norm.running_mean, whole.mean((0, 2, 3)) * 0.1)
        refused = ""
    check_sync_on_cpu(whole[:1] if rank == 0 else whole[1:], whole, expected, expected_input.grad)
    try:
        # Both ranks are empty, so that neither waits for the other.
        NaiveSyncBatchNorm(4)(whole[:0])
    except ValueError as error:
        refused = str(error)
    if "naiveSyncBN_N" not in refused:
        raise RuntimeError(f"an empty batch was not refused: {refused!r}")
    dist.destroy_process_group()


def check_sync_on_cpu(mine, whole, expected, expected_grad):
    """The norm that takes the place of torch's SyncBatchNorm, between DDP's two ends."""
    rows = slice(0, 1) if len(mine) == 1 else slice(1, 3)
    norm, alone = nn.SyncBatchNorm(4), nn.BatchNorm2d(4)
    weight = norm.weight
    model = nn.Sequential(norm)
    sync_on_cpu_(model)
    if model[0].weight is not weight or list(model.state_dict()) != [
        f"0.{name}" for name in norm.state_dict()
    ]:
        raise RuntimeError("the parameters or their names changed")
    mine = mine.clone().requires_grad_()
    found = nn.parallel.DistributedDataParallel(model)(mine)
    found.pow(3).sum().backward()
    alone(whole)
    torch.testing.assert_close(found, expected[rows], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mine.grad, expected_grad[rows], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(norm.running_mean, alone.running_mean)
    torch.testing.assert_close(norm.running_var, alone.running_var)


def test_naive_sync_norm_of_two_processes_equals_one_norm_of_both_batches():
    """With uneven batches too, and with an empty one; values, gradients and statistics."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(sync_worker, args=(port,), nprocs=2)


@pytest.fixture
def frozen_model():
    """Two frozen norms of different eps, and one in half precision."""
    norms = [FrozenBatchNorm2d.convert_frozen_batchnorm(trained_norm(c)) for c in (5, 3, 4)]
    norms[1].eps = 1e-3
    norms[2].half()
    return nn.Sequential(*norms)


def test_scales_of_all_norms_at_once_are_those_of_each(frozen_model):
    expected = [norm.scale_and_shift() for norm in frozen_model]
    with scales_at_once(frozen_model):
        found = [norm.scale_and_shift() for norm in frozen_model]
    for pair, same in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(pair, same, strict=True))


def test_scales_at_once_end_with_their_block_and_leave_no_trace_in_what_is_saved(frozen_model):
    """New statistics count in the next pass, also after one that failed."""
    names = set(frozen_model[0].__dict__)
    with pytest.raises(KeyError), scales_at_once(frozen_model):
        raise KeyError
    assert set(frozen_model[0].__dict__) == names
    frozen_model[0].weight.data.mul_(2)
    with scales_at_once(frozen_model):
        scale, _ = frozen_model[0].scale_and_shift()
    assert torch.equal(scale, frozen_model[0].scale_and_shift()[0])


def test_a_norm_of_another_class_computes_its_own_scale():
    class Doubled(FrozenBatchNorm2d):
        def scale_and_shift(self):
            return tuple(2 * value for value in super().scale_and_shift())

    model = nn.Sequential(Doubled(2))
    with scales_at_once(model):
        assert model[0].scale_and_shift()[0][0] == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["BN", "FrozenBN", "SyncBN"])
def test_a_norm_with_numbers_of_its_own(name):
    layer = get_norm(norm_with(name, eps=0.25, momentum=0.5), 4)
    assert layer.eps == 0.25
    if name != "FrozenBN":
        assert layer.momentum == 0.5


def test_no_norm_has_no_numbers_either():
    assert get_norm(norm_with("", eps=0.25, momentum=0.5), 4) is None
