"""Datasets used together agree, or are distinguished by name."""

import pytest

from d2lite.data.catalog import MetadataCatalog
from d2lite.data.classes import shared_metadata
from d2lite.data.classes.keypoints import flip_pairs
from d2lite.utils.errors import DataError


@pytest.fixture
def metadata():
    """Metadata of throw-away datasets."""
    names = []

    def make(name, **values):
        names.append(name)
        return MetadataCatalog.get(name).set(**values)

    yield make
    for name in names:
        MetadataCatalog.pop(name)


def test_hflip_indices_follow_the_names(metadata):
    names = ["nose", "left_eye", "right_eye", "tail"]
    metadata("h5_points", keypoint_names=names, keypoint_flip_map=[("left_eye", "right_eye")])
    assert shared_metadata.create_keypoint_hflip_indices("h5_points") == [0, 2, 1, 3]
    assert shared_metadata.create_keypoint_hflip_indices(["h5_points"]) == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["nose", "left_eye", "right_eye"], [("left_eye", "right_eye")]),
        (["r-hip", "l-hip", "neck"], [("r-hip", "l-hip")]),
        (["LeftEar", "RightEar"], [("LeftEar", "RightEar")]),
        (["eye_L", "eye_R", "tail"], [("eye_L", "eye_R")]),
        (["Left Ankle", "right ankle"], [("Left Ankle", "right ankle")]),
        # A side inside of a word, and one without its partner, are not sides.
        (["leftover", "rightover", "bright", "left_paw"], []),
        (["1", "2"], []),
    ],
)
def test_flip_pairs_are_names_that_differ_in_the_side_alone(names, pairs):
    assert flip_pairs(names) == pairs


def test_flips_follow_from_the_names_where_none_are_stated(metadata):
    metadata("h5_named", keypoint_names=["l_eye", "r_eye"])
    assert shared_metadata.create_keypoint_hflip_indices("h5_named") == [1, 0]


def test_flips_of_unknown_keypoints_are_named(metadata):
    metadata("h5_odd", keypoint_names=["l_eye", "r_eye"], keypoint_flip_map=[("l_eye", "eye_r")])
    with pytest.raises(DataError, match="names 'eye_r', which keypoint_names do not have: l_eye"):
        shared_metadata.create_keypoint_hflip_indices("h5_odd")


def test_datasets_that_disagree_are_named_with_their_values(metadata):
    metadata("h5_a", thing_classes=["cat"])
    metadata("h5_b", thing_classes=["dog"])
    shared_metadata.check_metadata_consistency("thing_classes", ["h5_a", "h5_a"])
    with pytest.raises(DataError, match=r"(?s)thing_classes.*h5_a.*cat.*h5_b.*dog"):
        shared_metadata.check_metadata_consistency("thing_classes", ["h5_a", "h5_b"])
    with pytest.raises(DataError, match=r"DATASETS\.TRAIN"):
        shared_metadata.check_metadata_consistency("thing_classes", [])


def test_federated_weights_are_image_counts_to_a_power_in_order_of_ids(metadata):
    counts = [{"id": 2, "image_count": 16}, {"id": 1, "image_count": 4}]
    metadata("h5_counts", class_image_count=counts)
    assert shared_metadata.get_fed_loss_cls_weights("h5_counts", 0.5).tolist() == [2, 4]
