"""Several models as one: `--ensemble` of `d2lite predict` and `d2lite eval`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.predicting import Predictor
from d2lite.predicting.ensemble import fuse
from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError

from .conftest import CLASSES


@pytest.fixture
def renamed(checkpoint, tmp_path):
    """Writes the tiny model with other class names, and other weights where asked for."""

    def write(names, seed=None):
        content = torch.load(checkpoint, weights_only=True)
        content["d2lite"]["class_names"] = names
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            weight = content["model"]["roi_heads.box_predictor.cls_score.weight"]
            weight.copy_(torch.randn(weight.shape, generator=generator) * weight.std())
        path = tmp_path / f"{'_'.join(names)}_{seed}.pth"
        torch.save(content, path)
        return path

    return write


def test_a_model_with_itself_finds_what_it_finds_alone(checkpoint, photos):
    """Boxes of its own that overlap are fused, so the best one of each place is compared."""
    alone = Predictor(checkpoint, threshold=0)(photos / "0.png")
    twice = Predictor(checkpoint, threshold=0, ensemble=[checkpoint])(photos / "0.png")
    assert 0 < len(twice) <= len(alone)
    assert twice.scores[0] == pytest.approx(alone.scores[0], rel=1e-5)
    np.testing.assert_allclose(twice.boxes[0], alone.boxes[0], rtol=1e-4, atol=1e-3)
    assert twice.cropped_masks is not None
    assert twice.names[0] == alone.names[0]


def test_classes_are_joined_by_name(checkpoint, renamed, photos):
    """The second model has its classes in another order, with the same numbers for each place."""
    other = renamed(CLASSES[::-1])
    both = Predictor(checkpoint, threshold=0, ensemble=[other])(photos / "0.png")
    alone = Predictor(checkpoint, threshold=0)(photos / "0.png")
    mirrored = Predictor(other, threshold=0)(photos / "0.png")
    assert set(both.names) <= {*alone.names, *mirrored.names}
    # What one alone says of a place has half its score.
    assert both.scores.max() < alone.scores.max()


def test_other_classes_are_refused_by_name(checkpoint, renamed):
    other = renamed(["nut", *CLASSES[1:]])
    with pytest.raises(ConfigError, match="has nut, square"):
        Predictor(checkpoint, ensemble=[other])


def test_the_command_predicts_with_all_models(d2lite, checkpoint, renamed, photos, tmp_path):
    other = renamed(CLASSES, seed=1)
    out = tmp_path / "out"
    words = ("--threshold", 0, "--save-as", "json", "--output", out, "--ensemble", other)
    status, *text = d2lite("predict", checkpoint, "--input", photos, *words)
    assert status == 0, text
    found = json.loads((out / "predictions.json").read_text())
    expected = Predictor(checkpoint, threshold=0, ensemble=[other])([photos / "0.png"])
    assert len(found[0]["objects"]) == len(expected[0])


def test_the_command_evaluates_all_models(d2lite, checkpoint, renamed, photos, tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "0.png", "height": 128, "width": 128}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 0, "bbox": [5, 5, 40, 40], "area": 1600,
             "iscrowd": 0, "segmentation": [[5, 5, 45, 5, 45, 45, 5, 45]]}
        ],
    }  # fmt: skip
    with Image.open(photos / "0.png") as picture:
        content["images"][0]["width"], content["images"][0]["height"] = picture.size
    (tmp_path / "labels.json").write_text(json.dumps(content))
    status, *text = d2lite(
        *("eval", checkpoint, "--ensemble", renamed(CLASSES, seed=1)),
        *("DATASETS.TEST", f"('coco:{tmp_path}/labels.json@{photos}',)"),
        *("OUTPUT_DIR", tmp_path / "out", "MODEL.DEVICE", "cpu"),
    )
    assert status == 0, text
    results = json.loads((tmp_path / "out/inference/coco_instances_results.json").read_text())
    both = Predictor(checkpoint, threshold=0, ensemble=[renamed(CLASSES, seed=1)])
    scores = sorted(result["score"] for result in results)
    assert scores == pytest.approx(sorted(both(photos / "0.png").scores), abs=1e-4)


def _found(**fields):
    values = {
        "pred_boxes": Boxes(torch.tensor([[0.0, 0, 9, 9]])),
        "scores": torch.tensor([0.8]),
        "pred_classes": torch.tensor([1]),
    }
    return Instances((20, 20), **{**values, **fields})


def test_masks_are_left_out_where_one_model_has_none():
    masks = torch.ones(1, 20, 20, dtype=torch.bool)
    assert fuse([_found(pred_masks=masks), _found(pred_masks=~masks)]).pred_masks.all()
    assert not fuse([_found(pred_masks=masks), _found()]).has("pred_masks")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"sem_seg": None}, "gives \\['sem_seg'\\]"),
        ({"instances": _found(pred_boxes=RotatedBoxes(torch.zeros(1, 5)))}, "rotated"),
    ],
)
def test_what_has_no_upright_boxes_is_refused(output, message):
    from d2lite.predicting.ensemble import _instances

    with pytest.raises(ConfigError, match=message):
        _instances(output, None)
