"""Without a process group everything is as in a group of one; two processes: tests/engine."""

import numpy as np
import pytest
import torch
import torch.distributed as dist

from d2lite.utils import comm


@pytest.fixture
def world_of_one():
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def check_a_world_of_one():
    assert (comm.get_rank(), comm.get_world_size(), comm.is_main_process()) == (0, 1, True)
    comm.synchronize()
    data = object()
    assert comm.gather(data) == [data]
    assert comm.all_gather(data) == [data]
    losses = {"a": torch.tensor([1.0, 2.0])}
    assert comm.reduce_dict(losses) is losses


def test_no_process_group_is_a_world_of_one():
    check_a_world_of_one()
    assert (comm.get_local_rank(), comm.get_local_size()) == (0, 1)


@pytest.mark.usefixtures("world_of_one")
def test_a_group_of_one_is_a_world_of_one():
    check_a_world_of_one()
    comm.create_local_process_group(1)
    assert (comm.get_local_rank(), comm.get_local_size()) == (0, 1)


@pytest.mark.usefixtures("world_of_one")
def test_processes_must_divide_over_machines():
    with pytest.raises(ValueError, match="1 processes cannot be 2 on every machine"):
        comm.create_local_process_group(2)


def test_a_local_group_needs_a_world():
    with pytest.raises(RuntimeError, match="init_process_group"):
        comm.create_local_process_group(1)


def test_the_local_group_of_an_ended_world_is_not_used_again():
    """A second training in the same process must not talk through the first one's group."""
    for _ in range(2):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            with pytest.raises(RuntimeError, match="create_local_process_group"):
                comm.get_local_process_group()
            comm.create_local_process_group(1)
            comm.get_local_process_group()
        finally:
            dist.destroy_process_group()


@pytest.mark.usefixtures("world_of_one")
def test_a_local_group_that_a_launcher_set_is_used(monkeypatch):
    group = dist.new_group([0])
    monkeypatch.setattr(comm, "_LOCAL_PROCESS_GROUP", group)
    monkeypatch.setattr(comm, "_local_world", None)
    assert comm.get_local_process_group() is group


def test_the_shared_seed_follows_numpy():
    np.random.seed(3)
    first, second = comm.shared_random_seed(), comm.shared_random_seed()
    np.random.seed(3)
    assert comm.shared_random_seed() == first != second
    assert 0 <= first < 2**31
