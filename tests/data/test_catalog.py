"""The two address books."""

import copy
import pickle

import numpy as np
import pytest

from d2lite.data import DatasetCatalog, Metadata, MetadataCatalog
from d2lite.utils.errors import DataError, TakenNameError, UnknownNameError


@pytest.fixture
def name():
    yield "catalog_test"
    DatasetCatalog.pop("catalog_test", None)
    MetadataCatalog.pop("catalog_test", None)


def test_a_registered_function_is_called_at_each_get(name):
    calls = []
    DatasetCatalog.register(name, lambda: calls.append(1) or [{"file_name": "a"}])
    assert calls == []
    assert DatasetCatalog.get(name) == [{"file_name": "a"}]
    DatasetCatalog.get(name)
    assert len(calls) == 2
    assert name in DatasetCatalog.list()


def test_a_name_registers_once(name):
    DatasetCatalog.register(name, list)
    with pytest.raises(TakenNameError, match="'catalog_test' is already registered"):
        DatasetCatalog.register(name, list)


def test_a_name_that_detectron2_leaves_free_goes_to_the_first_user(monkeypatch):
    """Mask2Former's code registers the sets with maps of classes, others call theirs shapes."""
    for catalog in (DatasetCatalog, MetadataCatalog):
        monkeypatch.setattr(catalog, "data", dict(catalog.data))
    monkeypatch.setattr(DatasetCatalog, "_given_up", set(DatasetCatalog._given_up))
    for name in ("coco_2017_val_panoptic_with_sem_seg", "shapes_train"):
        DatasetCatalog.register(name, lambda: [])
        assert DatasetCatalog.get(name) == []
        MetadataCatalog.get(name).set(thing_classes=["mine"], evaluator_type="mine")
        with pytest.raises(TakenNameError):
            DatasetCatalog.register(name, list)
    with pytest.raises(TakenNameError):
        DatasetCatalog.register("coco_2017_val", list)


def test_what_cannot_be_called_is_refused(name):
    with pytest.raises(TypeError, match="registered with list"):
        DatasetCatalog.register(name, [])


def test_an_unknown_name_gets_near_ones():
    with pytest.raises(UnknownNameError, match="Did you mean 'coco_2017_train'") as info:
        DatasetCatalog.get("coco_2017_trian")
    assert "shapes_val" not in str(info.value)


def test_a_mistyped_kind_of_string_gets_the_near_one():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'coco:a\.json@photos'"):
        DatasetCatalog.get("cocco:a.json@photos")


def test_a_name_unlike_any_other_is_answered_in_a_few_words(name):
    """All names and forms filled a screen."""
    DatasetCatalog.register(name, list)
    with pytest.raises(UnknownNameError, match="no such folder or file") as info:
        DatasetCatalog.get("fotos")
    assert "auto:DIR@SPLIT" in str(info.value)
    assert name in str(info.value)
    assert len(str(info.value)) < 600


def test_a_removed_name_is_unknown(name):
    DatasetCatalog.register(name, list)
    DatasetCatalog.remove(name)
    with pytest.raises(UnknownNameError):
        DatasetCatalog.remove(name)
    MetadataCatalog.get(name)
    MetadataCatalog.remove(name)
    with pytest.raises(UnknownNameError):
        MetadataCatalog.remove(name)


def test_metadata_is_made_once_and_kept(name):
    MetadataCatalog.get(name).thing_classes = ["a"]
    assert MetadataCatalog.get(name).thing_classes == ["a"]
    assert MetadataCatalog.get(name).name == name
    assert name in MetadataCatalog.list()


def test_setting_the_same_value_again_is_fine_and_another_is_not():
    metadata = Metadata(name="set").set(thing_classes=["a", "b"])
    metadata.thing_classes = ["a", "b"]
    with pytest.raises(DataError, match=r"'thing_classes'.*'set'.*\['a', 'b'\].*\['b'\]"):
        metadata.thing_classes = ["b"]
    assert metadata.thing_classes == ["a", "b"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("class_names", "thing_classes"),
        ("stuff_class_names", "stuff_classes"),
        ("dataset_id_to_contiguous_id", "thing_dataset_id_to_contiguous_id"),
    ],
)
def test_the_first_names_of_keys_are_those_of_today(name, old, new):
    metadata = MetadataCatalog.get(name)
    metadata.set(**{old: ["cat"]})
    assert getattr(metadata, new) == getattr(metadata, old) == metadata.get(old) == ["cat"]
    assert metadata.as_dict() == {"name": name, new: ["cat"]}


def test_an_unknown_key_lists_the_known_ones():
    metadata = Metadata(name="set").set(evaluator_type="coco", json_file="x")
    with pytest.raises(
        AttributeError, match=r"no 'thing_clases'; it has: evaluator_type, json_file"
    ):
        _ = metadata.thing_clases
    assert metadata.get("thing_clases", 3) == 3
    assert metadata.get("json_file") == "x"


def test_a_deferred_value_is_worked_out_at_each_reading():
    values = iter("ab")
    metadata = Metadata(name="set").set_deferred(path=lambda: next(values))
    assert metadata.path == "a"
    assert metadata.path == "b"
    metadata.path = "fixed"
    assert metadata.as_dict() == {"name": "set", "path": "fixed"}


def test_metadata_copies_and_pickles():
    """Visualizers and loader workers carry it."""
    metadata = Metadata(name="set").set(thing_classes=["a"])
    assert copy.deepcopy(metadata).thing_classes == ["a"]
    assert pickle.loads(pickle.dumps(metadata)).as_dict() == metadata.as_dict()


def test_an_empty_name_has_no_metadata():
    with pytest.raises(DataError, match="one letter or more"):
        MetadataCatalog.get("")


def test_a_folder_where_a_name_is_expected_is_answered_with_its_string(tmp_path):
    with pytest.raises(UnknownNameError) as caught:
        DatasetCatalog.get(str(tmp_path))
    assert f"It is a path: write 'auto:{tmp_path}'" in str(caught.value)
    assert "Registered" not in str(caught.value)


@pytest.mark.parametrize("as_given", [np.array, lambda names: dict.fromkeys(names).keys()])
def test_names_in_another_container_become_a_list(name, as_given):
    """People take them from a table of labels; `if names` fails for an array."""
    names = ["cat", "dog"]
    metadata = MetadataCatalog.get(name).set(thing_classes=as_given(names))
    assert metadata.thing_classes == names
    metadata.set(thing_classes=as_given(names))


def test_catalogs_are_shown_as_in_detectron2():
    assert str(DatasetCatalog).startswith("DatasetCatalog(registered datasets: ")
    assert repr(MetadataCatalog).startswith("MetadataCatalog(registered metadata: ")
