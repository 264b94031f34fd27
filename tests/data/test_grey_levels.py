"""Images of more than eight bits that would reach the model as black or white are named."""

import logging

import numpy as np
import pytest
from PIL import Image

from d2lite.config import get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from d2lite.data.checking import check_dataset, check_grey_levels
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError

RAMP = np.linspace(0, 1, 40 * 50).reshape(40, 50)


def saved(folder, name, pixels):
    path = folder / name
    np.save(path, pixels) if path.suffix == ".npy" else Image.fromarray(pixels).save(path)
    return {"file_name": str(path)}


@pytest.mark.parametrize(("name", "pixels", "kept"), [
    ("twelve_bits.png", (RAMP * 4095).astype(np.uint16), 16),
    ("eight_bits_in_sixteen.png", (RAMP * 255).astype(np.uint16), 1),
    ("fractions.tif", RAMP.astype(np.float32), 2),
    ("fractions.npy", RAMP, 2),
    ("large_numbers.npy", (RAMP * 1e6).astype(np.int32), 2),
])  # fmt: skip
def test_image_that_loses_its_levels_is_named_with_the_remedy(tmp_path, name, pixels, kept):
    with pytest.raises(DataError, match=f"eight bits keep {kept} levels of grey") as caught:
        check_grey_levels([saved(tmp_path, name, pixels)], "BGR")
    assert "INPUT.FORMAT to one letter a channel" in str(caught.value)


@pytest.mark.parametrize(("name", "pixels"), [
    ("sixteen_bits.png", (RAMP * 65535).astype(np.uint16)),
    ("eight_bits.png", (RAMP * 40).astype(np.uint8)),
    ("black.png", np.zeros((9, 9), np.uint16)),
    ("to_255.npy", RAMP * 255),
])  # fmt: skip
def test_image_that_keeps_its_levels_is_left_alone(tmp_path, name, pixels):
    check_grey_levels([saved(tmp_path, name, pixels)], "BGR")


def test_format_of_channels_keeps_all_bits(tmp_path):
    check_grey_levels([saved(tmp_path, "x.png", (RAMP * 4095).astype(np.uint16))], "S")


def test_some_such_images_among_others_are_a_warning(tmp_path, caplog):
    records = [saved(tmp_path, "a.png", (RAMP * 4095).astype(np.uint16))]
    records += [saved(tmp_path, "b.png", (RAMP * 255).astype(np.uint8))]
    with caplog.at_level(logging.WARNING):
        check_grey_levels(records, "L")
    assert "1 of the first 2 images lose most of their grey levels" in caplog.text


def test_check_and_start_of_a_run_find_the_same(tmp_path):
    record = saved(tmp_path, "x.png", (RAMP * 4095).astype(np.uint16))
    box = {"bbox": [2, 2, 9, 9], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    DatasetCatalog.register("deep", lambda: [{**record, "annotations": [box]}])
    MetadataCatalog.get("deep").set(thing_classes=["a"])
    try:
        checked = check_dataset("deep")
        assert checked.faults.counts == {"few_levels": 1}
        assert checked.faults.has_faults
        cfg = get_cfg()
        cfg.DATASETS.TRAIN, cfg.DATALOADER.NUM_WORKERS = ("deep",), 0
        with pytest.raises(DataError, match="lose most of their grey levels"):
            build_detection_train_loader(cfg)
    finally:
        DatasetCatalog.pop("deep")
        MetadataCatalog.pop("deep")
