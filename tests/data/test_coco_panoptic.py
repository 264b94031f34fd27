import json
import uuid

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets import register_coco_panoptic, register_coco_panoptic_separated
from d2lite.data.datasets.coco_panoptic import (
    load_coco_panoptic_json,
    merge_to_panoptic,
    rgb_to_segment_ids,
    segment_ids_to_rgb,
    write_stuff_maps,
)
from d2lite.utils.errors import DataError, MissingFileError

META = {
    "thing_classes": ["cat"],
    "stuff_classes": ["things", "sky"],
    "thing_dataset_id_to_contiguous_id": {3: 0},
    "stuff_dataset_id_to_contiguous_id": {0: 0, 70: 1},
}
CAT, SKY = 66_000, 300


@pytest.fixture
def coco(tmp_path):
    """Folder of one panoptic image: a row of void, a cat, and the sky."""
    ids = np.full((8, 10), SKY)
    ids[2:6, 2:8], ids[0] = CAT, 0
    for folder in ("images", "panoptic"):
        (tmp_path / folder).mkdir()
    Image.fromarray(segment_ids_to_rgb(ids)).save(tmp_path / "panoptic/7.png")
    Image.new("RGB", (10, 8)).save(tmp_path / "images/7.jpg")
    image = {"id": 7, "file_name": "7.jpg", "height": 8, "width": 10}
    segments = [
        {"id": CAT, "category_id": 3, "iscrowd": 0, "bbox": [2, 2, 6, 4], "area": 24},
        {"id": SKY, "category_id": 70, "iscrowd": 0, "bbox": [0, 1, 10, 7], "area": 46},
    ]
    panoptic = {
        "images": [image],
        "annotations": [{"image_id": 7, "file_name": "7.png", "segments_info": segments}],
        "categories": [],
    }
    (tmp_path / "panoptic.json").write_text(json.dumps(panoptic))
    obj = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [2, 2, 6, 4], "iscrowd": 0}
    things = {"images": [image], "annotations": [obj], "categories": [{"id": 3, "name": "cat"}]}
    (tmp_path / "instances.json").write_text(json.dumps(things))
    return tmp_path


@pytest.fixture
def name():
    made = f"pan_{uuid.uuid4().hex}"
    yield made
    for registered in [n for n in DatasetCatalog.list() if n.startswith(made)]:
        DatasetCatalog.remove(registered)
        MetadataCatalog.remove(registered)


def test_colours_and_numbers_of_segments_are_inverse():
    ids = np.array([[0, 255, 256], [65_535, 65_536, 256**3 - 1]])
    rgb = segment_ids_to_rgb(ids)
    assert rgb[0, 2].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(rgb_to_segment_ids(rgb), ids)


def test_segments_get_class_numbers(coco, name):
    register_coco_panoptic(name, META, coco / "images", coco / "panoptic", coco / "panoptic.json")
    [record] = DatasetCatalog.get(name)
    assert record["file_name"] == str(coco / "images/7.jpg")
    assert record["pan_seg_file_name"] == str(coco / "panoptic/7.png")
    assert (record["image_id"], record["height"], record["width"]) == (7, 8, 10)
    first, second = record["segments_info"]
    assert (first["category_id"], first["isthing"], first["area"]) == (0, True, 24)
    assert (second["category_id"], second["isthing"]) == (1, False)
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type == "coco_panoptic_seg"
    assert (metadata.label_divisor, metadata.ignore_label) == (1000, 255)


def test_separated_data_have_objects_and_maps_of_stuff(coco, name):
    mapping = META["stuff_dataset_id_to_contiguous_id"]
    write_stuff_maps(coco / "panoptic.json", coco / "panoptic", coco / "stuff", mapping)
    register_coco_panoptic_separated(
        name,
        META,
        coco / "images",
        coco / "panoptic",
        coco / "panoptic.json",
        coco / "stuff",
        coco / "instances.json",
    )
    [record] = DatasetCatalog.get(f"{name}_separated")
    assert len(record["annotations"]) == 1
    labels = np.asarray(Image.open(record["sem_seg_file_name"]))
    assert set(labels[0]) == {255}
    assert set(labels[2:6, 2:8].flat) == {0}
    assert set(labels[6:].flat) == {1}
    [alone] = DatasetCatalog.get(f"{name}_stuffonly")
    assert set(alone) == {"file_name", "sem_seg_file_name"}
    assert MetadataCatalog.get(f"{name}_separated").evaluator_type == "coco_panoptic_seg"
    assert MetadataCatalog.get(f"{name}_stuffonly").evaluator_type == "sem_seg"


def test_an_unknown_category_is_named(coco):
    meta = {**META, "stuff_dataset_id_to_contiguous_id": {0: 0}}
    with pytest.raises(DataError, match="segment 300 of image 7 has category id 70"):
        load_coco_panoptic_json(coco / "panoptic.json", "images", "panoptic", meta)


def test_an_instances_file_is_refused(coco):
    with pytest.raises(DataError, match="not in COCO's panoptic format"):
        load_coco_panoptic_json(coco / "instances.json", "images", "panoptic", META)


def test_a_cut_off_file_is_refused(coco):
    (coco / "panoptic.json").write_text('{"images": [')
    with pytest.raises(DataError, match="not valid JSON"):
        load_coco_panoptic_json(coco / "panoptic.json", "images", "panoptic", META)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.json"):
        load_coco_panoptic_json(tmp_path / "gone.json", "images", "panoptic", META)


def test_images_without_map_are_named():
    with pytest.raises(DataError, match=r"1 of 1 images have no semantic map.*a\.jpg"):
        merge_to_panoptic([{"file_name": "a.jpg"}], [{"file_name": "b.jpg"}])


def test_merging_looks_through_the_way_paths_are_written():
    merged = merge_to_panoptic(
        [{"file_name": "x/./a.jpg", "annotations": []}],
        [{"file_name": "x/a.jpg", "sem_seg_file_name": "a.png"}],
    )
    assert merged[0]["sem_seg_file_name"] == "a.png"


def _changed(folder, change):
    """The panoptic file after a change of its content."""
    content = json.loads((folder / "panoptic.json").read_text())
    change(content, content["annotations"][0])
    (folder / "panoptic.json").write_text(json.dumps(content))
    return folder / "panoptic.json"


def test_ids_and_flags_as_text_mean_what_numbers_mean(coco):
    """Tools that write JSON from tables quote everything; the segments were lost in silence."""
    plain = load_coco_panoptic_json(
        coco / "panoptic.json", coco / "images", coco / "panoptic", META
    )

    def quote(content, annotation):
        annotation["image_id"] = str(annotation["image_id"])
        for segment in annotation["segments_info"]:
            segment |= {key: str(segment[key]) for key in ("id", "category_id", "iscrowd")}
        content["images"][0] |= {"height": "8", "width": "10"}

    file = _changed(coco, quote)
    assert load_coco_panoptic_json(file, coco / "images", coco / "panoptic", META) == plain


@pytest.mark.parametrize(
    ("where", "key", "message"),
    [
        ("annotation", "image_id", r"entry 0 of 'annotations' \(image None\) lacks image_id"),
        ("annotation", "file_name", "lacks file_name"),
        ("segment", "id", r"\(image 7\) lacks id of a segment"),
        ("segment", "category_id", "lacks category_id of a segment"),
    ],
)
def test_entries_that_lack_something_are_named(coco, where, key, message):
    def remove(content, annotation):
        del {"annotation": annotation, "segment": annotation["segments_info"][1]}[where][key]

    file = _changed(coco, remove)
    with pytest.raises(DataError, match=message):
        load_coco_panoptic_json(file, coco / "images", coco / "panoptic", META)


def test_null_in_place_of_a_list_means_nothing(coco):
    def empty(content, annotation):
        content["images"] = annotation["segments_info"] = None

    file = _changed(coco, empty)
    [record] = load_coco_panoptic_json(file, coco / "images", coco / "panoptic", META)
    assert record["segments_info"] == []
