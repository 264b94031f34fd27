"""Several datasets become one list: joined by class name, filtered, counted."""

import logging

import pytest

from d2lite.data import (
    DatasetCatalog,
    MetadataCatalog,
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)
from d2lite.data.build import (
    filter_images_with_few_keypoints,
    filter_images_with_only_crowd_annotations,
)
from d2lite.data.records.set_checks import check_keypoints
from d2lite.utils.errors import ConfigError, DataError, UnknownNameError


def record(name, *categories, **extra):
    return {
        "file_name": name,
        "image_id": name,
        "annotations": [{"category_id": c, **extra} for c in categories],
    }


@pytest.fixture
def register():
    """A function that registers records under a name until the test is over."""
    names = []

    def add(name, records, classes=None):
        names.append(name)
        DatasetCatalog.register(name, lambda: records)
        if classes is not None:
            MetadataCatalog.get(name).thing_classes = classes

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def test_images_without_objects_are_left_out_and_counted(register, caplog):
    register("d1", [record("a", 0), record("b"), record("c", 1, iscrowd=1)], ["x", "y"])
    with caplog.at_level(logging.INFO, "d2lite"):
        kept = get_detection_dataset_dicts("d1")
    assert [r["file_name"] for r in kept] == ["a"]
    assert "Left out 2 of 3 images" in caplog.text


def test_images_without_objects_can_be_kept(register):
    register("d1", [record("a", 0), record("b"), {"file_name": "c"}], ["x"])
    kept = get_detection_dataset_dicts(["d1"], filter_empty=False)
    assert [r["file_name"] for r in kept] == ["a", "b", "c"]
    assert kept[2]["annotations"] == []


def test_sets_are_joined_by_class_name(register):
    """Two exports of one labelling project often count the same classes in another order."""
    second = [record("b", 0, 1, 2)]
    register("d1", [record("a", 0)], ["cat", "dog", "owl"])
    register("d2", second, ["owl", "cat", "dog"])
    joined = get_detection_dataset_dicts(["d1", "d2"])
    assert [o["category_id"] for o in joined[1]["annotations"]] == [2, 0, 1]
    assert [o["category_id"] for o in second[0]["annotations"]] == [0, 1, 2]


def test_sets_with_other_classes_are_refused_by_name(register):
    register("d1", [record("a", 0)], ["cat", "dog"])
    register("d2", [record("b", 0)], ["cat", "owl"])
    with pytest.raises(DataError, match=r"Only in 'd1': dog. Only in 'd2': owl"):
        get_detection_dataset_dicts(["d1", "d2"])
    assert len(get_detection_dataset_dicts(["d1", "d2"], check_consistency=False)) == 2


def test_sets_without_class_names_are_put_together_as_they_are(register):
    register("d1", [record("a", 0)])
    register("d2", [record("b", 5)])
    assert len(get_detection_dataset_dicts(["d1", "d2"])) == 2


def test_data_without_annotations_passes(register):
    register("d1", [{"file_name": "a", "sem_seg_file_name": "a.png"}])
    assert get_detection_dataset_dicts("d1") == [{"file_name": "a", "sem_seg_file_name": "a.png"}]


def test_no_name_is_an_error_that_names_the_key():
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN"):
        get_detection_dataset_dicts([])


def test_an_unknown_name_is_an_error():
    with pytest.raises(UnknownNameError, match="shapes_train"):
        get_detection_dataset_dicts("shapes_trian")


def test_an_empty_set_is_an_error(register):
    register("d1", [])
    with pytest.raises(DataError, match="'d1' has no images"):
        get_detection_dataset_dicts("d1")


def test_a_set_emptied_by_the_filter_is_an_error_with_advice(register):
    register("d1", [record("a")], ["x"])
    with pytest.raises(DataError, match="FILTER_EMPTY_ANNOTATIONS False"):
        get_detection_dataset_dicts("d1")


def test_a_category_beyond_the_classes_is_named_with_its_file(register):
    """Else it appears as an index error in the loss, an hour later."""
    register("d1", [record("a.jpg", 0, 7)], ["x", "y"])
    with pytest.raises(DataError, match=r"a.jpg has an object of category id 7.* 0 to 1"):
        get_detection_dataset_dicts("d1")


def test_the_table_counts_objects_and_images(caplog):
    records = [record("a", 0, 0, 1), record("b", 0), record("c", 1, iscrowd=1), record("d")]
    with caplog.at_level(logging.INFO, "d2lite"):
        print_instances_class_histogram(records, ["cat", "dog", "owl"])
    rows = [line.split() for line in caplog.text.splitlines()]
    assert ["0", "cat", "3", "2"] in rows
    assert ["1", "dog", "1", "1"] in rows
    assert ["2", "owl", "0", "0"] in rows


def test_the_table_of_many_classes_holds_each_once(caplog):
    with caplog.at_level(logging.INFO, "d2lite"):
        print_instances_class_histogram([], [f"class{i}" for i in range(80)])
    words = caplog.text.split()
    assert all(words.count(f"class{i}") == 1 for i in range(80))


def test_crowd_regions_alone_do_not_keep_an_image():
    crowd = record("a", 0, iscrowd=1)
    mixed = {"file_name": "b", "annotations": [{"iscrowd": 1}, {"iscrowd": 0}]}
    assert filter_images_with_only_crowd_annotations([crowd, mixed, record("c")]) == [mixed]


def test_keypoints_are_counted_over_the_image():
    two = {"annotations": [{"keypoints": [1, 1, 2, 0, 0, 0]}, {"keypoints": [5, 5, 1, 0, 0, 0]}]}
    none = {"annotations": [{"bbox": [0, 0, 1, 1]}]}
    assert filter_images_with_few_keypoints([two, none], 2) == [two]
    assert filter_images_with_few_keypoints([two, none], 3) == []
    assert filter_images_with_few_keypoints([two, none], 0) == [two, none]


@pytest.mark.parametrize("min_keypoints", [0, 1])
def test_objects_without_keypoints_are_nothing_to_learn_poses_from(register, min_keypoints):
    """Not labelled ones count as none; a filter by keypoints would leave no image."""
    register("none", [record("a", 0), record("b", 0, keypoints=[0, 0, 0, 0, 0, 0])])
    with pytest.raises(DataError, match="None of the 2 objects of none has labelled keypoints"):
        check_keypoints(get_detection_dataset_dicts("none", min_keypoints=min_keypoints), ["none"])


def test_objects_with_another_number_of_keypoints_than_the_model_are_refused():
    two, three = [1, 1, 2, 0, 0, 0], [1, 1, 2, 0, 0, 0, 4, 4, 1]
    records = [record("a", 0, 1, keypoints=two), record("b", 0)]
    check_keypoints(records, ["mine"], 2)
    records.append(record("c", 0, keypoints=three))
    message = r"NUM_KEYPOINTS is 17.*of mine.*: 2 \(2 objects\), 3 \(1 objects\). Set it to 2"
    with pytest.raises(ConfigError, match=message):
        check_keypoints(records, ["mine"], 17)
