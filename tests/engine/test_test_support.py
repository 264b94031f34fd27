"""Helpers that tests written for detectron2 import from utils.testing."""

import pytest
import torch

from d2lite.config import LazyCall
from d2lite.structures import Boxes, Instances
from d2lite.utils import testing


def test_drawn_boxes_have_area_and_stay_in_range():
    boxes = testing.random_boxes(200, max_coord=50)
    assert boxes.shape == (200, 4)
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 1).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 51


def test_instances_are_compared_field_by_field():
    def make(score: float, size: tuple[int, int] = (9, 9)) -> Instances:
        box = Boxes(torch.tensor([[1.0, 1, 5, 5]]))
        return Instances(size, pred_boxes=box, scores=torch.tensor([score]))

    testing.assert_instances_allclose(make(0.5), make(0.5 + 1e-7))
    for other in (make(0.6), make(0.5, (9, 8)), Instances((9, 9), scores=torch.tensor([0.5]))):
        with pytest.raises(AssertionError):
            testing.assert_instances_allclose(make(0.5), other, msg="traced:")


def test_sample_image_is_a_picture_in_either_form():
    image = testing.get_sample_coco_image()
    assert image.ndim == 3
    assert image.dtype == torch.float32
    assert testing.get_sample_coco_image(tensor=False).shape == (*image.shape[1:], 3)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_reloaded_models_and_configs_are_the_same():
    layer = torch.jit.script(torch.nn.Linear(2, 1))
    x = torch.rand(3, 2)
    assert torch.equal(testing.reload_script_model(layer)(x), layer(x))
    pytest.importorskip("omegaconf")
    cfg = LazyCall(torch.nn.Linear)(in_features=2, out_features=1)
    assert testing.reload_lazy_config(cfg).in_features == 2
