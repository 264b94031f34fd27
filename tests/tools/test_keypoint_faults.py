"""What is wrong about keypoints ends a run with 2 before its first iteration."""

import json

import pytest
from PIL import Image

from d2lite.data import DatasetCatalog

from .conftest import TINY
from .test_train_net_models import KEYPOINTS

KEYPOINT_RCNN = ["--config-file", "quick_start.yaml", *TINY, *KEYPOINTS]
FCPOSE = ["--config-file", "fcpose_shapes.yaml", "MODEL.DEVICE", "cpu"]


@pytest.fixture
def boxes_alone(tmp_path):
    """The string of a COCO file of one image whose object has a box alone."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "images/a.png")
    thing = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400}
    text = json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [{**thing, "iscrowd": 0}],
        }
    )
    (tmp_path / "labels.json").write_text(text)
    return f"coco:{tmp_path}/labels.json@{tmp_path}/images"


@pytest.mark.parametrize("recipe", [KEYPOINT_RCNN, FCPOSE], ids=["Keypoint R-CNN", "FCPose"])
@pytest.mark.parametrize("fewest", [0, 1])
def test_a_set_without_keypoints(recipe, fewest, boxes_alone, run, tmp_path):
    options = [*recipe, "DATASETS.TRAIN", f"('{boxes_alone}',)", "DATASETS.TEST", "()"]
    few = ["MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE", fewest]
    ended = run("train_net", *options, *few, "OUTPUT_DIR", tmp_path / "out")
    assert ended.status == 2
    problem = "has no keypoints" if recipe is FCPOSE else "None of the 1 objects of coco:"
    assert problem in ended.err
    assert "person_keypoints_*.json" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("recipe", [KEYPOINT_RCNN, FCPOSE], ids=["Keypoint R-CNN", "FCPose"])
def test_another_number_of_keypoints(recipe, run, tmp_path):
    number = ["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 17, "DATASETS.TEST", "()"]
    ended = run("train_net", *recipe, *number, "OUTPUT_DIR", tmp_path)
    assert ended.status == 2
    count = sum(len(record["annotations"]) for record in DatasetCatalog.get("shapes_train"))
    assert "NUM_KEYPOINTS is 17, but objects of shapes_train" in ended.err
    assert f"5 ({count} objects). Set it to 5." in ended.err


def test_no_sigma_for_each_keypoint(run, tmp_path):
    """COCO's 17 are used where none are given; an evaluation at the end would be too late."""
    few = ["TEST.KEYPOINT_OKS_SIGMAS", "()"]
    ended = run("train_net", *KEYPOINT_RCNN, *few, "OUTPUT_DIR", tmp_path)
    assert ended.status == 2
    assert "Set TEST.KEYPOINT_OKS_SIGMAS to 5 numbers" in ended.err
    assert not (tmp_path / "metrics.json").exists()
