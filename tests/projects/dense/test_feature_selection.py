"""Which cells learn which object in FSAF, against loops over cells and objects."""

import numpy as np
import pytest
import torch

from d2lite.modeling import build_model
from d2lite.projects.dense.feature_selection import (
    assign_on_levels,
    best_levels,
    cells_in_regions,
    learnable_cells,
)
from d2lite.utils.errors import ConfigError

from .small import NUM_CLASSES, image, small_cfg

STRIDES = [8, 16, 32]
SIDE = 96


def _cells():
    """(R, 4) squares around points at the corners of cells, and (R,) their level."""
    rows, levels = [], []
    for level, stride in enumerate(STRIDES):
        for y in range(0, SIDE, stride):
            for x in range(0, SIDE, stride):
                half = stride / 2
                rows.append([x - half, y - half, x + half, y + half])
                levels.append(level)
    return torch.tensor(rows), torch.tensor(levels)


def _objects(count, seed=0):
    rng = np.random.RandomState(seed)
    first = rng.rand(count, 2) * SIDE * 0.7
    boxes = np.concatenate([first, first + 6 + rng.rand(count, 2) * SIDE * 0.6], axis=1)
    return torch.from_numpy(boxes).float()


def _covers(cell, box, share):
    """Whether the middle of a box covers more than a hundredth of a cell."""
    covered = 1.0
    for axis in (0, 1):
        centre = (box[axis] + box[axis + 2]) / 2
        half = (box[axis + 2] - box[axis]) / 2 * share
        low, high = max(centre - half, cell[axis]), min(centre + half, cell[axis + 2])
        covered *= max(high - low, 0.0) / (cell[axis + 2] - cell[axis])
    return covered > 0.01


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_regions_are_the_middle_of_objects(share):
    cells, boxes = _cells()[0], _objects(9)
    inside = cells_in_regions(cells, boxes, share)
    can_learn = learnable_cells(cells, boxes, share)
    for r, cell in enumerate(cells.tolist()):
        x, y = (cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2
        for m, box in enumerate(boxes.tolist()):
            holds = box[0] < x < box[2] and box[1] < y < box[3]
            assert inside[r, m] == _covers(cell, box, share)
            assert can_learn[r, m] == (inside[r, m] and holds)


def test_the_level_of_an_object_has_the_smallest_mean_loss():
    """The third object has no cell on the first level, the fourth none at all."""
    objects = torch.tensor([0, 0, 0, 1, 1, 2, 0])
    levels = torch.tensor([0, 0, 1, 1, 2, 2, 1])
    losses = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0, 9.0, 3.0])
    assert best_levels(losses, objects, levels, 4, 3).tolist() == [1, 2, 2, 0]


def test_cells_learn_the_smallest_object_of_their_level_and_are_ignored_around_it():
    (cells, levels), boxes = _cells(), _objects(12, seed=3)
    best = torch.from_numpy(np.random.RandomState(1).randint(0, 3, len(boxes)))
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    can_learn, ignored = learnable_cells(cells, boxes, 0.2), cells_in_regions(cells, boxes, 0.5)
    apart = (levels[:, None] - best).abs()
    owner, left_out = assign_on_levels(can_learn, ignored, apart, areas)
    for r, level in enumerate(levels.tolist()):
        able = [m for m in range(len(boxes)) if can_learn[r, m] and best[m] == level]
        wanted = min(able, key=lambda m: areas[m]) if able else -1
        assert owner[r] == wanted
        for m in range(len(boxes)):
            is_near = abs(best[m] - level) <= 1
            assert left_out[r, m] == bool(m != wanted and is_near and ignored[r, m])
    assert (owner >= 0).any()
    assert left_out.any()


def test_without_objects_no_cell_learns_one():
    cells, levels = _cells()
    none = torch.zeros(0, 4)
    regions = cells_in_regions(cells, none, 0.2)
    owner, left_out = assign_on_levels(regions, regions, levels[:, None] - none[:, 0], none[:, 0])
    assert (owner == -1).all()
    assert left_out.shape == (len(cells), 0)


def _losses_of(kind_opts, batch):
    torch.manual_seed(0)
    model = build_model(small_cfg("FSAF", *kind_opts))
    with torch.no_grad():
        # Scores and boxes that differ from cell to cell, so that levels differ in their loss.
        for layer in (model.head.cls_score, model.head.bbox_pred):
            layer.weight.mul_(50)
        return model, {name: value.item() for name, value in model.losses(batch).items()}


def test_losses_are_those_of_loops():
    """The focal loss of all classes but those left out, and -log(IoU), over the learning cells."""
    batch = [image(0, 3), image(1, 1), image(2, 0)]
    model, losses = _losses_of([], batch)
    with torch.no_grad():
        _, features, predictions = model._run_network(batch)
        anchors = [boxes.tensor for boxes in model.anchor_generator(features)]
        logits, deltas = (torch.cat(x, dim=1) for x in model._by_cell(predictions))
    cells = torch.cat(anchors)
    levels = [i for i, boxes in enumerate(anchors) for _ in range(len(boxes))]
    class_loss = box_loss = count = 0
    for n, sample in enumerate(batch):
        objects = list(
            zip(
                sample["instances"].gt_boxes.tensor.tolist(),
                sample["instances"].gt_classes.tolist(),
                strict=True,
            )
        )
        found = model.box2box_transform.apply_deltas(deltas[n], cells).tolist()
        scores = logits[n].tolist()
        able, chosen = {}, []
        for m, (box, category) in enumerate(objects):
            means = {}
            for r, cell in enumerate(cells.tolist()):
                x, y = (cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2
                is_inside = box[0] < x < box[2] and box[1] < y < box[3]
                if is_inside and _covers(cell, box, 0.2):
                    able.setdefault(m, []).append(r)
                    focal = sum(_focal(scores[r][c], c == category) for c in range(NUM_CLASSES))
                    means.setdefault(levels[r], []).append(focal + _iou_loss(found[r], box))
            chosen.append(min(means, key=lambda level: np.mean(means[level])) if means else 0)
        for r, cell in enumerate(cells.tolist()):
            own = [m for m, rows in able.items() if r in rows and chosen[m] == levels[r]]
            area = {m: np.prod(np.subtract(objects[m][0][2:], objects[m][0][:2])) for m in own}
            owner = min(own, key=area.get) if own else None
            category = None if owner is None else objects[owner][1]
            out = {
                objects[m][1]
                for m in range(len(objects))
                if abs(chosen[m] - levels[r]) <= 1 and _covers(cell, objects[m][0], 0.5)
            } - {category}
            class_loss += sum(
                _focal(scores[r][c], c == category) for c in range(NUM_CLASSES) if c not in out
            )
            if owner is not None:
                box_loss += _iou_loss(found[r], objects[owner][0])
                count += 1
    assert count > 3
    assert losses["loss_cls"] == pytest.approx(class_loss / count, rel=1e-4)
    assert losses["loss_bbox"] == pytest.approx(box_loss / count, rel=1e-4)


def _focal(logit, is_true, alpha=0.25, gamma=2.0):
    chance = 1 / (1 + np.exp(-logit))
    right = chance if is_true else 1 - chance
    return -(alpha if is_true else 1 - alpha) * (1 - right) ** gamma * np.log(right)


def _iou_loss(box, other):
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    areas = [np.prod(np.subtract(b[2:], b[:2])) for b in (box, other)]
    return -np.log(max(shared / max(sum(areas) - shared, 1e-6), 1e-6))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("EFFECTIVE_REGION", 0.0, r"EFFECTIVE_REGION=0.0: use one in \(0, 1\]"),
        ("IGNORED_REGION", 1.5, r"IGNORED_REGION=1.5: use one in \(0, 1\]"),
        ("NORMALIZER", 0.0, r"NORMALIZER=0.0: use one above 0"),
    ],
)
def test_numbers_that_mean_no_region_are_refused(key, value, message):
    with pytest.raises(ConfigError, match=message):
        build_model(small_cfg("FSAF", f"MODEL.DENSE.{key}", value))
