"""`TEST.SOFT_NMS` lets detectors keep neighbours with lower scores."""

import pytest
import torch

from d2lite.modeling import build_model
from d2lite.utils.errors import ExportError

from .small_detectors import fill, images_of, small_config


def _model(name, *options):
    torch.manual_seed(0)
    return fill(build_model(small_config(name, *options)))


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("name", ["mask", "cascade", "retinanet", "fcos"])
def test_the_key_lowers_scores_instead_of_dropping_boxes(name, method):
    """The best detection stays as it is; others are more, with scores that fell."""
    batch = images_of([(64, 96)])
    options = ["TEST.DETECTIONS_PER_IMAGE", 3000, "MODEL.FCOS.NMS_THRESH_TEST", 0.05]
    soft = _model(name, *options, "TEST.SOFT_NMS.METHOD", method)
    hard = _model(name, *options)
    with torch.no_grad():
        found, dropped = (model(batch)[0]["instances"] for model in (soft, hard))
    assert len(found) > len(dropped) > 0
    assert found.scores[0] == dropped.scores[0]
    assert torch.equal(found.pred_boxes.tensor[0], dropped.pred_boxes.tensor[0])
    assert (found.scores.diff() <= 0).all()
    assert found.scores[-1] >= 0.001


@pytest.mark.parametrize("name", ["mask", "cascade", "retinanet"])
def test_fast_suppression_keeps_some_of_the_boxes_that_are_kept_without_it(name):
    """Those that only a dropped box overlaps are dropped, too."""
    batch = images_of([(64, 96)])
    options = ["TEST.DETECTIONS_PER_IMAGE", 3000, "MODEL.RETINANET.NMS_THRESH_TEST", 0.05]
    fast = _model(name, *options, "TEST.SOFT_NMS.METHOD", "fast")
    with torch.no_grad():
        found, usual = (model(batch)[0]["instances"] for model in (fast, _model(name, *options)))
    assert 0 < len(found) < len(usual)
    rows = [[*map(tuple, x.pred_boxes.tensor.tolist())] for x in (found, usual)]
    assert set(rows[0]) <= set(rows[1])


@pytest.mark.parametrize("name", ["faster", "retinanet"])
def test_it_has_no_fixed_size_form(name):
    model = _model(name, "TEST.SOFT_NMS.METHOD", "linear")
    images = model.preprocess_image(images_of([(64, 96)]))
    with torch.no_grad(), pytest.raises(ExportError, match="no fixed-size form"):
        model.predict_padded(images.tensor, torch.tensor(images.image_sizes))
