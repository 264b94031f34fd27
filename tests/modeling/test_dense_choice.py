"""Detections from the scores of all cells, against their definition."""

import pytest
import torch

from d2lite.engine import setup_cfg
from d2lite.layers import SoftNMS
from d2lite.modeling import build_model
from d2lite.modeling.dense_choice import DenseChoice
from d2lite.utils.errors import ExportError

COUNTS = [40, 10]


def _made(seed, classes=3):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(50, 2, generator=generator) * 60 - 5
    sides = torch.rand(50, 2, generator=generator) * 30 + 1
    return torch.cat([low, low + sides], dim=1), torch.rand(50, classes, generator=generator)


def test_only_the_best_pairs_of_each_level_are_candidates():
    boxes, scores = _made(0)
    found = DenseChoice(0.0, 5, 1.0, 100).detect(boxes, scores, COUNTS, (100, 100))
    expected = [of_level.flatten().topk(5).values for of_level in scores.split(COUNTS)]
    assert torch.equal(found.scores, torch.cat(expected).sort(descending=True).values)


def test_each_detection_has_the_box_and_the_score_of_its_cell():
    boxes, scores = _made(1)
    found = DenseChoice(0.5, 100, 0.5, 20).detect(boxes, scores, COUNTS, (50, 40))
    assert 0 < len(found) <= 20
    assert torch.equal(scores[found.cell, found.pred_classes], found.scores)
    limits = torch.tensor([40.0, 50, 40, 50])
    assert torch.equal(found.pred_boxes.tensor, boxes[found.cell].clamp(min=0).minimum(limits))
    assert (found.scores > 0.5).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("choice", [DenseChoice(0.3, 30, 0.5, 20), DenseChoice(0.9, 1000, 0.3, 5)])
def test_the_fixed_size_form_gives_the_same(seed, choice):
    boxes, scores = _made(seed)
    found = choice.detect(boxes, scores, COUNTS, (50, 60))
    padded, cells = choice.detect_padded(
        boxes[None], scores[None], COUNTS, torch.tensor([[50, 60]])
    )
    count = int(padded.valid.sum())
    assert count == len(found)
    assert torch.equal(padded.boxes[0, :count], found.pred_boxes.tensor)
    assert torch.equal(padded.scores[0, :count], found.scores)
    assert torch.equal(padded.classes[0, :count], found.pred_classes)
    assert torch.equal(cells[0, :count], found.cell)


def test_without_a_score_above_the_threshold_nothing_is_found():
    boxes, scores = _made(2)
    found = DenseChoice(1.0, 30, 0.5, 20).detect(boxes, scores, COUNTS, (50, 60))
    assert len(found) == 0


def test_soft_suppression_lowers_scores_and_has_no_fixed_size_form():
    boxes, scores = _made(3)
    hard = DenseChoice(0.3, 100, 0.3, 100)
    soft = hard._replace(soft_nms=SoftNMS("gaussian"))
    found, dropped = (one.detect(boxes, scores, COUNTS, (50, 60)) for one in (soft, hard))
    assert len(found) > len(dropped) > 0
    assert found.scores[0] == dropped.scores[0]
    assert (scores[found.cell, found.pred_classes] >= found.scores).all()
    assert (scores[found.cell, found.pred_classes] > found.scores + 0.1).any()
    with pytest.raises(ExportError, match="no fixed-size form"):
        soft.detect_padded(boxes[None], scores[None], COUNTS, torch.tensor([[50, 60]]))


@pytest.mark.parametrize(
    "recipe",
    ["yolov3_quick_start.yaml", "yolox_quick_start.yaml", "rtmdet_quick_start.yaml", "ssd300.yaml"],
)
def test_the_key_of_soft_suppression_reaches_each_model(recipe):
    options = ["TEST.SOFT_NMS.METHOD", "linear", "MODEL.DEVICE", "cpu"]
    assert build_model(setup_cfg(recipe, options)).soft_nms.method == "linear"
