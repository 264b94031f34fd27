"""The built-in names, and what they say when their files are missing."""

import json

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets import builtin
from d2lite.data.datasets.builtin_meta import (
    CITYSCAPES_CATEGORIES,
    COCO_CATEGORIES,
    COCO_PERSON_KEYPOINT_FLIP_MAP,
    COCO_PERSON_KEYPOINT_NAMES,
    KEYPOINT_CONNECTION_RULES,
    _get_builtin_metadata,
    _get_coco_instances_meta,
    coco_instances_metadata,
)
from d2lite.data.datasets.cityscapes_panoptic import _RAW_CITYSCAPES_PANOPTIC_SPLITS
from d2lite.utils.errors import MissingFileError
from tests.shared_data import shared_data

COCO = [
    f"{group}_{year}_{split}"
    for group in ("coco", "keypoints_coco")
    for year, splits in (
        (2014, "train val minival valminusminival"),
        (2017, "train val val_100"),
    )
    for split in splits.split()
]
VOC = ["voc_2007_train", "voc_2007_val", "voc_2007_trainval", "voc_2007_test"]
PANOPTIC = ["train", "val", "val_100"]
CITY = ["train", "val", "test"]
LVIS = ["lvis_v0.5_train", "lvis_v0.5_val", "lvis_v0.5_val_rand_100", "lvis_v0.5_test"]
LVIS += ["lvis_v0.5_train_cocofied", "lvis_v0.5_val_cocofied"]
LVIS += ["lvis_v1_train", "lvis_v1_val", "lvis_v1_test_dev", "lvis_v1_test_challenge"]
VOC += ["voc_2012_train", "voc_2012_val", "voc_2012_trainval"]


@pytest.mark.parametrize(
    ("name", "evaluator"),
    [
        *((name, "coco") for name in [*COCO, "coco_2017_test", "coco_2017_test-dev"]),
        *((name, "pascal_voc") for name in VOC),
        *((f"coco_2017_{s}_panoptic", "coco_panoptic_seg") for s in PANOPTIC),
        *((f"coco_2017_{s}_panoptic_separated", "coco_panoptic_seg") for s in PANOPTIC),
        *((f"coco_2017_{s}_panoptic_with_sem_seg", "coco_panoptic_seg") for s in PANOPTIC),
        *((f"coco_2017_{s}_panoptic_stuffonly", "sem_seg") for s in PANOPTIC),
        *((name, "lvis") for name in LVIS),
        *((f"cityscapes_fine_instance_seg_{s}", "cityscapes_instance") for s in CITY),
        *((f"cityscapes_fine_sem_seg_{s}", "cityscapes_sem_seg") for s in CITY),
        *((f"cityscapes_fine_panoptic_{s}", "cityscapes_panoptic_seg") for s in CITY[:2]),
        *((f"ade20k_sem_seg_{s}", "sem_seg") for s in ("train", "val")),
        ("shapes_train_panoptic", "coco_panoptic_seg"),
        ("shapes_val_panoptic", "coco_panoptic_seg"),
        ("shapes_train", "coco"),
        ("shapes_val", "coco"),
    ],
)
def test_every_name_is_registered_with_its_evaluator(name, evaluator):
    assert name in DatasetCatalog.list()
    assert MetadataCatalog.get(name).evaluator_type == evaluator


@pytest.mark.parametrize("variable", ["D2LITE_DATASETS", "DETECTRON2_DATASETS"])
def test_the_folder_is_looked_up_when_the_set_is_loaded(monkeypatch, tmp_path, variable):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 3}],
        "categories": [{"id": c["id"], "name": c["name"]} for c in COCO_CATEGORIES[:80]],
        "annotations": [],
    }
    path = tmp_path / "coco/annotations/instances_val2017.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    monkeypatch.setenv(variable, str(tmp_path))
    record = DatasetCatalog.get("coco_2017_val")[0]
    assert record["file_name"] == str(tmp_path / "coco/val2017/a.jpg")
    assert MetadataCatalog.get("coco_2017_val").json_file == str(path)


def test_our_variable_comes_before_the_old_one(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "old")
    monkeypatch.setenv("D2LITE_DATASETS", "new")
    assert MetadataCatalog.get("voc_2007_test").dirname == "new/VOC2007"


def test_missing_files_name_path_variable_and_source(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError) as info:
        DatasetCatalog.get("coco_2017_train")
    text = str(info.value)
    assert str(tmp_path / "datasets/coco/annotations/instances_train2017.json") in text
    assert "D2LITE_DATASETS" in text
    assert "./datasets" in text
    assert "cocodataset.org" in text
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    with pytest.raises(MissingFileError, match=r"\$DETECTRON2_DATASETS is .*data.*VOC") as info:
        DatasetCatalog.get("voc_2012_val")


def test_the_table_of_coco_has_80_things_and_53_kinds_of_stuff_in_order_of_id():
    ids = [category["id"] for category in COCO_CATEGORIES]
    assert ids == sorted(set(ids))
    assert (ids[0], ids[79], ids[80], ids[-1]) == (1, 90, 92, 200)
    assert [c["isthing"] for c in COCO_CATEGORIES] == [1] * 80 + [0] * 53
    assert COCO_CATEGORIES[11] == {
        "id": 13,
        "name": "stop sign",
        "color": [220, 220, 0],
        "isthing": 1,
    }
    assert len({tuple(category["color"]) for category in COCO_CATEGORIES}) == 133


def test_separated_stuff_begins_with_the_class_of_all_things():
    metadata = MetadataCatalog.get("coco_2017_val_panoptic_separated")
    assert len(metadata.thing_classes) == 80
    assert len(metadata.stuff_classes) == len(metadata.stuff_colors) == 54
    assert metadata.stuff_classes[:2] == ["things", "banner"]
    # Endings that tell merged classes apart are left out: sky-other-merged, floor-wood.
    assert {"sky", "floor-wood", "window", "door"} < set(metadata.stuff_classes)
    assert metadata.stuff_dataset_id_to_contiguous_id[200] == 53


def test_one_row_of_numbers_names_things_and_stuff():
    metadata = MetadataCatalog.get("coco_2017_val_panoptic")
    assert metadata.thing_classes == metadata.stuff_classes
    assert len(metadata.thing_classes) == 133
    assert metadata.thing_dataset_id_to_contiguous_id[90] == 79
    assert metadata.stuff_dataset_id_to_contiguous_id[92] == 80
    assert not {92} & set(metadata.thing_dataset_id_to_contiguous_id)


def test_cityscapes_has_8_things_among_19_classes():
    assert [c["trainId"] for c in CITYSCAPES_CATEGORIES] == list(range(19))
    assert [c["id"] for c in CITYSCAPES_CATEGORIES if c["isthing"]] == [*range(24, 29), 31, 32, 33]


def test_panoptic_files_are_found_below_the_folder(monkeypatch):
    monkeypatch.setenv("D2LITE_DATASETS", "root")
    metadata = MetadataCatalog.get("coco_2017_val_100_panoptic_separated")
    assert metadata.panoptic_root == "root/coco/panoptic_val2017_100"
    assert metadata.panoptic_json == "root/coco/annotations/panoptic_val2017_100.json"
    assert metadata.sem_seg_root == "root/coco/panoptic_stuff_val2017_100"
    assert metadata.json_file == "root/coco/annotations/instances_val2017_100.json"
    assert metadata.image_root == "root/coco/val2017"


@pytest.mark.parametrize("has_maps", [True, False])
def test_panoptic_sets_with_maps_of_classes_work_without_them(
    monkeypatch, tmp_path, caplog, has_maps
):
    """Mask2Former's recipes evaluate on such a set; the maps are made by a script of theirs."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 3}],
        "categories": [{"id": c["id"], "name": c["name"]} for c in COCO_CATEGORIES],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": []}],
    }
    path = tmp_path / "coco/annotations/panoptic_val2017.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    maps = tmp_path / "coco/panoptic_semseg_val2017"
    if has_maps:
        maps.mkdir()
    monkeypatch.setenv("D2LITE_DATASETS", str(tmp_path))
    (record,) = DatasetCatalog.get("coco_2017_val_panoptic_with_sem_seg")
    assert record["pan_seg_file_name"] == str(tmp_path / "coco/panoptic_val2017/a.png")
    assert record.get("sem_seg_file_name") == (str(maps / "a.png") if has_maps else None)
    assert ("classes of pixels are not evaluated" in caplog.text) != has_maps


def test_the_table_of_coco_agrees_with_its_files():
    path = shared_data("coco_tiny/annotations/instances_val2017.json")
    found = {c["id"]: c["name"] for c in json.loads(path.read_text())["categories"]}
    assert found == {c["id"]: c["name"] for c in COCO_CATEGORIES if c["isthing"]}


def test_keypoints_are_17_and_mirror_in_pairs():
    assert len(COCO_PERSON_KEYPOINT_NAMES) == 17
    assert len(COCO_PERSON_KEYPOINT_FLIP_MAP) == 8
    paired = {name for pair in COCO_PERSON_KEYPOINT_FLIP_MAP for name in pair}
    assert paired == set(COCO_PERSON_KEYPOINT_NAMES) - {"nose"}
    ends = {name for start, stop, _ in KEYPOINT_CONNECTION_RULES for name in (start, stop)}
    assert ends <= set(COCO_PERSON_KEYPOINT_NAMES)
    assert MetadataCatalog.get("keypoints_coco_2017_val").thing_classes == ["person"]


def test_metadata_of_built_in_groups_is_known_by_name():
    assert _get_builtin_metadata("coco") == _get_coco_instances_meta() == coco_instances_metadata()
    assert len(_get_builtin_metadata("coco_panoptic_standard")["stuff_classes"]) == 133
    assert _get_builtin_metadata("coco_person")["thing_classes"] == ["person"]
    assert _get_builtin_metadata("coco") is not _get_builtin_metadata("coco")
    with pytest.raises(KeyError, match="no built-in metadata of 'nobody'"):
        _get_builtin_metadata("nobody")


def test_tables_of_splits_agree_with_what_is_registered(monkeypatch):
    monkeypatch.setenv("D2LITE_DATASETS", "root")
    found = {}
    for group in (
        *builtin._PREDEFINED_SPLITS_COCO.values(),
        *builtin._PREDEFINED_SPLITS_LVIS.values(),
    ):
        found |= {name: ("image_root", "json_file", *paths) for name, paths in group.items()}
    for name, paths in builtin._PREDEFINED_SPLITS_COCO_PANOPTIC.items():
        found[name] = ("panoptic_root", "panoptic_json", *paths[:2])
        assert MetadataCatalog.get(f"{name}_separated").sem_seg_root == f"root/{paths[2]}"
    for name, paths in builtin._RAW_CITYSCAPES_SPLITS.items():
        for task in ("instance_seg", "sem_seg"):
            found[name.format(task=task)] = ("image_dir", "gt_dir", *paths)
    for name, paths in _RAW_CITYSCAPES_PANOPTIC_SPLITS.items():
        found[name] = ("panoptic_root", "panoptic_json", *paths[1:])
    assert len(found) == 16 + 10 + 3 + 6 + 2
    for name, (first, second, *paths) in found.items():
        known = [MetadataCatalog.get(name).get(key) for key in (first, second)]
        assert known == [f"root/{path}".rstrip("/") for path in paths]
    assert list(builtin._PREDEFINED_SPLITS_LVIS) == ["lvis_v1", "lvis_v0.5", "lvis_v0.5_cocofied"]
