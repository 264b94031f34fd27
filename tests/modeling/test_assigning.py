"""Assignment by costs, against its definition in loops."""

import numpy as np
import pytest
import torch

from d2lite.modeling.assigning import (
    assign_by_alignment,
    assign_by_sim_ota,
    assign_by_soft_labels,
    assign_by_statistics,
    assign_in_cells,
    best_per_object,
)


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


def _sim_ota_costs(points, strides, logits, objectness, boxes, gt_boxes, gt_classes):
    """The costs of YOLOX, one pair after the other; infinite where a cell may learn nothing."""
    costs = np.full((len(points), len(gt_boxes)), np.inf)
    ious = np.zeros_like(costs)
    score = np.sqrt(1 / (1 + np.exp(-logits)) / (1 + np.exp(-objectness[:, None])))
    for row, (x, y) in enumerate(points):
        inside, near = [], []
        for x0, y0, x1, y1 in gt_boxes:
            inside.append(x0 < x < x1 and y0 < y < y1)
            reach = 2.5 * strides[row]
            near.append(abs(x - (x0 + x1) / 2) < reach and abs(y - (y0 + y1) / 2) < reach)
        if not any(inside + near):
            continue
        for number, (target, label) in enumerate(zip(gt_boxes, gt_classes, strict=True)):
            both = np.minimum(boxes[row, 2:], target[2:]) - np.maximum(boxes[row, :2], target[:2])
            shared = both.clip(0).prod()
            areas = [(box[2:] - box[:2]).prod() for box in (boxes[row], target)]
            ious[row, number] = iou = shared / (sum(areas) - shared)
            truth = np.arange(logits.shape[1]) == label
            entropy = -np.log(np.where(truth, score[row], 1 - score[row])).sum()
            far = 0 if inside[number] and near[number] else 1e5
            costs[row, number] = entropy - 3 * np.log(iou + 1e-8) + far
    return costs, ious


@pytest.mark.parametrize("seed", range(5))
def test_sim_ota_gives_each_object_its_cheapest_cells(seed):
    rng = np.random.RandomState(seed)
    points, strides, _ = (value.numpy() for value in _grid())
    points = points + 4
    boxes = np.concatenate([points - rng.rand(64, 2) * 20, points + rng.rand(64, 2) * 20], axis=1)
    first = rng.rand(3, 2) * 30
    gt_boxes = np.concatenate([first, first + 5 + rng.rand(3, 2) * 40], axis=1)
    gt_classes = rng.randint(0, 4, 3)
    logits, objectness = rng.randn(64, 4), rng.randn(64)
    arguments = points, strides, logits, objectness, boxes, gt_boxes, gt_classes
    costs, ious = _sim_ota_costs(*arguments)
    may_learn = np.isfinite(costs).all(axis=1)
    expected = np.full(64, -1)
    expected[may_learn] = _by_loops(costs[may_learn], ious[may_learn], 10)
    found = assign_by_sim_ota(*map(torch.from_numpy, arguments))
    assert found.owner.tolist() == expected.tolist()
    for row, number in enumerate(expected):
        assert found.quality[row] == pytest.approx(0 if number < 0 else ious[row, number], abs=1e-6)


def test_sim_ota_prefers_cells_near_the_centre():
    """A cell at the border of a large box comes after one near its centre, however it scores."""
    points = torch.tensor([[8.0, 8], [48, 48]])
    boxes = torch.tensor([[0.0, 0, 96, 96], [0, 0, 60, 96]])
    logits, strides = torch.tensor([[9.0], [-9.0]]), torch.full((2,), 8.0)
    found = assign_by_sim_ota(
        points, strides, logits, logits[:, 0], boxes, boxes[:1], torch.tensor([0]), topk=1
    )
    assert found.owner.tolist() == [-1, 0]


@pytest.mark.parametrize(("num", "objects"), [(0, 2), (5, 0), (0, 0)])
def test_sim_ota_of_nothing_is_empty(num, objects):
    boxes, targets = torch.rand(num, 4), torch.rand(objects, 4)
    labels = torch.zeros(objects, dtype=torch.int64)
    found = assign_by_sim_ota(
        boxes[:, :2], torch.ones(num), torch.rand(num, 3), torch.rand(num), boxes, targets, labels
    )
    assert found.owner.tolist() == [-1] * num


def _levels():
    """Anchors of eight strides a side, around the corners of the cells of two maps."""
    levels = []
    for stride, side in ((8, 8), (16, 4)):
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        center = torch.stack([x, y], dim=2).flatten(0, 1).float() * stride
        levels.append(torch.cat([center - 4 * stride, center + 4 * stride], dim=1))
    return levels


def _iou(a, b):
    inter = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return inter / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter)


@pytest.mark.parametrize("seed", range(10))
def test_an_object_takes_candidates_above_mean_and_deviation(seed):
    """The definition of ATSS in loops; where two objects want an anchor, the larger IoU counts."""
    rng = np.random.RandomState(seed)
    low = rng.rand(rng.randint(1, 5), 2) * 40
    objects = np.concatenate([low, low + 5 + rng.rand(*low.shape) * 50], axis=1)
    levels, topk = _levels(), rng.randint(1, 6)
    owner, best = [-1] * 80, [-1.0] * 80
    anchors = torch.cat(levels).numpy()
    for number, box in enumerate(objects):
        rows = []
        for first, count in ((0, 64), (64, 16)):
            centers = (anchors[first : first + count, :2] + anchors[first : first + count, 2:]) / 2
            away = np.linalg.norm(centers - (box[:2] + box[2:]) / 2, axis=1)
            rows += [first + row for row in np.argsort(away)[:topk]]
        ious = [_iou(anchors[row], box) for row in rows]
        enough = np.mean(ious) + np.std(ious, ddof=1)
        for row, iou in zip(rows, ious, strict=True):
            center = (anchors[row][:2] + anchors[row][2:]) / 2
            is_inside = min(*(center - box[:2]), *(box[2:] - center)) > 0.01
            if is_inside and iou >= enough and iou > best[row]:
                owner[row], best[row] = number, iou
    found = assign_by_statistics(levels, torch.from_numpy(objects), topk=topk)
    assert found.tolist() == owner


@pytest.mark.parametrize(("num", "objects"), [(0, 2), (5, 0), (0, 0)])
def test_no_anchor_or_no_object_gives_background(num, objects):
    found = assign_by_statistics([torch.rand(num, 4), torch.rand(0, 4)], torch.rand(objects, 4))
    assert found.tolist() == [-1] * num


@pytest.mark.parametrize("seed", range(10))
def test_an_object_is_learnt_by_the_best_anchors_of_cells_with_a_centre(seed):
    rng = np.random.RandomState(seed)
    # Few values, so that several anchors may be the best.
    ious, has_centre = rng.randint(0, 10, (3, 20)) / 10, rng.rand(20) < 0.4
    expected = [-1] * 20
    for row in range(20):
        if has_centre[row] and ious[:, row].max() > 0.6:
            expected[row] = int(ious[:, row].argmax())
    for number in range(3):
        best = ious[number, has_centre].max()
        for row in range(20):
            if has_centre[row] and best > 0 and ious[number, row] == best:
                expected[row] = number
    found = assign_in_cells(
        torch.from_numpy(ious), torch.from_numpy(has_centre), above=0.6, below=0.4
    )
    assert found.owner.tolist() == expected
    is_low = ious.max(axis=0) <= 0.4
    assert found.is_background.tolist() == (is_low & (np.array(expected) < 0)).tolist()


@pytest.mark.parametrize(("num", "objects"), [(0, 2), (5, 0), (0, 0)])
def test_in_cells_of_nothing_all_is_background(num, objects):
    found = assign_in_cells(torch.rand(objects, num), torch.ones(num, dtype=torch.bool))
    assert found.owner.tolist() == [-1] * num
    assert found.is_background.all()


def _aligned_by_loops(points, logits, boxes, gt_boxes, gt_classes, topk):
    """One object after the other: its best cells, then the contested ones, then the scale."""
    num, wanted = len(points), [[] for _ in points]
    aligned, ious = np.zeros((2, num, len(gt_boxes)))
    for number, target in enumerate(gt_boxes):
        for row, (x, y) in enumerate(points):
            low, high = (
                np.maximum(boxes[row, :2], target[:2]),
                np.minimum(boxes[row, 2:], target[2:]),
            )
            shared = (high - low).clip(0).prod()
            areas = [(box[2:] - box[:2]).prod() for box in (boxes[row], target)]
            ious[row, number] = iou = shared / (sum(areas) - shared)
            if target[0] < x < target[2] and target[1] < y < target[3]:
                score = 1 / (1 + np.exp(-logits[row, gt_classes[number]]))
                aligned[row, number] = score * iou**6
        for row in np.argsort(-aligned[:, number])[:topk]:
            if aligned[row, number] > 0:
                wanted[row].append(number)
    owner = [
        max(some, key=lambda i: ious[row, i]) if some else -1 for row, some in enumerate(wanted)
    ]
    quality = np.zeros(num)
    for number in range(len(gt_boxes)):
        own = [row for row in range(num) if owner[row] == number]
        for row in own:
            scale = ious[own, number].max() / aligned[own, number].max()
            quality[row] = aligned[row, number] * scale
    return owner, quality


@pytest.mark.parametrize("seed", range(5))
def test_aligned_cells_are_those_whose_score_and_box_are_good(seed):
    rng = np.random.RandomState(seed)
    points, _, _ = (value.numpy() for value in _grid())
    points = points + 4
    boxes = np.concatenate([points - rng.rand(64, 2) * 20, points + rng.rand(64, 2) * 20], axis=1)
    first = rng.rand(4, 2) * 30
    gt_boxes = np.concatenate([first, first + 10 + rng.rand(4, 2) * 30], axis=1)
    gt_classes, logits = rng.randint(0, 3, 4), rng.randn(64, 3) * 2
    numbers = [points, logits, boxes, gt_boxes, gt_classes]
    owner, quality = _aligned_by_loops(*numbers, topk=9)
    found = assign_by_alignment(*(torch.from_numpy(part) for part in numbers), topk=9)
    assert len({*owner} - {-1}) > 1
    assert found.owner.tolist() == owner
    np.testing.assert_allclose(found.quality, quality, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("num", "objects"), [(0, 2), (5, 0), (0, 0)])
def test_nothing_is_aligned_with_nothing(num, objects):
    boxes, labels = torch.rand(objects, 4), torch.zeros(objects, dtype=torch.int64)
    found = assign_by_alignment(
        torch.rand(num, 2), torch.rand(num, 3), torch.rand(num, 4), boxes, labels
    )
    assert found.owner.tolist() == [-1] * num
    assert found.quality.tolist() == [0] * num


def test_an_object_that_no_box_overlaps_is_learnt_by_none():
    points, _, boxes = _grid()
    far = torch.tensor([[20.0, 20, 44, 44]])
    found = assign_by_alignment(points, torch.zeros(64, 1), boxes + 500, far, torch.tensor([0]))
    assert (found.owner == -1).all()
    assert (found.quality == 0).all()
