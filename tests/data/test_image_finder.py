"""Images are found under the names and in the folders that tools write, or are named as missing."""

import json
import shutil
from pathlib import Path

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.image_finder import ImageFinder
from d2lite.data.faults import collecting_faults
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
