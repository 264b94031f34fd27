"""Means over processes, in one process; two of them are in tests/engine/test_distributed.py."""

import contextlib

import torch

from d2lite.utils.process_means import (
    mean_over_processes,
    mean_weight,
    num_sharing,
    sharing_means,
)


def test_one_process_has_its_own_means_inside_and_outside():
    value = torch.tensor([3, 4])
    with sharing_means():
        assert mean_over_processes(value) is value
        assert mean_weight(7, value) == 1.0
        assert num_sharing() == 1
    assert mean_weight(0, value) == 1.0


def test_sharing_ends_with_an_exception(monkeypatch):
    """Else a validation with other numbers of images in each process would wait for ever."""
    monkeypatch.setattr("d2lite.utils.comm.get_world_size", lambda: 4)
    with contextlib.suppress(ZeroDivisionError), sharing_means():
        assert num_sharing() == 4
        raise ZeroDivisionError
    assert num_sharing() == 1
