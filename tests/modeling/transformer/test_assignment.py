"""The assignment against trying every permutation, and what it does with unusual costs."""

import itertools
import sys

import numpy as np
import pytest
import torch

from d2lite.modeling.transformer import hungarian_assignment
from d2lite.utils.errors import MissingPackageError


def _least(cost: np.ndarray) -> float:
    """The least sum over all ways to give each row or column, of the fewer, one of the others."""
    wide = cost if cost.shape[0] <= cost.shape[1] else cost.T
    rows = range(wide.shape[0])
    return min(
        sum(wide[row, column] for row, column in zip(rows, chosen, strict=True))
        for chosen in itertools.permutations(range(wide.shape[1]), len(rows))
    )


@pytest.mark.parametrize("shape", [(5, 3), (3, 3), (3, 5), (4, 1), (4, 0)])
def test_the_sum_of_costs_is_the_least_possible(shape):
    """More objects than queries too: the dearest stay without one."""
    cost = torch.rand(shape)
    ((pair,),) = hungarian_assignment([[cost]])
    queries, objects = pair
    assert queries.dtype == objects.dtype == torch.int64
    assert len(queries) == len(set(queries.tolist())) == len(set(objects.tolist())) == min(shape)
    assert float(cost[queries, objects].sum()) == pytest.approx(_least(cost.numpy()))


def test_layers_and_images_come_back_in_their_order():
    costs = [[torch.rand(4, n) for n in (2, 0, 3)], [torch.rand(4, n) for n in (1, 4, 2)]]
    found = hungarian_assignment(costs)
    for of_layer, pairs in zip(costs, found, strict=True):
        for cost, pair in zip(of_layer, pairs, strict=True):
            ((alone,),) = hungarian_assignment([[cost]])
            assert all(torch.equal(a, b) for a, b in zip(pair, alone, strict=True))


def test_three_hundred_objects_are_assigned():
    cost = torch.rand(100, 300)
    (((queries, objects),),) = hungarian_assignment([[cost]])
    assert queries.tolist() == list(range(100))
    assert len(set(objects.tolist())) == 100


def test_no_image_gives_no_pair():
    assert hungarian_assignment([]) == []
    assert hungarian_assignment([[], []]) == [[], []]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_cost_that_is_not_finite_names_the_image_and_the_query(value):
    """Its own error is "matrix contains invalid numeric entries", without either."""
    costs = [[torch.zeros(4, 2), torch.zeros(4, 3)] for _ in range(2)]
    costs[1][1][2, 0] = value
    with pytest.raises(FloatingPointError, match=r"query 2 for image 1 .*decoder layer 1, 1 such"):
        hungarian_assignment(costs)


def test_without_scipy_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingPackageError, match="pip install scipy"):
        hungarian_assignment([[torch.zeros(2, 1)]])
