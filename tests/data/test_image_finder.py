"""Images are found under the names and in the folders that tools write, or are named as missing."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.image_finder import ImageFinder
from d2lite.data.records.faults import collecting_faults
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from tests.data import spec_files as make


def _files(name):
    with collecting_faults() as faults:
        records = DatasetCatalog.get(name)
    return [Path(record["file_name"]) for record in records], faults


def test_the_folder_that_has_most_of_the_images_is_taken(tmp_path):
    """One image once more beside the file must not hide the folder that has them all."""
    files = [f"{number:02d}.jpg" for number in range(13)]
    make.coco(tmp_path / "annotations/instances_default.json", files=files)
    for file in files:
        make.picture(tmp_path / "images" / file)
    make.picture(tmp_path / files[12])
    make.picture(tmp_path / "annotations" / files[0])
    found, _ = _files(f"auto:{tmp_path}")
    assert found == [tmp_path / "images" / file for file in files]


def test_an_image_that_the_others_folder_lacks_is_found_in_another(tmp_path):
    files = ["a.jpg", "b.jpg", "c.jpg"]
    path = make.coco(tmp_path / "instances.json", files=files)
    for file in files[:2]:
        make.picture(tmp_path / "images" / file)
    make.picture(tmp_path / "c.jpg")
    assert _files(f"coco:{path}")[0][2] == tmp_path / "c.jpg"


@pytest.mark.parametrize("root", ["", "@images"])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("demo", "demo.jpg"),
        ("a.JPG", "a.jpg"),
        ("A.jpg", "a.JPG"),
        ("a.jpg", "a.jpeg"),
        ("a.heic", "a.jpg"),
        ("frame.0001", "frame.0001.png"),
        ("C:\\data\\Demo.jpg", "demo.jpg"),
        ("http://x.org/a.jpg", "a.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("a%20caf%C3%A9.jpg", "a caf\u00e9.jpg"),
        ("1", "00001.jpg"),
        ("0", "000.jpg"),
    ],
)
def test_names_of_another_case_or_ending_are_found(tmp_path, name, file, root):
    path = make.coco(tmp_path / "labels.json", files=[name])
    make.picture(tmp_path / "images" / file)
    assert _files(f"coco:{path}{root}")[0] == [tmp_path / "images" / file]


def test_one_name_of_many_may_be_of_another_case(tmp_path):
    path = make.coco(tmp_path / "labels.json", files=["a.jpg", "B.jpg", "c.jpg"])
    make.picture(tmp_path / "a.jpg")
    make.picture(tmp_path / "b.jpg")
    assert [p.name for p in _files(f"coco:{path}")[0]] == ["a.jpg", "b.jpg", "c.jpg"]


def test_folders_around_a_file_are_not_searched_through(tmp_path):
    """Above an annotation file there may be a whole disk, with other images of the same name."""
    path = make.coco(tmp_path / "labels.json", files=["a.jpg", "b.jpg"])
    make.picture(tmp_path / "a.jpg")
    make.picture(tmp_path / "other/b.jpg")
    assert _files(f"coco:{path}")[0][1] == tmp_path / "b.jpg"
    # A folder that is named is.
    assert _files(f"coco:{path}@{tmp_path}")[0][1] == tmp_path / "other/b.jpg"


@pytest.mark.parametrize("ending", [".xml", ".XML"])
def test_annotations_of_another_case_than_their_images_belong_to_them(tmp_path, ending):
    make.voc(tmp_path, train={"0af": ["cat"], "b": ["cat"]})
    shutil.rmtree(tmp_path / "ImageSets")
    for name in ("0af", "b"):
        (tmp_path / f"Annotations/{name}.xml").rename(tmp_path / f"{name}{ending}")
        (tmp_path / f"JPEGImages/{name}.jpg").rename(tmp_path / f"{name.upper()}.jpg")
    assert [p.name for p in _files(f"auto:{tmp_path}")[0]] == ["0AF.jpg", "B.jpg"]


def test_label_files_and_lists_of_another_case_belong_to_their_images(tmp_path):
    make.yolo(tmp_path / "y", train_a="0 0.5 0.5 0.2 0.4\n", train_b="1 0.5 0.5 0.2 0.4\n")
    (tmp_path / "y/labels/train/a.txt").rename(tmp_path / "y/labels/train/A.TXT")
    assert make.labels_of(f"yolo:{tmp_path / 'y'}") == [["cat"], ["owl"]]
    make.voc(tmp_path / "v", train={"a": ["cat"], "b": ["owl"]})
    (tmp_path / "v/ImageSets/Main/train.txt").write_text("A\nb\n")
    assert make.labels_of(f"voc:{tmp_path / 'v'}") == [["cat"], ["owl"]]
    assert [r["image_id"] for r in DatasetCatalog.get(f"voc:{tmp_path / 'v'}")] == ["a", "b"]


def test_a_missing_image_is_named_in_a_folder_that_is_there(tmp_path):
    make.voc(tmp_path, train={"a": ["cat"], "b": ["cat"]})
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(tmp_path.glob("*/[ab].*")):
        path.rename(flat / path.name)
    (flat / "b.jpg").unlink()
    assert _files(f"auto:{flat}")[0] == [flat / "a.jpg", flat / "b.jpg"]


def test_a_name_that_fits_two_images_finds_none(tmp_path):
    make.picture(tmp_path / "one/a.jpg")
    make.picture(tmp_path / "two/a.jpg")
    finder = ImageFinder([tmp_path])
    assert finder.find("a.jpg") is None
    assert finder.find("two/a.jpg") == tmp_path / "two/a.jpg"


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a\0b.jpg", "x" * 5000 + ".jpg", "C:", "a."])
def test_names_that_cannot_be_files_find_none(tmp_path, name):
    make.picture(tmp_path / "z.jpg")
    assert ImageFinder([tmp_path]).find(name) is None


def test_annotations_in_folders_of_splits_are_splits(tmp_path):
    make.voc(tmp_path, train={"a": ["cat"], "b": ["owl"]})
    shutil.rmtree(tmp_path / "ImageSets")
    for split, name in (("train", "a"), ("val", "b")):
        (tmp_path / "Annotations" / split).mkdir()
        (tmp_path / f"Annotations/{name}.xml").rename(tmp_path / f"Annotations/{split}/{name}.xml")
    for kind in ("voc", "auto"):
        assert _files(f"{kind}:{tmp_path}@val")[0] == [tmp_path / "JPEGImages/b.jpg"]
    assert MetadataCatalog.get(f"voc:{tmp_path}@val").thing_classes == ["cat", "owl"]


def test_what_macos_leaves_behind_is_not_an_image(tmp_path):
    path = make.coco(tmp_path / "labels.json", files=["A.jpg"])
    make.picture(tmp_path / "images/a.jpg")
    (tmp_path / "images/._a.jpg").write_bytes(b"\0\5")
    assert _files(f"coco:{path}")[0] == [tmp_path / "images/a.jpg"]
    assert len(json.loads(path.read_text())["images"]) == 1


def _zipped(folder, name, below=""):
    with zipfile.ZipFile(name, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, Path(below) / path.relative_to(folder))
        archive.writestr("__MACOSX/._x.jpg", b"x")
    shutil.rmtree(folder)
    return name


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("below", ["", "export", "a/b"])
def test_a_zip_archive_is_named_like_a_folder(tmp_path, cache, below):
    make.yolo(tmp_path / "d", train_a="0 0.5 0.5 0.2 0.4\n")
    path = _zipped(tmp_path / "d", tmp_path / "x.zip", below)
    for name in (f"auto:{path}@train", f"yolo:{path}"):
        assert make.labels_of(name) == [["cat"]]
        assert cache in _files(name)[0][0].parents
    make.yolo(tmp_path / "d", train_a="1 0.5 0.5 0.2 0.4\n" * 2)
    _zipped(tmp_path / "d", path, below)
    assert make.labels_of(f"auto:{path}") == [["owl", "owl"]]


def test_an_archive_of_one_label_file_is_read_by_its_kind(tmp_path, cache):
    make.coco(tmp_path / "d/labels.json", objects=[(0, 1)], files=["a.jpg"])
    make.picture(tmp_path / "d/a.jpg")
    path = _zipped(tmp_path / "d", tmp_path / "x.zip")
    assert make.labels_of(f"coco:{path}") == [["cat"]]
    with pytest.raises(ConfigError, match="files of the kind coco:"):
        DatasetCatalog.get(f"via:{path}")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"x\.zip"):
        DatasetCatalog.get(f"auto:{path}")


def _coco(root):
    make.coco(root / "labels.json", objects=[(0, 1)], files=["a.jpg"])
    make.picture(root / "a.jpg")
    return "coco"


def _voc(root):
    make.voc(root, train={"a": ["cat"]})
    return "voc"


def _yolo(root):
    root.mkdir(parents=True, exist_ok=True)
    make.yolo(root, train_a="0 0.5 0.5 0.2 0.4\n")
    return "yolo"


def _labelme(root):
    root.mkdir(parents=True, exist_ok=True)
    make.labelme(root / "a.json", {"label": "cat", "points": [[1, 1], [8, 1], [8, 8]]})
    return "labelme"


@pytest.mark.parametrize("make_set", [_coco, _voc, _yolo, _labelme])
@pytest.mark.parametrize("inside", ["me@work", "a b", "one/two", "x@y/z"])
def test_a_folder_too_high_with_any_name_is_understood(tmp_path, make_set, inside):
    kind = make_set(tmp_path / "d" / inside)
    (tmp_path / "d/README.txt").write_text("from a tool")
    (tmp_path / "d/.ipynb_checkpoints").mkdir()
    for place in (tmp_path / "d", tmp_path / "d" / inside):
        for name in (f"auto:{place}", f"{kind}:{place}"):
            if name == f"labelme:{tmp_path / 'd' / 'me@work'}":
                continue  # what follows the last @ looks like a split
            assert make.labels_of(name) == [["cat"]]


def test_auto_takes_a_file_and_says_why(tmp_path, caplog):
    _coco(tmp_path / "d")
    with caplog.at_level("INFO", "d2lite"):
        assert make.labels_of(f"auto:{tmp_path / 'd/labels.json'}") == [["cat"]]
        assert make.labels_of(f"auto:{tmp_path / 'd'}") == [["cat"]]
    assert caplog.text.count("taken as coco, because of labels.json") == 1, "not at each reading"


def test_the_folder_of_the_images_is_answered_with_that_of_the_labels(tmp_path):
    make.picture(tmp_path / "d/images/a.jpg")
    _coco(tmp_path / "d")
    with pytest.raises(DataError, match=r"images has images and no labels\. Name .*d, which has"):
        DatasetCatalog.get(f"auto:{tmp_path / 'd/images'}")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("a.jpg", "has images and no labels. Export the labels"),
        ("x.zip", "Name the .zip itself"),
        ("x.tfrecord", "export as COCO"),
        ("a.txt", "classes.txt"),
        ("x.csv", "?columns="),
        (None, "There are no files in it"),
    ],
)
def test_auto_says_what_to_export_where_nothing_fits(tmp_path, file, words):
    (tmp_path / "d/sub").mkdir(parents=True)
    if file:
        (tmp_path / "d/sub" / file).write_text("0 1 2")
    with pytest.raises(DataError) as info:
        DatasetCatalog.get(f"auto:{tmp_path / 'd'}")
    assert words in str(info.value)


def test_an_address_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="is not an address"):
        ImageFinder([tmp_path]).find("http://[x/a.png")
