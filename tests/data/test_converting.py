"""Conversions keep what the format can hold, and count what it cannot."""

import errno
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.checking.dataset import check_dataset
from d2lite.data.classes import create_keypoint_hflip_indices
from d2lite.data.converting import (
    LabelledSet,
    convert,
    load_labelled_set,
    merge,
    select,
    split,
    write_set,
)
from d2lite.data.converting.outlines import joined
from d2lite.data.rotated_boxes import rotated_box
from d2lite.structures import BoxMode, polygons_to_bitmask
from d2lite.utils.errors import ConfigError, DataError, MissingFileError, OutputError
from tests.data import spec_files as make
from tests.data.spec_files import SQUARE, labels_of
from tests.shared_data import shared_data

pytestmark = pytest.mark.usefixtures("own_folders")


def corners(name):
    """Image name without ending -> its objects as (class, box)."""
    classes = MetadataCatalog.get(name).thing_classes
    return {
        Path(record["file_name"]).stem: [
            (
                classes[o["category_id"]],
                [
                    round(float(v), 6)
                    for v in BoxMode.convert(o["bbox"], o["bbox_mode"], BoxMode.XYXY_ABS)
                ],
            )
            for o in record["annotations"]
        ]
        for record in DatasetCatalog.get(name)
    }


@pytest.fixture
def rich(tmp_path):
    """A set that has something which each format loses."""
    rle = mask_util.encode(np.asfortranarray(np.eye(10, 20, 3, dtype=np.uint8)))
    text = {"size": [10, 20], "counts": rle["counts"].decode()}
    hole = np.zeros((10, 20), dtype=np.uint8)
    hole[1:9, 2:12] = 1
    hole[3:6, 5:8] = 0
    ring = mask_util.encode(np.asfortranarray(hole))
    ring = {"size": [10, 20], "counts": ring["counts"].decode()}
    base = {"image_id": 0, "category_id": 1, "bbox": [2, 2, 6, 6], "area": 36}
    objects = [
        {**base, "segmentation": [SQUARE, [10, 2, 12, 2, 12, 4]], "bbox": [2, 2, 10, 6]},
        {**base, "segmentation": ring, "bbox": [2, 1, 10, 8]},
        {**base, "segmentation": text, "iscrowd": 1},
        {**base, "keypoints": [3, 3, 2], "bbox": [1.25, 2.5, 3.125, 4]},
        {**base, "image_id": 1, "segmentation": [SQUARE], "bbox": [0, 0, 20, 10]},
    ]
    for number, obj in enumerate(objects, start=1):
        obj["id"] = number
    folder = tmp_path / "work/r"
    make.coco(folder / "a.json", annotations=objects)
    for file in ("a.jpg", "b.jpg"):
        make.picture(folder / file)
    return "coco:r/a.json"


def forget_keypoints(tmp_path):
    """With keypoints, YOLO's files are poses, which have no outlines."""
    path = tmp_path / "work/r/a.json"
    content = json.loads(path.read_text())
    for obj in content["annotations"]:
        obj.pop("keypoints", None)
    path.write_text(json.dumps(content))


def test_coco_to_coco_loses_nothing(rich, tmp_path):
    strings, lost = convert([rich], "coco", tmp_path / "out")
    assert not lost
    assert corners(strings["train"]) == corners(rich)
    for old, new in zip(
        DatasetCatalog.get(rich), DatasetCatalog.get(strings["train"]), strict=True
    ):
        for before, after in zip(old["annotations"], new["annotations"], strict=True):
            assert before.get("keypoints") == after.get("keypoints")
            assert before.get("iscrowd", 0) == after["iscrowd"]
            one, two = before.get("segmentation"), after.get("segmentation")
            if isinstance(one, dict):
                np.testing.assert_array_equal(mask_util.decode(one), mask_util.decode(two))
            else:
                assert one == two
    assert not check_dataset(strings["train"]).faults.has_faults


def test_progress_is_reported_for_each_image_of_all_splits(rich, tmp_path):
    seen = []
    shares = {"train": 0.5, "val": 0.5}
    convert(
        [rich],
        "coco",
        tmp_path / "out",
        shares=shares,
        progress=lambda *counts: seen.append(counts),
    )
    total = len(DatasetCatalog.get(rich))
    assert seen == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("voc", {"masks (boxes are kept)": 3}),
        (
            "yolo",
            {
                "masks redrawn as outlines": 1,
                "parts of masks joined into one outline": 2,
                "boxes that differ from the box around their mask": 1,
            },
        ),
        (
            "labelme",
            {"boxes that differ from the box around their mask": 1},
        ),
        (
            "masks",
            {
                "objects without a mask": 1,
                "outlines turned into pixels": 2,
                "boxes that differ from the box around their mask": 1,
            },
        ),
    ],
)
def test_what_a_format_cannot_hold_is_counted(rich, tmp_path, kind, wanted):
    if kind == "yolo":
        forget_keypoints(tmp_path)
    strings, lost = convert([rich], kind, tmp_path / "out", split_name="part")
    keypoints = {"keypoints of objects": 1} if kind in ("voc", "masks") else {}
    assert dict(lost) == {"crowd regions": 1, **keypoints, **wanted}
    found, given_boxes = corners(strings["part"]), corners(rich)
    assert list(found) == ["a", "b"]
    kept = [pair for i, pair in enumerate(given_boxes["a"]) if i != 2]
    if kind == "voc":
        assert found["a"] == kept
    elif kind != "masks":
        assert found["a"][0] == kept[0]
        assert found["a"][2] == kept[2]
    else:
        assert found["a"] == kept[:2]
    assert not check_dataset(strings["part"]).faults.has_faults


def test_masks_survive_formats_of_polygons(rich, tmp_path):
    """Several parts: LabelMe groups them; YOLO joins them by bridges that cover no pixel."""
    wanted = polygons_to_bitmask([np.array(SQUARE), np.array([10, 2, 12, 2, 12, 4.0])], 10, 20)
    for kind in ("labelme", "yolo"):
        forget_keypoints(tmp_path)
        strings, _ = convert([rich], kind, tmp_path / kind)
        mask = DatasetCatalog.get(strings["train"])[0]["annotations"][0]["segmentation"]
        drawn = polygons_to_bitmask([np.asarray(p) for p in mask], 10, 20)
        assert (drawn == wanted).mean() > 0.97
    strings, _ = convert([rich], "masks", tmp_path / "masks")
    mask = DatasetCatalog.get(strings["train"])[0]["annotations"][0]["segmentation"]
    np.testing.assert_array_equal(mask_util.decode(mask).astype(bool), wanted)


def test_joined_outlines_have_the_area_of_their_parts():
    squares = [np.array([0, 0, 2, 0, 2, 2, 0, 2.0]) + shift for shift in (0, 10, 5)]
    flat = np.asarray(joined([s.tolist() for s in squares])).reshape(-1, 2)
    x, y = flat.T
    assert abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2 == pytest.approx(12)


number = st.floats(0.1, 0.9)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(number, number, number, number, st.integers(0, 2)), min_size=1, max_size=5),
    st.sampled_from(["coco", "voc", "yolo", "labelme"]),
)
def test_boxes_go_round_through_every_format(tmp_path_factory, rows, kind):
    folder = tmp_path_factory.mktemp("round")
    make.picture(folder / "photo ü.png")
    objects = [
        {
            "category_id": category,
            "bbox": [x * 10, y * 5, w * 10, h * 5],
            "bbox_mode": BoxMode.XYWH_ABS,
        }
        for x, y, w, h, category in rows
    ]
    # All classes have objects, which VOC and LabelMe need.
    used = sorted({o["category_id"] for o in objects})
    for obj in objects:
        obj["category_id"] = used.index(obj["category_id"])
    record = {
        "file_name": str(folder / "photo ü.png"),
        "image_id": 7,
        "height": 10,
        "width": 20,
        "annotations": objects,
    }
    names = ["eine Katze", "owl", "x"][: len(used)]
    data = LabelledSet(names, [record], list(range(4, 4 + len(used))))
    lost = Counter()
    string = write_set(data, kind, folder / "out", "all", lost)
    again = load_labelled_set(string)
    assert not +lost
    assert again.classes == names
    (found,) = again.records
    for before, after in zip(objects, found["annotations"], strict=True):
        assert before["category_id"] == after["category_id"]
        boxes = [BoxMode.convert(o["bbox"], o["bbox_mode"], 0) for o in (before, after)]
        np.testing.assert_allclose(*boxes, atol=2e-6)


def test_difficult_objects_keep_their_mark_in_voc_alone(tmp_path):
    make.voc(tmp_path / "work/v", train={"a": ["cat", "owl"], "b": []})
    path = tmp_path / "work/v/Annotations/a.xml"
    path.write_text(path.read_text().replace("<bndbox>", "<difficult>1</difficult><bndbox>", 1))
    strings, lost = convert(["voc:v"], "voc", tmp_path / "out")
    assert not lost
    assert DatasetCatalog.get(strings["train"]) != []
    assert [o["difficult"] for o in DatasetCatalog.get(strings["train"])[0]["annotations"]] == [
        1,
        0,
    ]
    assert convert(["voc:v"], "yolo", tmp_path / "o2")[1] == {"marks 'difficult'": 1}


def test_sets_of_different_classes_and_equal_names_are_merged(tmp_path):
    work = tmp_path / "work"
    make.coco(work / "x/a.json", ("cat", "owl"), objects=[(0, 1), (0, 2)], files=["p.jpg"])
    make.coco(work / "y/a.json", ("dog", "cat"), (4, 9), [(0, 4), (0, 9)], files=["P.jpg"])
    make.picture(work / "x/p.jpg")
    make.picture(work / "y/P.jpg", (20, 10))
    strings, _ = convert(["coco:x/a.json", "coco:y/a.json"], "coco", tmp_path / "out")
    assert MetadataCatalog.get(strings["train"]).thing_classes == ["cat", "owl", "dog"]
    assert labels_of(strings["train"]) == [["cat", "owl"], ["dog", "cat"]]
    names = [Path(r["file_name"]).name for r in DatasetCatalog.get(strings["train"])]
    assert names == ["p.jpg", "P_2.jpg"]


def test_classes_can_be_chosen_and_keep_their_ids(tmp_path):
    work = tmp_path / "work"
    objects = [(0, 9), (1, 4), (0, 2)]
    make.coco(work / "a.json", ("ant", "cat", "owl"), (9, 4, 2), objects)
    for file in ("a.jpg", "b.jpg"):
        make.picture(work / file)
    strings, _ = convert(["coco:a.json"], "coco", tmp_path / "out", classes=["ant", "cat"])
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert {c["name"]: c["id"] for c in content["categories"]} == {"ant": 9, "cat": 4}
    assert labels_of(strings["train"]) == [["ant"], ["cat"]]
    with pytest.raises(ConfigError, match=r"no 'dog'\. They have owl, cat, ant"):
        select(load_labelled_set("coco:a.json"), ["dog"])


def test_a_split_is_a_partition_that_follows_names_and_seed():
    records = [{"file_name": f"{i:02d}.jpg", "annotations": []} for i in range(20)]
    data = LabelledSet(["x"], records, [1])
    parts = split(data, {"train": 0.7, "val": 0.2, "test": 0.1}, seed=4)
    assert [len(part.records) for part in parts.values()] == [14, 4, 2]
    names = [r["file_name"] for part in parts.values() for r in part.records]
    assert sorted(names) == [r["file_name"] for r in records]
    mixed = LabelledSet(["x"], records[::-1], [1])
    again = split(mixed, {"train": 0.7, "val": 0.2, "test": 0.1}, seed=4)
    for one, two in zip(parts.values(), again.values(), strict=True):
        assert {r["file_name"] for r in one.records} == {r["file_name"] for r in two.records}
    other = split(data, {"train": 0.7}, seed=5)
    assert other["train"].records != parts["train"].records
    with pytest.raises(ConfigError, match="together at most 1"):
        split(data, {"train": 0.9, "val": 0.2}, seed=0)
    with pytest.raises(ConfigError, match=r"too few for the share val=0\.01"):
        split(data, {"train": 0.9, "val": 0.01}, seed=0)


def test_merging_one_set_changes_nothing():
    data = LabelledSet(["x"], [], [5])
    assert merge([data]) is data


def test_images_are_copied_linked_or_drawn(tmp_path, rich):
    convert([rich], "coco", tmp_path / "copy")
    assert not (tmp_path / "copy/train/a.jpg").is_symlink()
    convert([rich], "coco", tmp_path / "link", images="link")
    assert (tmp_path / "link/train/a.jpg").resolve() == tmp_path / "work/r/a.jpg"
    record = {**DatasetCatalog.get("shapes_val")[0], "annotations": []}
    data = LabelledSet(["x"], [record], [1])
    string = write_set(data, "coco", tmp_path / "drawn", "all", Counter())
    assert check_dataset(string).records[0]["file_name"].endswith(".png")


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "labelme", "masks"])
def test_images_whose_names_are_not_utf8_get_others(tmp_path, kind):
    make.coco(tmp_path / "work/a.json", objects=[(0, 1)], files=["a\udcff.jpg"])
    make.picture(tmp_path / "work/a\udcff.jpg")
    strings, _ = convert(["coco:a.json"], kind, tmp_path / "out")
    (record,) = DatasetCatalog.get(strings["train"])
    assert Path(record["file_name"]).name == "a_.jpg"
    assert len(record["annotations"]) == 1


def test_an_image_that_a_full_disk_cuts_off_is_taken_away(tmp_path, rich, monkeypatch):
    def copy_half(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", copy_half)
    with pytest.raises(OutputError, match="No space left"):
        convert([rich], "coco", tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_mistakes_are_told_before_anything_is_written(tmp_path, rich):
    with pytest.raises(ConfigError, match="choose one of coco, voc"):
        convert([rich], "csv", tmp_path / "out")
    with pytest.raises(OutputError, match="not empty"):
        convert([rich], "coco", tmp_path / "work")
    (tmp_path / "work/r/b.jpg").unlink()
    with pytest.raises(MissingFileError, match=r"b\.jpg.*d2lite data check"):
        convert([rich], "coco", tmp_path / "out")
    make.picture(tmp_path / "work/i/a.jpg")
    with pytest.raises(DataError, match="no classes"):
        convert(["images:i"], "coco", tmp_path / "out2")
    with pytest.raises(ConfigError, match="copy, link"):
        convert(["labelme:r", rich][1:], "coco", tmp_path / "out3", images="move")


def test_a_folder_of_masks_that_is_none_is_told(tmp_path):
    (tmp_path / "work/m/images").mkdir(parents=True)
    with pytest.raises(MissingFileError, match=r"\(masks, classes\.txt\)"):
        DatasetCatalog.get("masks:m")
    (tmp_path / "work/m/masks/a").mkdir(parents=True)
    (tmp_path / "work/m/classes.txt").write_text("cat\n")
    with pytest.raises(DataError, match="no images"):
        DatasetCatalog.get("masks:m")
    make.picture(tmp_path / "work/m/images/a.jpg")
    make.picture(tmp_path / "work/m/masks/a/0_0.png")
    make.picture(tmp_path / "work/m/masks/a/0_1.png")
    (tmp_path / "work/m/masks/a/1_0.png").write_bytes(b"")
    counts = check_dataset("masks:m").faults.counts
    assert dict(counts) == {"unknown_category": 1, "bad_box": 1, "bad_mask": 1, "empty_class": 1}


def test_boxes_stay_boxes_and_masks_stay_masks_through_labelme(rich, tmp_path):
    strings, _ = convert([rich], "labelme", tmp_path / "out")
    old, new = (DatasetCatalog.get(name)[0]["annotations"] for name in (rich, strings["train"]))
    kept = [obj for obj in old if not obj.get("iscrowd")]
    assert [bool(o.get("segmentation")) for o in kept] == [True, True, False]
    assert [bool(o.get("segmentation")) for o in new] == [True, True, False]
    assert kept[0]["segmentation"] == new[0]["segmentation"]
    one, two = (mask_util.decode(o[1]["segmentation"]) for o in (kept, new))
    np.testing.assert_array_equal(one, two)  # with its hole


@pytest.fixture
def posed(tmp_path):
    """A COCO set whose first class has keypoints."""
    points = [3.0, 3.0, 2, 0.0, 0.0, 0, 5.0, 4.0, 1]
    obj = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [2, 2, 6, 6], "keypoints": points}
    path = make.coco(tmp_path / "work/p.json", files=["a.jpg"], annotations=[obj])
    content = json.loads(path.read_text())
    content["categories"][0]["keypoints"] = ["a", "left_b", "right_b"]
    path.write_text(json.dumps(content))
    make.picture(tmp_path / "work/a.jpg")
    return "coco:p.json"


def test_keypoints_keep_their_names_in_coco_labelme_and_yolo(posed, tmp_path):
    for kind in ("coco", "labelme", "yolo"):
        strings, lost = convert([posed], kind, tmp_path / kind)
        unmarked = {"names of keypoints that no object has": 1}
        assert lost == (unmarked if kind == "labelme" else {})
        assert MetadataCatalog.get(strings["train"]).thing_classes == ["cat", "owl"]
        names = MetadataCatalog.get(strings["train"]).keypoint_names
        found = DatasetCatalog.get(strings["train"])[0]["annotations"][0]["keypoints"]
        by_name = {name: found[3 * i : 3 * i + 3] for i, name in enumerate(names)}
        assert by_name["a"] == [3.5, 3.5, 2]
        assert by_name["right_b"] == [5.5, 4.5, 1]
        assert corners(strings["train"]) == {"a": [("cat", [2, 2, 8, 8])]}
    assert create_keypoint_hflip_indices(strings["train"]) == [0, 2, 1]
    assert strings["train"].startswith("yolo:")
    other = LabelledSet(["cat"], [], [1], ["nose"])
    with pytest.raises(DataError, match="a, left_b, right_b; nose"):
        merge([load_labelled_set(posed), other])


def test_poses_of_yolo_are_written_with_their_shape_and_flips(posed, tmp_path):
    """An object without keypoints gets points that nobody marked; its outline is counted."""
    path = tmp_path / "work/p.json"
    content = json.loads(path.read_text())
    plain = {"id": 2, "image_id": 0, "category_id": 2, "bbox": [0, 0, 10, 5]}
    content["annotations"].append({**plain, "segmentation": [SQUARE]})
    path.write_text(json.dumps(content))
    _, lost = convert([posed], "yolo", tmp_path / "out")
    assert lost == {"masks (boxes are kept)": 1}
    keys = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert (keys["kpt_shape"], keys["flip_idx"]) == ([3, 3], [0, 2, 1])
    assert keys["kpt_names"][1] == ["a", "left_b", "right_b"]
    lines = (tmp_path / "out/labels/train/a.txt").read_text().splitlines()
    assert lines[0] == "0 0.25 0.5 0.3 0.6 0.175 0.35 2 0 0 0 0.275 0.45 1"
    assert lines[1] == "1 0.25 0.25 0.5 0.5" + 9 * " 0"


def test_flips_that_names_do_not_say_are_counted_as_lost(posed, tmp_path):
    convert([posed], "yolo", tmp_path / "one")
    path = tmp_path / "one/data.yaml"
    keys = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**keys, "kpt_names": None}))
    strings, lost = convert([f"yolo:{path}"], "yolo", tmp_path / "two")
    assert not lost
    _, lost = convert([strings["train"]], "coco", tmp_path / "three")
    assert lost == {"pairs of keypoints that a flip exchanges": 1}


@pytest.mark.parametrize("kind", ["yolo", "labelme"])
def test_rotated_boxes_become_their_corners(tmp_path, kind):
    path = make.coco(tmp_path / "work/r.json", objects=[(0, 1)], files=["a.jpg"])
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"bbox": [10, 5, 8, 2, 30], "segmentation": []}
    path.write_text(json.dumps(content))
    make.picture(tmp_path / "work/a.jpg")
    strings, lost = convert(["coco:r.json"], kind, tmp_path / "out")
    assert not lost
    (obj,) = DatasetCatalog.get(strings["train"])[0]["annotations"]
    np.testing.assert_allclose(rotated_box(obj), [10, 5, 8, 2, 30], atol=1e-4)


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "labelme", "masks"])
def test_the_strings_of_all_parts_have_the_same_classes(tmp_path, kind):
    """A class that occurs in one part only must not make the others unusable."""
    path = make.coco(tmp_path / "work/a.json", ("cat", "owl"), objects=[(0, 1), (1, 2)])
    for name in ("a.jpg", "b.jpg"):
        make.picture(tmp_path / "work" / name)
    assert path.is_file()
    strings, _ = convert(["coco:a.json"], kind, tmp_path / "out", shares={"train": 0.5, "val": 0.5})
    classes = [MetadataCatalog.get(name).thing_classes for name in strings.values()]
    assert classes == [["cat", "owl"]] * 2


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "labelme", "masks"])
@pytest.mark.parametrize(
    ("label", "refused_by"),
    [
        *((text, ("voc", "labelme", "masks")) for text in ("cat\a", "cat\ndog", " cat", "a\r\nb")),
        *((text, ("voc", "labelme", "masks")) for text in ("cat\u2028dog", "\ud800", "")),
        ("__x", ("labelme",)),
        ("a, b<&>'\"é", ()),
    ],
)
def test_class_names_are_read_back_or_refused(tmp_path, kind, label, refused_by):
    make.coco(tmp_path / "work/a.json", [label], objects=[(0, 1)], files=["a.jpg"])
    make.picture(tmp_path / "work/a.jpg")
    if kind in refused_by:
        with pytest.raises(DataError, match=f"--to {kind} cannot hold the class names"):
            convert(["coco:a.json"], kind, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    else:
        strings, _ = convert(["coco:a.json"], kind, tmp_path / "out")
        assert labels_of(strings["train"]) == [[label]]


@pytest.mark.parametrize("kind", ["voc", "yolo", "labelme", "masks"])
def test_a_conversion_that_would_write_no_object_is_refused(tmp_path, kind):
    crowd = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [2, 2, 6, 6], "iscrowd": 1}
    box = {**crowd, "iscrowd": 0} if kind == "masks" else crowd
    make.coco(tmp_path / "work/a.json", files=["a.jpg"], annotations=[box])
    make.picture(tmp_path / "work/a.jpg")
    with pytest.raises(DataError, match="none of the 1 objects of 1 images"):
        convert(["coco:a.json"], kind, tmp_path / "out")


def average_precision(json_file, predictions):
    """COCO's table of bbox for predictions by file name."""
    truth = COCO(json_file)
    number = {Path(i["file_name"]).stem: i["id"] for i in truth.dataset["images"]}
    category = {c["name"]: c["id"] for c in truth.dataset["categories"]}
    rows = [
        {"image_id": number[stem], "category_id": category[label], "bbox": box, "score": score}
        for stem, label, box, score in predictions
    ]
    judge = COCOeval(truth, truth.loadRes(rows), "bbox")
    judge.evaluate()
    judge.accumulate()
    return judge.eval["precision"]


def test_blood_cells_go_from_voc_to_coco_to_yolo_to_coco(tmp_path):
    """Boxes stay equal, and so does the AP of the same predictions."""
    voc = f"voc:{shared_data('bccd')}@test"
    first, lost = convert([voc], "coco", tmp_path / "coco", split_name="test", images="link")
    yolo, _ = convert([first["test"]], "yolo", tmp_path / "yolo", split_name="test", images="link")
    last, _ = convert([yolo["test"]], "coco", tmp_path / "last", split_name="test", images="link")
    assert not set(lost) - {"marks 'difficult'"}
    wanted = corners(voc)
    assert sum(map(len, wanted.values())) > 500
    for string in (first["test"], yolo["test"], last["test"]):
        assert corners(string) == wanted
    draw = np.random.default_rng(0)
    predictions = [
        (stem, label, (np.array([x0, y0, x1 - x0, y1 - y0]) + draw.normal(0, 6, 4)).tolist(),
         float(draw.random()))
        for stem, objects in wanted.items()
        for label, (x0, y0, x1, y1) in objects
    ]  # fmt: skip
    tables = [
        average_precision(tmp_path / folder / "annotations/instances_test.json", predictions)
        for folder in ("coco", "last")
    ]
    np.testing.assert_array_equal(*tables)
    assert 0.2 < tables[0][tables[0] > -1].mean() < 0.99


def test_what_is_left_out_for_its_faults_is_counted_as_lost(tmp_path):
    path = make.coco(tmp_path / "a/x.json", objects=[(0, 1), (1, 2), (1, 9)])
    content = json.loads(path.read_text())
    content["annotations"][0].update(bbox=[2, 2, -5, 5])
    del content["images"][1]["file_name"]
    path.write_text(json.dumps(content))
    make.picture(tmp_path / "a/a.jpg")
    _, lost = convert([f"coco:{path}"], "coco", tmp_path / "out")
    assert {key.split(",")[0]: count for key, count in lost.items()} == {
        "images with faults": 1,
        "objects with faults": 3,
    }
