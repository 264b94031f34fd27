"""Which sets a folder, a dataset string or a name means for a training."""

import pytest

from d2lite.recipes import find_sets
from d2lite.utils.errors import DataError, MissingFileError
from tests.data.spec_files import coco, picture, voc


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("D2LITE_DATASETS", str(tmp_path / "sets"))
    return tmp_path


def labelled(path):
    for name in ("a.jpg", "b.jpg"):
        picture(path / "images" / name)
    coco(path / "labels.json", objects=[(0, 1), (1, 2)])


@pytest.mark.parametrize(
    "subject", ["photos", "photos/", "./photos", "auto:photos", "auto:photos/"]
)
def test_images_are_held_out_where_there_is_no_split(folder, subject):
    labelled(folder / "photos")
    sets = find_sets(subject)
    assert sets.train == ("auto:photos@train?val_fraction=0.2",)
    assert sets.test == ("auto:photos@val?val_fraction=0.2",)
    assert "held out" in sets.evidence


def test_blanks_and_other_letters_in_the_name_are_kept(folder):
    labelled(folder / "my ph\u00f6tos")
    assert find_sets("my ph\u00f6tos").train == ("auto:my ph\u00f6tos@train?val_fraction=0.2",)


def test_the_root_of_the_datasets_is_looked_in(folder):
    labelled(folder / "sets/photos")
    assert find_sets("photos").train[0].startswith("auto:photos@train")


@pytest.mark.parametrize(
    ("splits", "train", "test"),
    [
        (("train", "val"), "train", "val"),
        (("train", "test"), "train", "test"),
        (("train", "val", "test"), "train", "val"),
        (("trainval", "test"), "trainval", "test"),
    ],
)
def test_splits_are_taken_as_they_are(folder, splits, train, test):
    voc(folder / "v", **{name: {f"i{k}": ["cat"]} for k, name in enumerate(splits)})
    assert find_sets("v")[:2] == ((f"auto:v@{train}",), (f"auto:v@{test}",))


def test_registered_names_bring_their_other_half():
    assert find_sets("shapes_train")[:2] == (("shapes_train",), ("shapes_val",))
    assert find_sets("shapes_val")[:2] == (("shapes_val",), ())


def test_a_string_of_one_set_is_trained_on_alone():
    assert find_sets("coco:a.json@photos")[:2] == (("coco:a.json@photos",), ())


def test_what_is_not_data_is_named(folder):
    with pytest.raises(MissingFileError, match="no/photos: there is no such folder"):
        find_sets("no/photos")
    with pytest.raises(MissingFileError, match="empty word"):
        find_sets("")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="in no layout"):
        find_sets("empty")
