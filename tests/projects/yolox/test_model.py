"""The model: its last loss, pixels, cells, and the fixed-size form."""

import pytest
import torch

from d2lite.modeling import build_model
from d2lite.utils.events import EventStorage

from ..runs import both_forms
from .small import image, small_cfg


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(small_cfg())


def test_boxes_are_compared_by_l1_in_the_last_part_of_a_training():
    """As published, for the last 15 of 300 epochs."""
    model = build_model(small_cfg("yolox_s.yaml", "SOLVER.MAX_ITER", 300))
    seen = {}
    for start in (0, 284, 285):
        with EventStorage(start):
            seen[start] = "loss_l1" in model.losses([image(0, 3)])
    assert seen == {0: False, 284: False, 285: True}


def test_an_object_without_a_width_has_a_finite_l1():
    model = build_model(small_cfg("yolox_s.yaml", "SOLVER.MAX_ITER", 300))
    item = image(0, 1)
    item["instances"].gt_boxes.tensor[:, 2] = item["instances"].gt_boxes.tensor[:, 0]
    with EventStorage(290):
        losses = model.losses([item])
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_l1"] > 0


def test_no_part_means_no_l1():
    model = build_model(small_cfg("yolox_s.yaml", "MODEL.YOLOX.L1_LAST_PART", 0.0))
    with EventStorage(10**6):
        assert "loss_l1" not in model.losses([image(0, 3)])


def test_a_cell_detects_its_best_class_alone(model):
    model.eval()
    model.test_score_thresh, model.test_nms_thresh = 0.0, 1.0
    model.max_detections_per_image = 1000
    with torch.no_grad():
        (result,) = model.predict([image(0, 0, 64, 64)])
    assert 1 < len(result["instances"]) <= 8 * 8 + 4 * 4 + 2 * 2


def test_the_network_sees_pixels_and_grey_padding(model):
    """The published weights were trained on such images."""
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    item = image(0, 0, 40, 60)
    with torch.no_grad():
        model.eval().predict([item])
    assert torch.equal(seen[0][0, :, :40, :60], item["image"].float())
    assert (seen[0][0, :, 40:] == 114).all()
    assert (seen[0][0, :, :, 60:] == 114).all()


def test_fixed_size_form_gives_the_ordinary_detections(model):
    model.eval()
    model.test_score_thresh = 0.0
    expected, found = both_forms(model, [image(0, 0), image(1, 0, 40, 60)])
    for i, one in enumerate(expected):
        boxes = found["boxes"][i][found["valid"][i]]
        is_whole = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        torch.testing.assert_close(boxes[is_whole], one.pred_boxes.tensor)
        scores = found["scores"][i][found["valid"][i]][is_whole]
        torch.testing.assert_close(scores, one.scores)


def test_frozen_stages_do_not_learn():
    model = build_model(small_cfg("yolox_s.yaml", "MODEL.BACKBONE.FREEZE_AT", 2))
    below = model.backbone.bottom_up
    assert not any(value.requires_grad for value in below.stage1.parameters())
    assert all(value.requires_grad for value in below.stage2.parameters())


def test_norms_have_the_published_numbers(model):
    """Weights of 0.001 beside a variance of 0.0001 would be other weights."""
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert len(norms) > 50
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}
