"""`d2lite train photos/`: from a folder to a trained model without a configuration."""

import pytest
import yaml

from d2lite.commands import data_show, train
from d2lite.commands.actions import own_data, show_data
from d2lite.config import get_cfg
from tests.data.spec_files import coco, picture, voc
from tests.tools.conftest import TINY


@pytest.fixture
def folder(folder):
    """Photographs with masks in COCO's format, without a split."""
    files = [f"{number}.jpg" for number in range(10)]
    for file in files:
        picture(folder / "photos/images" / file)
    objects = [(number, 1 + number % 2) for number in range(10)]
    coco(folder / "photos/labels.json", objects=objects, files=files)
    return folder


def test_a_folder_is_trained_on_and_the_config_is_written(d2lite, folder):
    pins = ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64]
    status, out, err = d2lite("train", "photos/", *TINY, *pins, "SOLVER.MAX_ITER", 2)
    assert status == 0, err
    assert "held out" in out
    assert "image size: as you have set it" in out
    assert "This run:" in out
    run = folder / "output/photos"
    assert (run / "model_final.pth").is_file()
    text = (run / "recipe.yaml").read_text()
    assert text.startswith("# data: train on auto:photos@train?val_fraction=0.2")
    cfg = get_cfg()
    cfg.merge_from_file(str(run / "recipe.yaml"))
    assert cfg.MODEL.MASK_ON
    assert cfg.SOLVER.MAX_ITER == 2, "what was set is written, too"
    status, out, err = d2lite("eval", "output/photos")
    assert status == 0, err
    assert "copypaste" in out


def test_the_config_alone_can_be_asked_for_and_loads(d2lite, folder):
    for subject in ("auto:photos", "photos/"):
        status, out, err = d2lite("config", subject, "--recipe", "balanced", "SOLVER.BASE_LR", 0.5)
        assert status == 0, err
        content = yaml.safe_load(out)
        assert content["SOLVER"]["BASE_LR"] == 0.5
        assert content["MODEL"]["RESNETS"]["DEPTH"] == 18
        assert "NUM_CLASSES" not in content["MODEL"]["ROI_HEADS"], "it follows from the data"
        assert "rate: as you have set it" in out
        assert not (folder / "output").exists()


@pytest.mark.usefixtures("folder", "d2lite")
def test_resuming_a_run_of_other_data_is_said(capfd):
    words = ["photos/", "SOLVER.IMS_PER_BATCH", "2", "OUTPUT_DIR", "out"]
    own_data.follow_data(train.build_parser().parse_args(words))
    for more, is_said in (([], False), (["DATASETS.TRAIN", "('shapes_train',)"], True)):
        capfd.readouterr()
        own_data.follow_data(train.build_parser().parse_args([*words, *more, "--resume"]))
        said = "".join(capfd.readouterr())
        assert ("continues on its own data, auto:photos@train" in said) == is_said


@pytest.mark.usefixtures("folder")
def test_what_the_model_sees_of_a_folder_is_what_a_training_would_see():
    """Without a config it was drawn without masks, in the default size."""
    words = ["photos/", "--source", "dataloader", "SOLVER.IMS_PER_BATCH", "2"]
    cfg = show_data._config(data_show.build_parser().parse_args(words))
    assert cfg.MODEL.MASK_ON
    assert cfg.SOLVER.IMS_PER_BATCH == 2
    assert cfg.INPUT.MIN_SIZE_TEST < 800
    assert cfg.DATASETS.TRAIN == ("auto:photos@train?val_fraction=0.2",)


def test_splits_of_the_data_are_used(d2lite, folder):
    voc(folder / "cells", train={"a": ["x"], "b": ["y"]}, val={"c": ["x"]})
    status, out, err = d2lite("config", "cells")
    assert status == 0, err
    content = yaml.safe_load(out)
    assert content["DATASETS"] == {"TRAIN": ["auto:cells@train"], "TEST": ["auto:cells@val"]}
    assert "MASK_ON" not in content["MODEL"], "boxes alone, as the defaults have it"


def test_beside_a_config_the_data_alone_are_set_or_with_auto_the_schedule_too(d2lite, folder):
    words = ["config", "photos", "--config-file", "COCO-Detection/retinanet_R_50_FPN_1x.yaml"]
    status, out, err = d2lite(*words, "--diff")
    assert status == 0, err
    content = yaml.safe_load(out)
    assert content["DATASETS"]["TRAIN"] == ["auto:photos@train?val_fraction=0.2"]
    assert content["SOLVER"]["MAX_ITER"] == 90000
    assert "iterations:" not in out
    status, out, err = d2lite(*words, "--auto")
    assert status == 0, err
    content = yaml.safe_load(out)
    assert content["MODEL"]["META_ARCHITECTURE"] == "RetinaNet"
    assert content["SOLVER"]["MAX_ITER"] < 2000
    assert content["SOLVER"]["STEPS"][-1] < content["SOLVER"]["MAX_ITER"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "no/such/photos"], "no such folder, file or dataset"),
        (["config", "solver.base_lr", "0.1"], "no such folder, file or dataset"),
        (["config", "photos", "--recipe", "best"], "fast"),
        (["config", "photos/images"], "photos, which has them"),
        (["config", "coco:no_such.json"], "no_such.json"),
        (["config", "photos", "--config-file", "mask_rcnn_R_50_FPN_1x.py"], "Python config"),
        (["config", "photos", "SOLVER.BASE_RL", "1"], "SOLVER.BASE_LR"),
    ],
)
def test_mistakes_end_with_2_and_a_message(d2lite, folder, words, part):
    status, _, err = d2lite(*words)
    assert status == 2
    assert part in err
    assert "Traceback" not in err
