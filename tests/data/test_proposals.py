"""Files of precomputed proposals."""

import pickle

import numpy as np
import pytest

from d2lite.data import load_proposals_into_dataset
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, MissingFileError

RECORDS = [{"image_id": 7, "file_name": "a"}, {"image_id": 3, "file_name": "b"}]


@pytest.fixture
def write(tmp_path):
    def to_file(content):
        path = tmp_path / "proposals.pkl"
        path.write_bytes(pickle.dumps(content))
        return str(path)

    return to_file


def content(**changes):
    boxes = [np.arange(8.0).reshape(2, 4), np.arange(4.0).reshape(1, 4)]
    logits = [np.array([0.5, 2.0]), np.array([1.0])]
    return {"ids": [7, 3], "boxes": boxes, "objectness_logits": logits, **changes}


def test_proposals_come_to_their_image_best_first(write):
    loaded = load_proposals_into_dataset(RECORDS, write(content()))
    assert loaded[0]["proposal_boxes"].tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert loaded[0]["proposal_objectness_logits"].tolist() == [2.0, 0.5]
    assert loaded[0]["proposal_bbox_mode"] == BoxMode.XYXY_ABS
    assert loaded[1]["proposal_boxes"].shape == (1, 4)
    assert "proposal_boxes" not in RECORDS[0]


def test_the_names_of_older_files_are_understood(write):
    old = content()
    old["indexes"], old["scores"] = old.pop("ids"), old.pop("objectness_logits")
    old["bbox_mode"] = BoxMode.XYWH_ABS
    loaded = load_proposals_into_dataset(RECORDS, write(old))
    assert loaded[1]["proposal_bbox_mode"] == BoxMode.XYWH_ABS


def test_the_file_of_another_dataset_is_refused(write):
    with pytest.raises(DataError, match="no proposals for 1 of 2 images, for instance image 3"):
        load_proposals_into_dataset(RECORDS, write(content(ids=[7, 99])))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.pkl"):
        load_proposals_into_dataset(RECORDS, str(tmp_path / "none.pkl"))


@pytest.mark.parametrize("wrong", [[1, 2], {"ids": [1]}])
def test_another_kind_of_file_is_refused(write, wrong):
    with pytest.raises(DataError, match=r"not a dict|lacks boxes, objectness_logits"):
        load_proposals_into_dataset(RECORDS, write(wrong))


class Dangerous:
    def __reduce__(self):
        return eval, ("1 + 1",)


def test_nothing_in_the_file_is_executed(write):
    with pytest.raises(DataError, match=r"it holds builtins\.eval"):
        load_proposals_into_dataset(RECORDS, write(content(boxes=Dangerous())))
