"""Faults of datasets: found, counted, skipped in training, corrected in a copy."""

import json
import logging
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as mask_util

from d2lite.config import get_cfg
from d2lite.data import DatasetCatalog, build_detection_train_loader, get_detection_dataset_dicts
from d2lite.data.checking.dataset import check_dataset, cleaned_coco, compare_sets, fault_table
from d2lite.data.records.faults import FAULTS, FaultLog, collecting_faults
from d2lite.data.records.object_checks import (
    box_fault,
    drop_invalid,
    is_valid_polygon,
    mask_fault,
    place_of,
    unpack_runs,
)
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError
from tests.data import spec_files as make
from tests.data import spoilt

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def name(tmp_path):
    return f"coco:{spoilt.spoilt(tmp_path / 'work' / 'd')}"


def config(*names, **loader):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = names
    cfg.SEED = 3
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.INPUT.MIN_SIZE_TRAIN = (16,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    for key, value in loader.items():
        cfg.DATALOADER[key] = value
    return cfg


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((0, 0, 20, 10), None),
        ((-1, -1, 21, 11), None),
        ((-1.5, 0, 5, 5), "box_beyond"),
        ((0, 0, 5, 11.5), "box_beyond"),
        ((5, 5, 5, 8), "bad_box"),
        ((5, 5, 4, 8), "bad_box"),
        ((5, float("nan"), 9, 8), "bad_box"),
        ((20, 0, 25, 5), "box_outside"),
        ((0, -5, 5, 0), "box_outside"),
    ],
)
def test_boxes_are_judged_by_size_and_place(box, fault):
    assert box_fault(box, 10, 20) == fault


def test_a_box_is_named_to_hundredths_of_a_pixel():
    obj = {"bbox": [201.32479999999998, -4.0, 7, 1e-9]}
    assert place_of(obj, {"file_name": "a.jpg"}) == "a.jpg, box [201.32, -4.0, 7, 0.0]"
    assert place_of({"bbox": "text"}, {}) == "None, box text"


@pytest.mark.parametrize("polygon", [[], [1, 1, 2, 2], [1] * 7, [1] * 5 + [float("nan")], 5, "abc"])
def test_polygons_need_three_points_of_finite_numbers(polygon):
    assert not is_valid_polygon(polygon)
    assert is_valid_polygon([1, 1, 5, 1, 5, 5])


@settings(deadline=None)
@given(arrays(np.uint8, (13, 17), elements=st.integers(0, 1)))
def test_runs_of_a_packed_mask_are_read_without_drawing_it(mask):
    code = mask_util.encode(np.asfortranarray(mask))
    runs = unpack_runs(code["counts"])
    drawn = np.repeat(np.arange(len(runs)) % 2, runs).reshape(17, 13).T
    np.testing.assert_array_equal(drawn, mask)
    assert mask_fault(code, 13, 17) is None
    assert mask_fault(code, 17, 13) == "bad_mask"


def test_long_runs_of_a_packed_mask_are_read():
    mask = np.zeros((900, 1100), dtype=np.uint8)
    mask[400:700, 3:1000:7] = 1
    code = mask_util.encode(np.asfortranarray(mask))
    assert unpack_runs(code["counts"]).sum() == mask.size


@pytest.mark.parametrize(
    "counts", [b"", b"~", b"\x01", b"P", b"PPPPPPPP0", b"9", [200, -5, 5], "é"]
)
def test_masks_that_do_not_fill_the_image_are_found(counts):
    assert mask_fault({"size": [10, 20], "counts": counts}, 10, 20) == "bad_mask"


def test_an_object_without_a_box_gets_one_around_its_mask():
    rle = mask_util.frPyObjects({"size": [10, 20], "counts": [21, 5, 174]}, 10, 20)
    objects = [
        {"category_id": 0, "segmentation": [[1, 2, 5, 2, 5, 9]]},
        {"category_id": 0, "segmentation": rle},
        {"category_id": 0, "segmentation": mask_util.decode(rle)},
        {"category_id": 0},
    ]
    faults = FaultLog()
    record = {"file_name": "a", "height": 10, "width": 20, "annotations": objects}
    (valid,) = drop_invalid([record], faults)
    assert [o["bbox"] for o in valid["annotations"]] == [[1, 2, 5, 9], *[[2, 1, 3, 6]] * 2]
    assert dict(faults.counts) == {"malformed": 1}


def test_sound_records_are_handed_on_as_they_are():
    box = {"category_id": 0, "bbox": [1, 1, 3, 3], "bbox_mode": BoxMode.XYWH_ABS}
    rotated = {"category_id": 0, "bbox": [5, 5, 30, 3, 45], "bbox_mode": BoxMode.XYWHA_ABS}
    record = {"file_name": "a", "height": 10, "width": 20, "annotations": [box, rotated]}
    faults = FaultLog()
    assert drop_invalid([record], faults)[0] is record
    assert not faults.counts


def test_every_fault_of_a_spoilt_dataset_is_counted(name):
    checked = check_dataset(name, num_threads=2)
    assert dict(checked.faults.counts) == spoilt.COUNTS
    assert len(checked.records) == spoilt.NUM_SOUND_IMAGES
    assert sum(len(r["annotations"]) for r in checked.records) == spoilt.NUM_SOUND_OBJECTS
    table = fault_table(checked)
    for kind, count in spoilt.COUNTS.items():
        assert any(line.split()[0] == str(count) and FAULTS[kind].what in line
                   for line in table.splitlines())  # fmt: skip


def test_a_cleaned_copy_is_sound_and_keeps_what_was_right(name, tmp_path):
    content, root = cleaned_coco(check_dataset(name))
    assert (content["info"], content["images"][0]["licence"]) == ({"from": "a tool"}, 3)
    assert {a["author"] for a in content["annotations"]} == {"me"}
    assert {a["category_id"] for a in content["annotations"]} == {3, 9}
    ids = [a["id"] for a in content["annotations"]]
    assert len(set(ids)) == len(ids) == spoilt.NUM_SOUND_OBJECTS
    fixed = tmp_path / "fixed.json"
    fixed.write_text(json.dumps(content, allow_nan=False))
    again = check_dataset(f"coco:{fixed}@{root}")
    assert not again.faults.has_faults
    assert set(again.faults.counts) == {"exif_turned", "empty_class", "partly_masked"}


def test_training_skips_what_is_bad_and_names_it_once(name, caplog):
    """The good images of the set, in an order that does not depend on who reads them."""
    with caplog.at_level(logging.INFO, "d2lite"):
        loader = build_detection_train_loader(config(name, MAX_BAD_SHARE=0.6))
        seen = [s["image_id"] for batch in islice(loader, 40) for s in batch]
    assert set(seen) == set(range(9, spoilt.NUM_IMAGES))
    assert len(loader.bad_images) == 9
    for number in range(9):
        assert caplog.text.count(f"/{number:02d}.png") >= 1
    assert caplog.text.count("in place of a bad one") == 9
    assert "5 x box of zero, negative or non-finite size" in caplog.text
    assert "2 x image file is missing" in caplog.text
    late = build_detection_train_loader(config(name, MAX_BAD_SHARE=0.6))
    late.seek(7)
    assert [s["image_id"] for s in next(iter(late))] == seen[28:32]


def test_bad_images_met_by_a_worker_are_told_by_the_process_that_trains(name):
    cfg = config(name, MAX_BAD_SHARE=0.6, NUM_WORKERS=1)
    loader = build_detection_train_loader(cfg)
    batches = iter(loader)
    for _ in range(12):
        assert len(next(batches)) == 4
    assert len(loader.bad_images) == 9
    del batches


@pytest.mark.parametrize(("share", "what"), [(0.0, "images"), (0.2, "objects")])
def test_training_stops_when_too_much_is_bad(name, share, what):
    with pytest.raises(DataError, match=rf"of \d+ {what} .*MAX_BAD_SHARE.*data check") as info:
        build_detection_train_loader(config(name, MAX_BAD_SHARE=share))
    assert "box of zero" in str(info.value)


def test_training_stops_when_more_images_turn_out_bad_than_may(tmp_path):
    folder = tmp_path / "work"
    names = [f"{i}.png" for i in range(8)]
    make.coco(folder / "a.json", objects=[(i, 1) for i in range(8)], files=names)
    for number in range(8):
        spoilt.photo(folder / names[number], number)
    for number in (0, 1):
        (folder / names[number]).write_bytes(b"")
    loader = build_detection_train_loader(config("coco:a.json", MAX_BAD_SHARE=0.2))
    with pytest.raises(
        DataError, match=r"2 of 8 images .*MAX_BAD_SHARE.*0\.2: Cannot decode.*[^.]\. See "
    ):
        list(islice(loader, 10))
    for number in range(8):
        (folder / names[number]).unlink()
    with pytest.raises(DataError, match=r"8 of 8 images .*image file is missing"):
        build_detection_train_loader(config("coco:a.json"))


def test_evaluation_does_not_leave_out_objects(name):
    """They count there as the file has them; only what cannot be read at all is gone."""
    records = get_detection_dataset_dicts(name, filter_empty=False)
    boxes = [o["bbox"] for r in records for o in r["annotations"]]
    assert [2, 2, 0, 5] in boxes


def test_the_same_image_in_train_and_test_is_found_by_content(tmp_path):
    folder = tmp_path / "work"
    make.coco(folder / "t/a.json", files=["a.png", "b.png"])
    make.coco(folder / "v/a.json", ("cat", "dog"), files=["c.bmp"])
    for path, seed in (("t/a.png", 1), ("t/b.png", 2), ("v/c.bmp", 2)):
        spoilt.photo(folder / path, seed)
    sets = [check_dataset("coco:t/a.json"), check_dataset("coco:v/a.json")]
    compare_sets(sets)
    assert sets[1].faults.counts["shared_image"] == 1
    assert "v/c.bmp is " in sets[1].faults.examples["shared_image"][0]
    assert sets[1].faults.counts["classes_differ"] == 2
    assert not sets[0].faults.has_faults


def test_faults_of_other_formats_are_counted(tmp_path):
    folder = tmp_path / "work"
    make.yolo(folder / "y", train_a="0 0.5 0.5 0.2 0.4\n7 0.5 0.5 0.2 0.4\n0 2 2 0.1 0.1\n0 0.1\n")
    (folder / "y/images/train/b.jpg").write_bytes(b"")
    checked = check_dataset("yolo:y")
    assert dict(checked.faults.counts) == {
        "unreadable_image": 1, "unknown_category": 1, "box_outside": 1, "malformed": 1,
        "empty_class": 1,
    }  # fmt: skip
    make.voc(folder / "v", train={"a": ["cat"], "b": ["cat"], "c": ["cat"]})
    (folder / "v/Annotations/a.xml").write_text("<annotation>")
    text = (folder / "v/Annotations/b.xml").read_text()
    (folder / "v/Annotations/b.xml").write_text(text.replace("<xmax>8</xmax>", ""))
    counts = check_dataset("voc:v").faults.counts
    assert dict(counts) == {"unreadable_annotations": 1, "malformed": 1}
    make.labelme(folder / "l/a.json", {"label": "x", "points": [[1, 1], [8, 1], [8, 8]]})
    (folder / "l/b.json").write_text("{")
    assert dict(check_dataset("labelme:l").faults.counts) == {"unreadable_annotations": 1}
    content, _ = cleaned_coco(check_dataset("yolo:y"))
    assert [image["file_name"] for image in content["images"]] == ["a.jpg"]
    assert [a["bbox"] for a in content["annotations"]] == [[8, 3, 4, 4]]


def test_a_set_that_cannot_be_loaded_is_a_fault_and_not_a_crash(tmp_path):
    (tmp_path / "work/a.json").write_text("{")
    checked = check_dataset("coco:a.json")
    assert checked.faults.has_faults
    assert "not valid JSON" in fault_table(checked)
    with pytest.raises(DataError, match="not valid JSON"):
        cleaned_coco(checked)


def test_a_book_of_an_outer_collection_takes_the_inner_ones(name):
    with collecting_faults() as faults:
        DatasetCatalog.get(name)
        with collecting_faults() as inner:
            assert inner is faults
    assert faults.counts["unknown_image"] == spoilt.COUNTS["unknown_image"]


def test_boxes_alone_cannot_train_masks_and_that_is_said(tmp_path):
    names = [f"{i}.png" for i in range(700)]
    boxes = [
        {"id": i + 1, "image_id": i, "category_id": 1, "bbox": [2, 2, 6, 6]} for i in range(700)
    ]
    make.coco(tmp_path / "work/a.json", files=names, annotations=boxes)
    make.picture(tmp_path / "work/0.png")
    for name in names[1:]:
        (tmp_path / "work" / name).symlink_to("0.png")
    cfg = config("coco:a.json")
    cfg.MODEL.MASK_ON = True
    with pytest.raises(DataError, match=r"None of the 700 objects.*has a mask.*MASK_ON False"):
        build_detection_train_loader(cfg)


def test_file_of_two_entries_is_told(tmp_path):
    path = make.coco(tmp_path / "x.json", objects=[(0, 1), (1, 2)], files=("a.jpg", "a.jpg"))
    make.picture(tmp_path / "a.jpg")
    assert check_dataset(f"coco:{path}").faults.counts == {"shared_file": 1}


def test_what_code_registers_may_be_arrays_and_maps_of_one_image(tmp_path):
    make.picture(tmp_path / "a.jpg")
    image = {"file_name": str(tmp_path / "a.jpg"), "height": 10, "width": 20}
    cat = {"bbox": np.array([1.0, 1, 9, 9]), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    cat |= {"keypoints": np.array([5.0, 5, 2]), "segmentation": [np.array([1.0, 1, 9, 1, 9, 9])]}
    labelled = [{**image, "image_id": 1, "annotations": [cat]}]
    maps = [{**image, "image_id": i, "sem_seg_file_name": image["file_name"]} for i in (1, 2)]
    for name, records in (("arrays", labelled), ("maps", maps)):
        DatasetCatalog.register(name, lambda records=records: records)
    text = fault_table(check_dataset("arrays"))
    assert "  objects: 1 0; 1 with masks; 1 with keypoints" in text
    assert "shared_file" not in check_dataset("maps").faults.counts
