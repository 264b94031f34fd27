"""Files and folders of datasets that the user may not read are named, and never count as empty."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from d2lite.data import DatasetCatalog
from d2lite.data.datasets.location import barred
from d2lite.data.records.faults import collecting_faults
from d2lite.utils.errors import MissingFileError

from .spec_files import coco, picture, voc, yolo

NOBODY = 65534


@pytest.fixture
def folder():
    """One that every user may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def without(path, mode=0):
    """Take the rights to a path from this user; root gives up its own for that."""
    before, user = path.stat().st_mode, os.geteuid()
    path.chmod(mode)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(before)


def load(string):
    """The records, and how many faults of each kind there are."""
    with collecting_faults(string) as faults:
        records = DatasetCatalog.get(string)
    return records, dict(faults.counts)


def test_an_image_whose_labels_may_not_be_read_is_no_image_without_objects(folder, caplog):
    string = f"yolo:{yolo(folder / 'y', train_a='0 .5 .5 .5 .5', train_b='1 .5 .5 .5 .5')}@train"
    assert [len(r["annotations"]) for r in DatasetCatalog.get(string)] == [1, 1]
    with without(folder / "y/labels/train/a.txt"):
        records, faults = load(string)
        assert [Path(r["file_name"]).name for r in records] == ["b.jpg"]
        assert faults == {"unreadable_annotations": 1}
        assert "a.txt cannot be read: Permission denied" in caplog.text


def test_annotations_of_voc_that_may_not_be_read_are_not_said_to_be_missing(folder, caplog):
    string = f"voc:{voc(folder / 'v', train={'a': ['cat'], 'b': ['cat']})}@train"
    DatasetCatalog.get(string)
    with without(folder / "v/Annotations/a.xml"):
        assert len(DatasetCatalog.get(string)) == 1
    assert "a.xml cannot be read: Permission denied" in caplog.text


def test_a_subfolder_that_may_not_be_listed_is_named_in_a_warning(folder, caplog):
    picture(folder / "i/a.jpg"), picture(folder / "i/sub/b.jpg")
    string = f"images:{folder}/i"
    assert len(DatasetCatalog.get(string)) == 2
    with without(folder / "i/sub"):
        assert len(DatasetCatalog.get(string)) == 1
    assert f"{folder}/i/sub is left out, for it cannot be listed: Permission denied" in caplog.text


def test_a_folder_that_may_not_be_entered_is_the_reason_why_nothing_is_found(folder):
    picture(folder / "set/p/a.jpg")
    for inner in ("set", "set/p"):
        file = coco(folder / f"set/x{inner[4:]}.json", objects=[(0, 1)], files=("p/a.jpg",))
        # That its entries may be listed is not enough.
        with (
            without(folder / inner, 0o444),
            pytest.raises(MissingFileError, match=f"this user may not enter {folder}/{inner}\\."),
        ):
            DatasetCatalog.get(f"coco:{file}")


def test_a_path_that_may_be_entered_or_is_not_there_is_not_barred(folder):
    assert barred(folder / "no/such") is None
    assert barred(folder) is None
    assert barred("a\0b") is None
