"""The model: losses of odd batches, and results in the sizes that were asked for."""

import pytest
import torch

from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError

from .small import image, small_cfg


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(small_cfg())


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (3, 40)])
def test_losses_are_finite_and_reach_every_weight(model, counts):
    """Without objects, with one, and with more than cells of the coarsest level."""
    losses = model.losses([image(seed, count) for seed, count in enumerate(counts)])
    assert set(losses) == {"loss_cls", "loss_bbox", "loss_mask"}
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
    if not any(counts):
        assert losses["loss_bbox"] == losses["loss_mask"] == 0


def test_image_without_objects_needs_no_masks(model):
    """The mappers of many users leave the field out."""
    bare = image(1, 0)
    bare["instances"].remove("gt_masks")
    assert model.losses([image(0, 3), bare]) == model.losses([image(0, 3), image(1, 0)])


def test_losses_are_finite_in_bfloat16(model):
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses([image(0, 3), image(1, 0)])
    assert all(value.isfinite() for value in losses.values())


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


@pytest.mark.parametrize("size", [(17, 33), (64, 96), (100, 40)])
def test_results_have_the_size_that_was_asked_for(model, size):
    model.eval()
    model.test_score_thresh = 0.0
    asked = {**image(0, 0, *size), "height": 50, "width": 70}
    with torch.no_grad():
        (result,) = model.predict([asked])
    found = result["instances"]
    assert found.image_size == (50, 70)
    assert 0 < len(found) <= 100
    assert found.pred_masks.shape == (len(found), 50, 70)
    assert found.pred_masks.dtype == torch.bool
    assert not found.has("cell")
    assert (found.scores.diff() <= 0).all()


def test_images_without_detections_have_empty_results(model):
    model.eval()
    model.test_score_thresh = 1.0
    with torch.no_grad():
        results = model.predict([image(0, 0), image(1, 0, 40, 60)])
    assert [result["instances"].pred_masks.shape for result in results] == [
        (0, 64, 96),
        (0, 40, 60),
    ]


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


def test_fixed_size_form_of_boxes_gives_the_ordinary_detections():
    torch.manual_seed(0)
    model = build_model(small_cfg("rtmdet_tiny.yaml")).eval()
    for layer in model.head.rtm_cls:
        layer.weight.data *= 100  # At the start many scores are the same.
    batch = [image(0, 0), image(1, 0, 40, 60)]
    images = model.preprocess_image(batch)
    with torch.no_grad():
        expected = model.predict(batch)
        found = model.predict_padded(images.tensor, torch.tensor(images.image_sizes))
    for i, one in enumerate(expected):
        boxes = found["boxes"][i][found["valid"][i]]
        is_whole = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        assert is_whole.any()
        torch.testing.assert_close(boxes[is_whole], one["instances"].pred_boxes.tensor)
