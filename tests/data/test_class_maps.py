"""Maps of classes whose pixels are not class numbers are named before a training."""

import numpy as np
import pytest
from PIL import Image

from d2lite.config import get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from d2lite.data.checking import check_class_maps, check_dataset
from d2lite.utils.errors import DataError


@pytest.fixture
def register(tmp_path):
    """Register images whose maps have these values, and give the records."""

    def with_values(*values_of_maps):
        records = []
        for number, values in enumerate(values_of_maps):
            pixels = np.resize(np.array(values, dtype=np.uint8), (8, 12))
            Image.fromarray(pixels).save(tmp_path / f"{number}_map.png")
            Image.fromarray(np.full((8, 12, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
            names = {"file_name": f"{number}.png", "sem_seg_file_name": f"{number}_map.png"}
            records.append({key: str(tmp_path / name) for key, name in names.items()})
        DatasetCatalog.register("maps", lambda: records)
        MetadataCatalog.get("maps").set(stuff_classes=["no", "yes", "maybe"], ignore_label=255)
        return records

    yield with_values
    DatasetCatalog.pop("maps", None)
    MetadataCatalog.pop("maps", None)


def test_class_numbers_and_ignored_pixels_are_right(register):
    check_class_maps(register([0, 1, 2, 255], [0], [0, 255]), 3, 255)
    assert not check_dataset("maps").faults.counts["class_map"] > 1


@pytest.mark.parametrize(("values", "message"), [
    ([0, 255], "only the values 0 and 255, as black-and-white masks"),
    ([0, 1, 3, 7], "has the values 3, 7, but classes are 0 to 2"),
])  # fmt: skip
def test_other_values_are_named_by_the_check_and_before_the_training(register, values, message):
    register(values, values)
    checked = check_dataset("maps")
    assert checked.faults.counts["class_map"] == 2
    assert message in checked.faults.examples["class_map"][0]
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    cfg.DATASETS.TRAIN = ("maps",)
    cfg.DATALOADER.NUM_WORKERS = 0
    with pytest.raises(DataError, match=message):
        build_detection_train_loader(cfg)


def test_a_missing_map_costs_its_image_and_not_the_training(register, tmp_path):
    records = register([0, 1], [0, 1])
    (tmp_path / "0_map.png").unlink()
    check_class_maps(records, 3, 255)
    assert check_dataset("maps").faults.counts["class_map"] == 1
