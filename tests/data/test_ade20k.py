import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.ade20k import convert_ade20k_maps
from d2lite.utils.errors import MissingFileError


def test_maps_are_renumbered_and_found(tmp_path, monkeypatch):
    root = tmp_path / "ADEChallengeData2016"
    for folder in ("images", "annotations"):
        (root / folder / "validation").mkdir(parents=True)
    Image.new("RGB", (3, 1)).save(root / "images/validation/one.jpg")
    Image.fromarray(np.array([[0, 1, 150]], np.uint8)).save(root / "annotations/validation/one.png")
    monkeypatch.setenv("D2LITE_DATASETS", str(tmp_path))
    with pytest.raises(MissingFileError, match="convert_ade20k_maps"):
        DatasetCatalog.get("ade20k_sem_seg_val")
    convert_ade20k_maps(root / "annotations", root / "annotations_detectron2")
    [record] = DatasetCatalog.get("ade20k_sem_seg_val")
    labels = np.asarray(Image.open(record["sem_seg_file_name"]))
    assert labels.tolist() == [[255, 0, 149]]
    assert len(MetadataCatalog.get("ade20k_sem_seg_val").stuff_classes) == 150


def test_no_maps_to_convert_is_told(tmp_path):
    with pytest.raises(MissingFileError, match="ADE20K maps"):
        convert_ade20k_maps(tmp_path, tmp_path / "out")
