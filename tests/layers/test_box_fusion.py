"""Weighted box fusion against its definition."""

import numpy as np
import pytest
import torch

from d2lite.layers import weighted_box_fusion

from .test_nms import some_boxes
from .test_soft_nms import iou_of_two


def _by_definition(boxes, scores, classes, num_models, limit):
    """Lists of the boxes of each fused one, as the paper describes them."""
    clusters = []
    for i in np.argsort(-scores, kind="stable"):
        best, most = None, limit
        for cluster in clusters:
            weights = scores[cluster]
            center = (boxes[cluster] * weights[:, None]).sum(axis=0) / weights.sum()
            if classes[cluster[0]] == classes[i] and iou_of_two(center, boxes[i]) > most:
                best, most = cluster, iou_of_two(center, boxes[i])
        if best is None:
            clusters.append([i])
        else:
            best.append(i)
    found = []
    for cluster in clusters:
        weights = scores[cluster]
        box = (boxes[cluster] * weights[:, None]).sum(axis=0) / weights.sum()
        score = weights.mean() * min(len(cluster), num_models) / num_models
        found.append((score, box, classes[cluster[0]], cluster[0]))
    return sorted(found, key=lambda row: -row[0])


@pytest.mark.parametrize("num_models", [2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_boxes_that_agree_become_their_weighted_mean(seed, num_models):
    boxes, rng = some_boxes(80, seed), np.random.default_rng(seed)
    scores, classes = rng.uniform(0.01, 1, 80).astype("f4"), rng.integers(0, 2, 80)
    expected = _by_definition(boxes.numpy(), scores, classes, num_models, 0.4)
    arguments = boxes, torch.from_numpy(scores), torch.from_numpy(classes), num_models, 0.4
    found = weighted_box_fusion(*arguments)
    assert len(found.scores) == len(expected) < 80
    assert found.scores.tolist() == pytest.approx([row[0] for row in expected], rel=1e-5)
    np.testing.assert_allclose(found.boxes, [row[1] for row in expected], rtol=1e-4, atol=1e-3)
    assert found.classes.tolist() == [row[2] for row in expected]
    assert found.best.tolist() == [row[3] for row in expected]


def test_models_that_agree_fully_give_the_boxes_of_one():
    boxes, scores = torch.tensor([[0.0, 0, 9, 9], [20, 20, 40, 40]]), torch.tensor([0.8, 0.6])
    classes = torch.tensor([3, 1])
    found = weighted_box_fusion(
        boxes.repeat(3, 1), scores.repeat(3), classes.repeat(3), num_models=3
    )
    torch.testing.assert_close(found.boxes, boxes)
    torch.testing.assert_close(found.scores, scores)
    assert torch.equal(found.classes, classes)


def test_what_one_model_of_two_finds_scores_half():
    found = weighted_box_fusion(
        torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([0.8]), torch.tensor([0]), num_models=2
    )
    assert found.scores.item() == pytest.approx(0.4)


def test_boxes_without_area_or_score_are_finite():
    boxes = torch.tensor([[3.0, 3, 3, 3], [3, 3, 3, 3]])
    found = weighted_box_fusion(boxes, torch.zeros(2), torch.zeros(2).long(), num_models=2)
    assert torch.equal(found.boxes, boxes)
    assert found.scores.tolist() == [0, 0]


def test_nothing_gives_nothing():
    empty = torch.zeros(0)
    found = weighted_box_fusion(torch.zeros(0, 4), empty, empty.long(), num_models=2)
    assert [len(part) for part in found] == [0, 0, 0, 0]
