import json
import uuid

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets import (
    get_lvis_instances_meta,
    load_lvis_json,
    lvis_v0_5_categories,
    lvis_v1_categories,
    register_lvis_instances,
)
from d2lite.data.records.faults import collecting_faults
from d2lite.utils.errors import DataError, MissingFileError


def content() -> dict:
    return {
        "images": [
            {
                "id": 5,
                "coco_url": "http://images.host/train2017/000000000005.jpg",
                "height": 40,
                "width": 50,
                "neg_category_ids": [2],
                "not_exhaustive_category_ids": [1],
            }
        ],
        "categories": [
            {"id": 2, "name": "b", "synonyms": ["bee", "b"], "image_count": 7},
            {"id": 1, "name": "a", "synonyms": ["ant"], "image_count": 3},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 5,
                "category_id": 2,
                "bbox": [1, 2, 3, 4],
                "area": 12,
                "segmentation": [[1, 2, 4, 2, 4, 6]],
            }
        ],
    }


@pytest.fixture
def json_file(tmp_path):
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(content()))
    return path


@pytest.fixture
def name():
    made = f"lvis_{uuid.uuid4().hex}"
    yield made
    if made in DatasetCatalog:
        DatasetCatalog.remove(made)
    if made in MetadataCatalog.list():
        MetadataCatalog.remove(made)


def test_an_image_knows_what_was_not_looked_for(json_file):
    [record] = load_lvis_json(json_file, "coco")
    assert record["file_name"] == "coco/train2017/000000000005.jpg"
    assert record["neg_category_ids"] == [2]
    assert record["not_exhaustive_category_ids"] == [1]
    [obj] = record["annotations"]
    assert (obj["category_id"], obj["bbox"]) == (1, [1, 2, 3, 4])
    assert obj["segmentation"] == [[1, 2, 4, 2, 4, 6]]


def test_class_names_are_known_before_the_set_is_loaded(json_file, name):
    """A model is built from their number; nobody should load a gigabyte twice for it."""
    register_lvis_instances(name, {}, json_file, "coco")
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["ant", "bee"]
    assert metadata.class_image_count == [
        {"id": 1, "image_count": 3},
        {"id": 2, "image_count": 7},
    ]
    assert metadata.evaluator_type == "lvis"
    assert len(DatasetCatalog.get(name)) == 1
    assert metadata.thing_dataset_id_to_contiguous_id == {1: 0, 2: 1}
    assert get_lvis_instances_meta(name)["thing_classes"] == ["ant", "bee"]


@pytest.mark.parametrize(("version", "count"), [("v1", 1203), ("v0.5", 1230)])
def test_published_class_names_are_known_without_the_file(monkeypatch, tmp_path, version, count):
    monkeypatch.setenv("D2LITE_DATASETS", str(tmp_path))
    names = MetadataCatalog.get(f"lvis_{version}_train").thing_classes
    assert len(set(names)) == count
    assert get_lvis_instances_meta(f"lvis_{version}_mine") == {"thing_classes": names}
    assert get_lvis_instances_meta(f"lvis_{version}") == {"thing_classes": names}
    assert MetadataCatalog.get("lvis_v1_train").get("class_image_count") is None


def test_categories_count_from_one_in_the_order_of_the_files():
    ids = [category["id"] for category in lvis_v1_categories.LVIS_CATEGORIES]
    assert ids == list(range(1, 1204))
    names = {c["id"]: c["name"] for c in lvis_v1_categories.LVIS_CATEGORIES}
    assert (names[1], names[793], names[1203]) == ("aerosol_can", "person", "zucchini")
    old = {c["id"]: c["name"] for c in lvis_v0_5_categories.LVIS_CATEGORIES}
    assert (old[1], old[24], old[1230]) == ("acorn", "trash_can", "zucchini")


def test_files_reduced_to_coco_keep_cocos_classes(json_file, name):
    register_lvis_instances(
        name,
        {"thing_classes": ["x"], "thing_dataset_id_to_contiguous_id": {2: 0}},
        json_file,
        "coco",
    )
    assert DatasetCatalog.get(name)[0]["annotations"][0]["category_id"] == 0
    assert len(get_lvis_instances_meta("lvis_v0.5_train_cocofied")["thing_classes"]) == 80


def test_a_file_without_counts_has_no_counts(tmp_path, name):
    found = content()
    del found["categories"][0]["image_count"]
    (tmp_path / "lvis.json").write_text(json.dumps(found))
    register_lvis_instances(name, {}, tmp_path / "lvis.json", "coco")
    assert MetadataCatalog.get(name).get("class_image_count") is None
    assert "class_image_count" not in get_lvis_instances_meta(name)


def test_an_unregistered_name_has_no_classes():
    with pytest.raises(ValueError, match="names neither a version of LVIS"):
        get_lvis_instances_meta("nobody")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"segmentation": [[1, 2, 3, 4]]}, "few_points"),
        ({"segmentation": 5}, "bad_mask"),
        ({"category_id": 9}, "unknown_category"),
        ({"image_id": 9}, "unknown_image"),
        ({"bbox": "wide"}, "malformed"),
    ],
)
def test_broken_annotations_are_counted_as_in_any_coco_file(tmp_path, change, fault):
    found = content()
    found["annotations"][0].update(change)
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(found))
    with collecting_faults() as faults:
        [record] = load_lvis_json(path, "coco")
    assert (record["annotations"], faults.counts) == ([], {fault: 1})


def test_numbers_as_text_are_understood(tmp_path):
    found = content()
    found["images"][0].update(id="5", height="40")
    found["annotations"][0].update(image_id="5", category_id="2", bbox=["1", "2", "3", "4"])
    (tmp_path / "lvis.json").write_text(json.dumps(found))
    [record] = load_lvis_json(tmp_path / "lvis.json", "coco")
    assert (record["image_id"], record["height"], record["neg_category_ids"]) == (5, 40, [2])
    assert record["annotations"][0]["bbox"] == [1, 2, 3, 4]


@pytest.mark.parametrize("text", ["[1]", "{"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "lvis.json").write_text(text)
    with pytest.raises(DataError, match=r"not (a COCO annotation file|valid JSON)"):
        load_lvis_json(tmp_path / "lvis.json", "coco")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.json"):
        load_lvis_json(tmp_path / "gone.json", "coco")


def test_a_part_of_lvis_keeps_the_class_numbers_of_the_whole(tmp_path, name):
    found = content()
    found["categories"] = [{"id": 793, "name": "person"}, {"id": 2, "name": "air_conditioner"}]
    (tmp_path / "lvis.json").write_text(json.dumps(found))
    meta = get_lvis_instances_meta("lvis_v1")
    register_lvis_instances(name, meta, tmp_path / "lvis.json", "coco")
    [record] = DatasetCatalog.get(name)
    assert record["annotations"][0]["category_id"] == 1
    assert MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id == {793: 792, 2: 1}
    assert MetadataCatalog.get(name).thing_classes == meta["thing_classes"]
