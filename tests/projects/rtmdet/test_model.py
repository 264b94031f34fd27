"""The model: masks, which are compared and which there are, and options that are refused."""

import pytest
import torch

from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError

from .small import image, small_cfg


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(small_cfg())


def test_image_without_objects_needs_no_masks(model):
    """The mappers of many users leave the field out."""
    bare = image(1, 0)
    bare["instances"].remove("gt_masks")
    assert model.losses([image(0, 3), bare]) == model.losses([image(0, 3), image(1, 0)])


def test_at_most_the_wanted_number_of_masks_is_compared(model, monkeypatch):
    seen = []
    inner = model._logits_of
    monkeypatch.setattr(
        model, "_logits_of", lambda *args: seen.append(len(args[-1])) or inner(*args)
    )
    model.losses([image(0, 5)])
    assert seen[-1] > 2
    model.max_masks = 2
    model.losses([image(0, 5)])
    assert seen[-1] == 2


def test_boxes_alone_have_no_masks():
    model = build_model(small_cfg("rtmdet_tiny.yaml"))
    assert set(model.losses([image(0, 2)])) == {"loss_cls", "loss_bbox"}
    model.eval()
    with torch.no_grad():
        assert not model.predict([image(0, 2)])[0]["instances"].has("pred_masks")


def test_frozen_stages_do_not_learn():
    model = build_model(small_cfg("rtmdet_tiny.yaml", "MODEL.BACKBONE.FREEZE_AT", 2))
    below = model.backbone.bottom_up
    assert not any(value.requires_grad for value in below.stage1.parameters())
    assert all(value.requires_grad for value in below.stage2.parameters())


def test_another_meaning_of_distances_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match='use "exp", "linear" or "relu"'):
        build_model(small_cfg("rtmdet_tiny.yaml", "MODEL.RTMDET.DISTANCES", "log"))


def test_cells_can_be_assigned_by_the_alignment_of_score_and_box():
    model = build_model(small_cfg("rtmdet_ins_tiny.yaml", "MODEL.RTMDET.ASSIGNER", "task_aligned"))
    losses = model.losses([image(0, 3), image(1, 0)])
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    with pytest.raises(ConfigError, match=r"RTMDET.ASSIGNER='best': use .soft_label. or .task_ali"):
        build_model(small_cfg("rtmdet_tiny.yaml", "MODEL.RTMDET.ASSIGNER", "best"))
