import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.builtin_meta import cityscapes_panoptic_metadata
from d2lite.data.datasets.cityscapes import (
    _cityscapes_files_to_dict,
    _get_cityscapes_files,
    load_cityscapes_instances,
    load_cityscapes_semantic,
)
from d2lite.data.datasets.cityscapes_panoptic import load_cityscapes_panoptic
from d2lite.utils.errors import DataError, MissingFileError

NAME = "ulm_000003_000019"
HEIGHT, WIDTH = 40, 60
PERSON, CAR = 0, 2


def box(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    """A polygon around the pixels from (x0, y0) to (x1, y1), both included."""
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


OBJECTS = [
    {"label": "road", "polygon": box(0, 0, 59, 39)},
    {"label": "car", "polygon": box(10, 10, 29, 19)},
    {"label": "person", "polygon": box(25, 10, 34, 19)},  # hides the car's last 5 columns
    {"label": "license plate", "polygon": box(12, 12, 15, 15)},  # hides nothing
    {"label": "cargroup", "polygon": box(40, 30, 49, 39)},
    {"label": "rider", "polygon": box(50, 0, 54, 4)},
    {"label": "sky", "polygon": box(49, 0, 59, 9)},  # hides the rider
    {"label": "bus", "polygon": box(0, 30, 5, 35), "deleted": 1},
]


@pytest.fixture
def city(tmp_path):
    """Folder of one Cityscapes image, with the annotations as they are downloaded."""
    images, truth = (tmp_path / "cityscapes" / f / "train/ulm" for f in ("leftImg8bit", "gtFine"))
    images.mkdir(parents=True)
    truth.mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / f"{NAME}_leftImg8bit.png")
    content = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": OBJECTS}
    (truth / f"{NAME}_gtFine_polygons.json").write_text(json.dumps(content))
    ids = np.full((HEIGHT, WIDTH), 7, np.uint16)
    ids[10:20, 10:25], ids[10:20, 25:35], ids[30:40, 40:50] = 26_000, 24_000, 26
    Image.fromarray(ids).save(truth / f"{NAME}_gtFine_instanceIds.png")
    return tmp_path / "cityscapes"


def load(city, **options) -> list[dict]:
    return load_cityscapes_instances(city / "leftImg8bit/train", city / "gtFine/train", **options)


@pytest.mark.parametrize("from_json", [True, False])
def test_objects_are_what_is_seen_of_them(city, from_json):
    [record] = load(city, from_json=from_json)
    assert record["file_name"].endswith(f"train/ulm/{NAME}_leftImg8bit.png")
    assert (record["height"], record["width"]) == (HEIGHT, WIDTH)
    found = {(o["category_id"], o["iscrowd"]): o["bbox"] for o in record["annotations"]}
    assert found == {
        (CAR, 0): [10, 10, 25, 20],
        (PERSON, 0): [25, 10, 35, 20],
        (CAR, 1): [40, 30, 50, 40],
    }


def test_polygons_and_run_lengths_are_the_same_masks(city):
    polygons, codes = load(city, to_polygons=True)[0], load(city, to_polygons=False)[0]
    for first, second in zip(polygons["annotations"], codes["annotations"], strict=True):
        [drawn] = mask_util.frPyObjects(first["segmentation"], HEIGHT, WIDTH)
        np.testing.assert_array_equal(
            mask_util.decode(drawn), mask_util.decode(second["segmentation"])
        )


def test_the_built_in_name_finds_the_folders(city, monkeypatch):
    monkeypatch.setenv("D2LITE_DATASETS", str(city.parent))
    [record] = DatasetCatalog.get("cityscapes_fine_instance_seg_train")
    assert len(record["annotations"]) == 3
    metadata = MetadataCatalog.get("cityscapes_fine_instance_seg_train")
    assert metadata.evaluator_type == "cityscapes_instance"
    assert metadata.thing_classes[CAR] == "car"


def test_maps_of_classes_are_paired_with_images(city):
    folders = city / "leftImg8bit/train", city / "gtFine/train"
    with pytest.raises(MissingFileError, match="csCreateTrainIdLabelImgs"):
        load_cityscapes_semantic(*folders)
    path = city / f"gtFine/train/ulm/{NAME}_gtFine_labelTrainIds.png"
    Image.new("L", (WIDTH, HEIGHT)).save(path)
    [record] = load_cityscapes_semantic(*folders)
    assert record["sem_seg_file_name"] == str(path)
    assert (record["height"], record["width"]) == (HEIGHT, WIDTH)


def test_missing_folders_and_images_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"Cityscapes images .*gone"):
        load_cityscapes_instances(tmp_path / "gone", tmp_path)
    with pytest.raises(DataError, match=r"no images CITY/\*_leftImg8bit\.png"):
        load_cityscapes_instances(tmp_path, tmp_path)


def test_missing_annotations_are_named(city):
    (city / f"gtFine/train/ulm/{NAME}_gtFine_polygons.json").unlink()
    (city / f"gtFine/train/ulm/{NAME}_gtFine_instanceIds.png").unlink()
    for from_json in (True, False):
        with pytest.raises(MissingFileError, match="Cityscapes annotations"):
            load(city, from_json=from_json)


def panoptic(city, annotations: list[dict]) -> list[dict]:
    path = city / "gtFine/cityscapes_panoptic_train.json"
    path.write_text(json.dumps({"annotations": annotations}))
    return load_cityscapes_panoptic(
        city / "leftImg8bit/train",
        city / "gtFine/cityscapes_panoptic_train",
        path,
        cityscapes_panoptic_metadata(),
    )


def test_panoptic_segments_get_training_numbers(city):
    segments = [{"id": 7, "category_id": 7}, {"id": 26_000, "category_id": 26}]
    file_name = f"{NAME}_gtFine_panoptic.png"
    [record] = panoptic(
        city, [{"image_id": NAME, "file_name": file_name, "segments_info": segments}]
    )
    assert record["image_id"] == NAME
    assert record["pan_seg_file_name"].endswith(f"cityscapes_panoptic_train/{file_name}")
    kinds = [(s["category_id"], s["isthing"]) for s in record["segments_info"]]
    assert kinds == [(0, False), (13, True)]
    assert "sem_seg_file_name" not in record


def test_an_image_without_panoptic_annotation_is_named(city):
    with pytest.raises(DataError, match=f"no image '{NAME}'.*csCreatePanopticImgs"):
        panoptic(city, [])


def test_missing_panoptic_annotations_tell_how_they_are_made(monkeypatch, tmp_path):
    monkeypatch.setenv("D2LITE_DATASETS", str(tmp_path))
    with pytest.raises(MissingFileError, match="csCreatePanopticImgs"):
        DatasetCatalog.get("cityscapes_fine_panoptic_val")


def test_files_of_an_image_are_known_one_by_one(city):
    [files] = _get_cityscapes_files(city / "leftImg8bit/train", city / "gtFine/train")
    endings = ["leftImg8bit.png", "gtFine_instanceIds.png", "gtFine_labelIds.png"]
    endings.append("gtFine_polygons.json")
    assert [path.rpartition("019_")[2] for path in files] == endings
    record = _cityscapes_files_to_dict(files, from_json=True, to_polygons=True)
    assert [record] == load(city)
