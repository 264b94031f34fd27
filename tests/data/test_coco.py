"""COCO files in, dataset dicts out, and back."""

import json
import logging

import numpy as np
import pytest
from pycocotools import mask as mask_util

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets import (
    convert_to_coco_json,
    load_coco_json,
    load_sem_seg,
    register_coco_instances,
)
from d2lite.data.datasets.coco import convert_to_coco_dict
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, MissingFileError
from tests.shared_data import shared_data

# pycocotools 2 meets numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SQUARE = [[2.0, 2.0, 8.0, 2.0, 8.0, 8.0, 2.0, 8.0]]


def coco(*annotations, **changes):
    content = {
        "images": [
            {"id": 9, "file_name": "b.jpg", "height": 10, "width": 20},
            {"id": 4, "file_name": "sub/a.jpg", "height": 12, "width": 16},
        ],
        "categories": [{"id": 7, "name": "owl"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": i + 1, "image_id": 9, "category_id": 7, "bbox": [2, 2, 6, 6], "iscrowd": 0, **a}
            for i, a in enumerate(annotations)
        ],
    }
    return {**content, **changes}


@pytest.fixture
def write(tmp_path):
    def to_file(content):
        path = tmp_path / "annotations.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return to_file


@pytest.fixture
def name():
    yield "coco_test"
    DatasetCatalog.pop("coco_test", None)
    MetadataCatalog.pop("coco_test", None)


def test_categories_with_gaps_are_numbered_by_ascending_id(write, name):
    records = load_coco_json(write(coco({}, {"category_id": 2})), "images", name)
    assert [o["category_id"] for o in records[1]["annotations"]] == [1, 0]
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["cat", "owl"]
    assert metadata.thing_dataset_id_to_contiguous_id == {2: 0, 7: 1}


def test_images_come_by_id_with_their_sizes_and_the_numbers_of_the_file(write):
    first, second = load_coco_json(write(coco({})), "images")
    assert first == {
        "file_name": "images/sub/a.jpg",
        "height": 12,
        "width": 16,
        "image_id": 4,
        "annotations": [],
    }
    assert second["image_id"] == 9
    assert second["annotations"][0] == {
        "iscrowd": 0,
        "bbox": [2, 2, 6, 6],
        "category_id": 7,
        "bbox_mode": BoxMode.XYWH_ABS,
    }


def test_polygons_of_fewer_than_three_points_are_dropped_and_counted(write, caplog):
    half_good = {"segmentation": [[1, 1, 2, 2], *SQUARE, [1, 2, 3, 4, 5, 6, 7]]}
    records = load_coco_json(write(coco(half_good, {"segmentation": [[1, 1, 2, 2]]})), "")
    assert [o["segmentation"] for o in records[1]["annotations"]] == [SQUARE]
    assert "3 x polygon of fewer than three points" in caplog.text
    assert "annotation 1 of image 9" in caplog.text


def test_an_empty_mask_leaves_the_box(write):
    records = load_coco_json(write(coco({"segmentation": []})), "")
    assert "segmentation" not in records[1]["annotations"][0]


def test_uncompressed_rle_is_compressed(write):
    rle = {"size": [10, 20], "counts": [30, 20, 150]}
    compressed = mask_util.frPyObjects(rle, 10, 20)
    as_text = {"size": [10, 20], "counts": compressed["counts"].decode()}
    records = load_coco_json(
        write(coco({"segmentation": rle, "iscrowd": 1}, {"segmentation": as_text})), ""
    )
    for obj in records[1]["annotations"]:
        assert mask_util.area(obj["segmentation"]) == 20
    assert records[1]["annotations"][0]["iscrowd"] == 1


def test_keypoints_move_from_pixel_numbers_to_positions(write):
    records = load_coco_json(write(coco({"keypoints": [3, 4, 2, 0, 0, 0]})), "")
    assert records[1]["annotations"][0]["keypoints"] == [3.5, 4.5, 2, 0.5, 0.5, 0]


def test_further_keys_are_taken_on_request(write):
    path = write(coco({"score": 0.5}))
    assert "score" not in load_coco_json(path, "")[1]["annotations"][0]
    extra = load_coco_json(path, "", extra_annotation_keys=["score", "absent"])
    assert extra[1]["annotations"][0]["score"] == 0.5


def test_a_test_file_without_annotations_loads(write):
    content = coco()
    del content["annotations"]
    assert [r["annotations"] for r in load_coco_json(write(content), "")] == [[], []]


def test_annotations_of_unknown_images_are_left_out_and_counted(write, caplog):
    records = load_coco_json(write(coco({"image_id": 5}, {})), "")
    assert len(records[1]["annotations"]) == 1
    assert "1 x annotation of an image that is not listed" in caplog.text
    assert "annotation 1 of image 5; skipped" in caplog.text


def test_annotation_ids_used_twice_are_reported(write, caplog):
    load_coco_json(write(coco({"id": 3}, {"id": 3})), "")
    assert "1 x annotation id that occurs more than once" in caplog.text
    assert "id 3, 2 times" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{not json", "annotations.json is not valid JSON"),
        ([1], "has no list 'images'"),
        (coco({"category_id": 99}), "annotation 1 of image 9 has category id 99; .* has 2, 7"),
        (coco({"bbox": []}), r"annotation 1 of image 9 has the box \[\]"),
        (coco({"segmentation": "x"}), "neither polygons nor RLE"),
        (coco(categories=[]), "no 'categories'"),
        (coco(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "more than once"),
        (coco(images=[{"id": 1, "file_name": "a"}]), "image 1 lacks height, width"),
        (coco(images=coco()["images"] * 2), "two images of id 4"),
    ],
)
def test_what_cannot_be_understood_is_named_with_the_file(write, content, message):
    with pytest.raises(DataError, match=message) as info:
        load_coco_json(write(content), "")
    assert "annotations.json" in str(info.value)


def test_a_missing_file_is_named_with_its_full_path(tmp_path):
    with pytest.raises(MissingFileError, match=r"looked for .*none\.json"):
        load_coco_json(tmp_path / "none.json", "")


def test_registration_says_how_to_evaluate_and_reads_nothing(name, tmp_path):
    register_coco_instances(name, {"note": 1}, tmp_path / "absent.json", tmp_path)
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type == "coco"
    assert metadata.json_file == str(tmp_path / "absent.json")
    assert metadata.image_root == str(tmp_path)
    assert metadata.note == 1
    with pytest.raises(MissingFileError):
        DatasetCatalog.get(name)


def test_conversion_goes_round(write, name, tmp_path):
    """load, export, load again: the same dicts."""
    rle = {"size": [10, 20], "counts": [30, 20, 150]}
    original = coco(
        {"segmentation": SQUARE, "keypoints": [3, 4, 2]},
        {"category_id": 2, "segmentation": rle, "iscrowd": 1},
        {"bbox": [1.5, 2.25, 3.0, 4.0]},
    )
    register_coco_instances(name, {}, write(original), "")
    first = DatasetCatalog.get(name)
    out = tmp_path / "out.json"
    convert_to_coco_json(name, out)
    content = json.loads(out.read_text())
    assert [c["id"] for c in content["categories"]] == [2, 7]
    assert [a["category_id"] for a in content["annotations"]] == [7, 2, 7]
    assert [a["area"] for a in content["annotations"]] == [36.0, 20.0, 12.0]
    assert content["annotations"][0]["num_keypoints"] == 1

    def with_text(records):
        for obj in (o for r in records for o in r["annotations"]):
            counts = obj.get("segmentation", {})
            if isinstance(counts, dict) and isinstance(counts.get("counts"), bytes):
                counts["counts"] = counts["counts"].decode()
        return records

    assert with_text(load_coco_json(out, "", name)) == with_text(first)


def test_an_exported_file_is_kept_unless_told(write, name, tmp_path, caplog):
    register_coco_instances(name, {}, write(coco({})), "")
    out = tmp_path / "out.json"
    out.write_text("kept")
    convert_to_coco_json(name, out)
    assert out.read_text() == "kept"
    assert "used as it is" in caplog.text
    convert_to_coco_json(name, out, allow_cached=False)
    assert "kept" not in out.read_text()


def test_bitmaps_are_exported_as_rle(name):
    bitmap = np.zeros((10, 20), dtype=bool)
    bitmap[2:5, 3:7] = True
    obj = {
        "bbox": [3, 2, 7, 5],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "segmentation": bitmap,
    }
    record = {"file_name": "a", "height": 10, "width": 20, "annotations": [obj]}
    DatasetCatalog.register(name, lambda: [record])
    MetadataCatalog.get(name).thing_classes = ["x"]
    exported = convert_to_coco_dict(name)["annotations"][0]
    assert exported["bbox"] == [3.0, 2.0, 4.0, 3.0]
    assert exported["area"] == 12
    assert np.array_equal(mask_util.decode(exported["segmentation"]), bitmap)
    obj["category_id"] = 4
    with pytest.raises(DataError, match="category id 4"):
        convert_to_coco_dict(name)


def test_semantic_maps_are_paired_by_path(tmp_path, caplog):
    for path in ("i/x/a.jpg", "i/b.jpg", "i/c.jpg", "g/x/a.png", "g/b.png", "g/d.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    with caplog.at_level(logging.WARNING, "d2lite"):
        pairs = load_sem_seg(tmp_path / "g", tmp_path / "i")
    assert [p["file_name"][-5:] for p in pairs] == ["b.jpg", "a.jpg"]
    assert pairs[1]["sem_seg_file_name"] == str(tmp_path / "g/x/a.png")
    assert "1 of 3 images have no map" in caplog.text
    with pytest.raises(DataError, match="No image"):
        load_sem_seg(tmp_path / "g", tmp_path / "i", image_ext="bmp")
    with pytest.raises(MissingFileError, match="absent"):
        load_sem_seg(tmp_path / "absent", tmp_path / "i")


def test_coco_tiny_loads(name):
    root = shared_data("coco_tiny")
    records = load_coco_json(root / "annotations/instances_val2017.json", root / "val2017", name)
    assert len(records) == 80
    assert sum(len(r["annotations"]) for r in records) == 815
    assert len(MetadataCatalog.get(name).thing_classes) == 80


def test_fruit_nuts_loads(name):
    root = shared_data("fruit_nuts")
    records = load_coco_json(root / "trainval.json", root / "images", name)
    assert len(records) == 18
    assert sum(len(r["annotations"]) for r in records) == 165
    assert MetadataCatalog.get(name).thing_classes == ["date", "fig", "hazelnut"]


def test_an_object_without_a_box_gets_that_of_its_mask(write):
    """Some tools write masks alone; box and mask evaluation both have to see such objects."""
    rle = {"size": [10, 20], "counts": [21, 5, 174]}
    content = coco(
        {"segmentation": [[1, 2, 5, 2, 5, 9], [7, 1, 8, 1, 8, 2]], "bbox": None},
        {"segmentation": rle, "bbox": []},
        {"segmentation": {**rle, "counts": [3]}, "bbox": None},
    )
    _, record = load_coco_json(write(content), "images")
    boxes = [(o["bbox"], o["bbox_mode"]) for o in record["annotations"]]
    assert boxes == [(box, BoxMode.XYWH_ABS) for box in ([1, 1, 7, 8], [2, 1, 1, 5], [0, 0, 0, 0])]


def test_a_file_that_is_read_again_is_logged_once(write, caplog):
    path = write(coco({}))
    with caplog.at_level(logging.INFO, logger="d2lite"):
        for _ in range(2):
            load_coco_json(path, "images")
    assert caplog.text.count("2 images in COCO's format") == 1
