"""Whole runs on the keypoints of the built-in shapes, and on COCO's persons by a string."""

import json

import pytest
import torch
from PIL import Image

from d2lite.config import find_config_file, get_cfg
from d2lite.data.datasets.builtin_meta import COCO_PERSON_KEYPOINT_NAMES
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.fcpose import add_fcpose_config

from ..runs import check_drawing, check_resume, metrics, train, train_and_go_on
from .small import TINY


@pytest.mark.slow  # tests/support does this with every model
def test_train_go_on_evaluate_and_draw(run, tmp_path):
    """The number of classes follows from the set."""
    options = ["--config-file", "fcpose_shapes.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    options += ["MODEL.FCOS.SCORE_THRESH_TEST", 0.001]
    weights = train_and_go_on(run, options, tmp_path, "keypoints/AP")
    assert len(weights["head.cls_score.bias"]) == 5
    assert {"category_name", "bbox", "score", "keypoints"} <= check_drawing(run, tmp_path)


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    check_resume("fcpose_shapes.yaml", TINY, tmp_path)


def test_persons_of_coco_by_a_string(tmp_path):
    """A file as person_keypoints_*.json is; one person has keypoints, one is a crowd."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "images/a.png")
    points = [value for i in range(17) for value in (10 + i, 12 + i, 2 if i % 3 else 0)]
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 30, 30], "area": 900}
    crowd = {**person, "id": 2, "iscrowd": 1, "keypoints": [0] * 51, "num_keypoints": 0}
    names = list(COCO_PERSON_KEYPOINT_NAMES)
    text = json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
            "categories": [{"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2]]}],
            "annotations": [{**person, "iscrowd": 0, "keypoints": points}, crowd],
        }
    )
    (tmp_path / "person_keypoints.json").write_text(text)
    string = f"coco:{tmp_path}/person_keypoints.json@{tmp_path}/images"
    seventeen = ["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 17]
    options = [*TINY, *seventeen, "DATASETS.TRAIN", (string,)]
    weights = train("fcpose_shapes.yaml", options, tmp_path / "out", 2)
    assert weights["head.cls_score.bias"].shape == (1,)
    assert weights["basis_module.heatmaps.1.bias"].shape == (17,)


@pytest.mark.parametrize(
    ("depth", "name"), [(50, "fcpose_R_50_FPN_1x"), (101, "fcpose_R_101_FPN_1x")]
)
def test_recipes_have_the_published_sizes(depth, name):
    cfg = get_cfg()
    add_fcpose_config(cfg)
    cfg.merge_from_file(find_config_file(f"fcpose_R_{depth}_FPN_1x.yaml"))
    cfg.MODEL.DEVICE = "meta"
    assert depth == cfg.MODEL.RESNETS.DEPTH
    with torch.device("meta"):
        model = build_model(cfg)
    assert model.controller.out_channels == cfg.MODEL.FCPOSE.ATTN_LEN == 2737


@pytest.mark.slow
def test_it_learns_the_keypoints_of_shapes_from_nothing(tmp_path):
    options = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    trainer = DefaultTrainer(setup_cfg("fcpose_shapes.yaml", options))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert metrics(tmp_path)[-1]["keypoints/AP"] > 8
