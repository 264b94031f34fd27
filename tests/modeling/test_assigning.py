"""Assignment by costs, against its definition in loops."""

import numpy as np
import pytest
import torch

from d2lite.modeling.assigning import assign_by_soft_labels, best_per_object


def _by_loops(costs, ious, topk):
    """One object after the other, then one prediction after the other."""
    owner = [-1] * len(costs)
    wanted = [[] for _ in costs]
    for number in range(costs.shape[1]):
        count = max(int(np.sort(ious[:, number])[::-1][:topk].sum()), 1)
        for row in np.argsort(costs[:, number], kind="stable")[:count]:
            wanted[row].append(number)
    for row, numbers in enumerate(wanted):
        if len(numbers) == 1:
            owner[row] = numbers[0]
        elif numbers:
            owner[row] = int(np.argmin(costs[row]))
    return owner


@pytest.mark.parametrize("seed", range(20))
def test_each_object_takes_as_many_as_its_best_ious_add_up_to(seed):
    rng = np.random.RandomState(seed)
    num, objects, topk = rng.randint(1, 30), rng.randint(1, 6), rng.randint(1, 14)
    costs, ious = rng.rand(2, num, objects).astype(np.float32)
    found = best_per_object(torch.from_numpy(costs), torch.from_numpy(ious), topk)
    expected = _by_loops(costs, ious, topk)
    assert found.owner.tolist() == expected
    for row, number in enumerate(expected):
        assert found.quality[row] == (0 if number < 0 else ious[row, number])


def test_nobody_learns_what_costs_infinitely_much():
    costs = torch.tensor([[torch.inf], [torch.inf], [3.0]])
    found = best_per_object(costs, torch.ones(3, 1), topk=3)
    assert found.owner.tolist() == [-1, -1, 0]


@pytest.mark.parametrize(("num", "objects"), [(0, 2), (5, 0), (0, 0)])
def test_nothing_is_assigned_to_nothing(num, objects):
    found = assign_by_soft_labels(
        torch.rand(num, 2),
        torch.ones(num),
        torch.rand(num, 3),
        torch.rand(num, 4),
        torch.rand(objects, 4),
        torch.zeros(objects, dtype=torch.int64),
    )
    assert found.owner.tolist() == [-1] * num
    assert found.quality.tolist() == [0] * num


def _grid():
    """Points of a map of stride 8, each with a box of 20 pixels around it."""
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    points = torch.stack([x, y], dim=2).flatten(0, 1).float() * 8
    return points, torch.full((64,), 8.0), torch.cat([points - 10, points + 10], dim=1)


def test_cells_near_the_centre_with_the_right_class_learn_the_object():
    points, strides, boxes = _grid()
    logits = torch.zeros(64, 2)
    target = torch.tensor([[22.0, 22, 42, 42]])
    found = assign_by_soft_labels(points, strides, logits, boxes, target, torch.tensor([1]))
    taken = points[found.owner >= 0]
    assert len(taken)
    assert ((taken - 32).abs() <= 8).all()
    # Two boxes are as good; the cell that scores the class is cheaper.
    right = (points == torch.tensor([32.0, 32])).all(dim=1).nonzero().item()
    logits[right, 1] = 3.0
    found = assign_by_soft_labels(points, strides, logits, boxes, target, torch.tensor([1]), topk=1)
    assert (found.owner >= 0).nonzero().tolist() == [[right]]


def test_only_cells_in_some_box_learn():
    points, strides, boxes = _grid()
    far = torch.tensor([[100.0, 100, 140, 140]])
    logits, label = torch.zeros(64, 1), torch.tensor([0])
    found = assign_by_soft_labels(points, strides, logits, boxes, far, label)
    assert (found.owner == -1).all()


def test_centres_may_be_those_of_masks():
    """The box is in the middle, the mask at its left: cells at the left learn."""
    points, strides, boxes = _grid()
    target, label = torch.tensor([[4.0, 20, 60, 44]]), torch.tensor([0])
    boxes = target.expand(64, 4).clone()
    logits = torch.zeros(64, 1)
    left = torch.tensor([[12.0, 32]])
    found = assign_by_soft_labels(points, strides, logits, boxes, target, label, left, topk=3)
    assert (points[found.owner >= 0, 0] < 30).all()
    found = assign_by_soft_labels(points, strides, logits, boxes, target, label, topk=3)
    assert (points[found.owner >= 0, 0] > 20).all()
