"""The published models are found by name."""

import shutil
from pathlib import Path

import pytest

from d2lite import model_zoo
from d2lite.config import get_cfg
from d2lite.model_zoo.model_zoo import _ModelZooUrls
from d2lite.model_zoo.published import PUBLISHED
from d2lite.utils.errors import MissingFileError, UnknownNameError

MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


def test_address_of_published_weights_is_the_published_one():
    """The address stands in detectron2's model zoo page; people's scripts hold it."""
    assert model_zoo.get_checkpoint_url(MASK_RCNN) == (
        "https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation/"
        "mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl"
    )


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_published_model_has_its_configuration(name):
    """An address without a configuration could be fetched but not built."""
    if name.startswith("new_baselines/"):
        weights = model_zoo.get_config(f"{name}.py", trained=True).train.init_checkpoint
    else:
        weights = model_zoo.get_config(f"{name}.yaml", trained=True).MODEL.WEIGHTS
    assert weights.endswith(PUBLISHED[name])


def test_untrained_configuration_keeps_the_weights_its_file_names():
    """They are the ImageNet start that training needs."""
    cfg = model_zoo.get_config(MASK_RCNN)
    assert cfg.MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-50.pkl"


def test_configuration_without_published_weights_names_near_ones():
    """A typo in the name is the common reason."""
    with pytest.raises(UnknownNameError, match="mask_rcnn_R_50_FPN_3x"):
        model_zoo.get_checkpoint_url("COCO-InstanceSegmentation/mask_rcnn_R50_FPN_3x.yaml")


def test_unknown_configuration_lists_near_ones():
    """Same for the file."""
    with pytest.raises(MissingFileError, match=r"mask_rcnn_R_50_FPN_3x\.yaml"):
        model_zoo.get_config_file("COCO-InstanceSegmentation/mask_rcnn_R50_FPN_3x.yaml")


def test_a_copy_of_the_folder_elsewhere_loads_to_the_same_values(tmp_path):
    """People keep such copies beside their own code, with _BASE_ pointing within the copy."""
    known = Path(model_zoo.get_config_file("Base-RCNN-FPN.yaml")).parent
    copy = tmp_path / "my configs"
    shutil.copytree(known, copy)
    for name in [name for name in sorted(PUBLISHED) if "new_baselines" not in name][::6]:
        mine = get_cfg()
        mine.merge_from_file(str(copy / f"{name}.yaml"))
        assert mine == model_zoo.get_config(f"{name}.yaml"), name


def test_configuration_that_is_written_down_is_read_by_a_plain_one(tmp_path):
    cfg = model_zoo.get_config(MASK_RCNN)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    (tmp_path / "own.yaml").write_text(cfg.dump())
    again = get_cfg()
    again.merge_from_file(str(tmp_path / "own.yaml"))
    assert again == cfg


def test_code_that_lists_the_published_weights_finds_them():
    table = _ModelZooUrls.CONFIG_PATH_TO_URL_SUFFIX
    assert table[MASK_RCNN.removesuffix(".yaml")] == "137849600/model_final_f10217.pkl"
    assert _ModelZooUrls.query(MASK_RCNN) == model_zoo.get_checkpoint_url(MASK_RCNN)
    assert _ModelZooUrls.query("COCO-Detection/none.yaml") is None
