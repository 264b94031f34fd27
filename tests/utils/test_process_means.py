"""Means over processes, in one process; two of them are in tests/engine/test_distributed.py."""

import contextlib

import torch

from d2lite.utils.process_means import (
    PassMeans,
    is_first_pass,
    mean_over_processes,
    mean_weight,
    num_sharing,
    own_share,
    pass_share,
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


def test_weighted_means_of_passes_add_up_to_the_mean_of_all():
    """The trainer multiplies the loss of each pass by its share of the images."""
    groups = [torch.tensor([5.0]), torch.tensor([1.0, 2.0, 6.0]), torch.tensor([])]
    shares = [0.2, 0.5, 0.3]
    passes = PassMeans(shares)

    def weights(number, place):
        with sharing_means(), place:
            return [
                mean_weight(len(groups[number]), groups[0]),
                mean_weight(2, groups[0]),
                (own_share(), pass_share(), is_first_pass(), num_sharing()),
            ]

    for number in range(3):
        weights(number, passes.noting(number))
    made = [weights(number, passes.sharing(number)) for number in range(3)]
    means = [float(group.mean()) if len(group) else 0.0 for group in groups]
    total = sum(s * m * float(w[0]) for s, m, w in zip(shares, means, made, strict=True))
    assert abs(total - 14 / 4) < 1e-6
    assert [w[2] for w in made] == [(0.2, 0.2, True, 3), (0.5, 0.5, False, 3), (0.3, 0.3, False, 3)]
    assert pass_share() == own_share() == 1.0
    assert is_first_pass()


def test_means_of_one_pass_need_no_notes():
    with sharing_means(), PassMeans([1.0]).sharing(0):
        assert mean_weight(7, torch.tensor(1.0)) == 1.0
