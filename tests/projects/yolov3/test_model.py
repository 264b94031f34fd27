"""The model: thresholds, cells of objects, the fixed-size form, options that are refused."""

import pytest
import torch

from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError

from ..runs import both_forms
from .small import build, image, small_cfg


@pytest.fixture
def model():
    return build()


def test_class_and_object_have_thresholds_of_their_own(model):
    model.eval()
    batch = [image(0, 0)]
    for scores, objects, is_any in ((0.0, 0.0, True), (0.0, 1.0, False), (1.0, 0.0, False)):
        model.test_score_thresh, model.test_object_thresh = scores, objects
        with torch.no_grad():
            assert bool(len(model.predict(batch)[0]["instances"])) == is_any


def test_fixed_size_form_gives_the_ordinary_detections(model):
    model.eval()
    model.test_score_thresh = model.test_object_thresh = 0.0
    expected, found = both_forms(model, [image(0, 0), image(1, 0, 40, 60)])
    for i, one in enumerate(expected):
        boxes = found["boxes"][i][found["valid"][i]]
        is_whole = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        assert is_whole.any()
        torch.testing.assert_close(boxes[is_whole], one.pred_boxes.tensor)


def test_a_centre_on_a_border_between_cells_is_in_one_cell(model):
    """A box around (32, 32), a corner of cells of all maps."""
    cells = model._run(torch.zeros(1, 3, 64, 64))
    item = image(0, 1)["instances"]
    item.gt_boxes.tensor[0] = torch.tensor([16.0, 16, 48, 48])
    found = model._assign(cells, item)
    centres = cells.centres[found.owner >= 0]
    assert len(centres) > 0
    assert (centres > 32).all()


def test_frozen_stages_do_not_learn():
    model = build_model(small_cfg("yolov3_608.yaml", "MODEL.BACKBONE.FREEZE_AT", 2))
    below = model.backbone.bottom_up
    assert not any(value.requires_grad for value in below.conv_res_block1.parameters())
    assert all(value.requires_grad for value in below.conv_res_block2.parameters())


def test_maps_without_anchors_are_refused():
    anchors = ["MODEL.YOLOV3.ANCHORS", "[[[10, 13], [16, 30]], [[30, 61], [62, 45]]]"]
    with pytest.raises(ConfigError, match="give each map a list"):
        build_model(small_cfg("yolov3_608.yaml", *anchors))
