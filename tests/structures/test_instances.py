"""Instances and ImageList."""

import copy
import pickle

import numpy as np
import pytest
import torch

from d2lite.structures import Boxes, ImageList, Instances


def some(count: int = 3) -> Instances:
    return Instances(
        (40, 60),
        boxes=Boxes(torch.arange(4.0 * count).reshape(count, 4)),
        scores=torch.arange(float(count)),
        names=[f"object {i}" for i in range(count)],
    )


def test_fields_are_set_and_read_as_attributes():
    found = some()
    found.classes = torch.tensor([1, 2, 3])
    assert found.has("classes")
    assert found.get("classes") is found.classes
    assert list(found.get_fields()) == ["boxes", "scores", "names", "classes"]
    found.remove("classes")
    assert not found.has("classes")
    assert found.image_size == (40, 60)


def test_missing_field_lists_the_others():
    with pytest.raises(AttributeError, match="no field 'masks'; they have: boxes, scores, names"):
        _ = some().masks


def test_field_of_another_length_is_refused():
    with pytest.raises(ValueError, match="'classes' has 2 entries, but 'boxes' has 3"):
        some().classes = torch.zeros(2)
    with pytest.raises(ValueError, match="is a float without a length"):
        some().classes = 1.0


def test_names_of_the_class_are_no_fields():
    for name in ("image_size", "cat", "to"):
        with pytest.raises(ValueError, match=f"'{name}' is an attribute of Instances itself"):
            some().set(name, [1, 2, 3])


@pytest.mark.parametrize(
    ("item", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (np.int64(1), [1]),
        (slice(1, None), [1, 2]),
        (torch.tensor([True, False, True]), [0, 2]),
        (torch.tensor([2, 0, 2]), [2, 0, 2]),
        (torch.zeros(3, dtype=torch.bool), []),
    ],
)
def test_picking_reaches_every_field(item, rows):
    picked = some()[item]
    assert len(picked) == len(rows)
    assert picked.scores.tolist() == rows
    assert picked.names == [f"object {i}" for i in rows]
    assert picked.boxes.tensor.equal(some().boxes.tensor[rows])


@pytest.mark.parametrize("item", [torch.tensor([False, True]), torch.tensor([1]), [1], 1])
def test_picking_one_object_keeps_fields_of_numpy_whole(item):
    """detectron2's `visualize_json_results.py` has such fields."""
    assert Instances((4, 5), scores=np.array([0.5, 0.7]))[item].scores.tolist() == [0.7]


@pytest.mark.parametrize("index", [3, -4])
def test_index_out_of_range_is_an_index_error(index):
    with pytest.raises(IndexError, match="there are 3 instances"):
        some()[index]


def test_cat_undoes_splitting():
    whole = some(5)
    joined = Instances.cat([whole[:2], whole[2:2], whole[2:]])
    assert joined.scores.equal(whole.scores)
    assert joined.names == whole.names
    assert joined.boxes.tensor.equal(whole.boxes.tensor)
    assert Instances.cat([whole]) is whole


def test_cat_joins_the_fields_of_the_first():
    first, second = Instances((4, 4), a=[1]), Instances((4, 4), a=[2], b=[3])
    assert Instances.cat([first, second]).get_fields() == {"a": [1, 2]}


def test_cat_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="got no instances"):
        Instances.cat([])
    with pytest.raises(ValueError, match=r"of images \(40, 60\) and \(1, 1\)"):
        Instances.cat([some(), Instances((1, 1))])
    with pytest.raises(ValueError, match=r"\[boxes, scores, names\] and \[\] cannot be joined"):
        Instances.cat([some(), Instances((40, 60))])
    odd = Instances((1, 1), words=range(2))
    with pytest.raises(ValueError, match="'words' holds range, which cannot be joined"):
        Instances.cat([odd, odd])


def test_to_moves_what_can_move():
    moved = some().to("meta")
    assert moved.scores.device.type == "meta"
    assert moved.boxes.device.type == "meta"
    assert moved.names == some().names


def test_without_fields_there_is_no_length_but_a_text():
    empty = Instances((4, 5))
    with pytest.raises(NotImplementedError, match="set a field first"):
        len(empty)
    with pytest.raises(NotImplementedError, match="cannot be iterated"):
        iter(empty)
    assert str(empty) == "Instances(num_instances=0, image_height=4, image_width=5, fields=[])"
    assert "num_instances=3" in repr(some())


def test_copies_and_pickles_are_equal():
    for twin in (copy.deepcopy(some()), pickle.loads(pickle.dumps(some())), copy.copy(some())):
        assert twin.names == some().names
        assert twin.image_size == (40, 60)


@pytest.mark.parametrize(
    ("options", "frame"),
    [
        ({}, (16, 25)),
        ({"size_divisibility": 1}, (16, 25)),
        ({"size_divisibility": 16}, (16, 32)),
        ({"padding_constraints": {"size_divisibility": 10}, "size_divisibility": 16}, (20, 30)),
        ({"padding_constraints": {"square_size": 40}, "size_divisibility": 16}, (48, 48)),
        ({"padding_constraints": {"square_size": 8}}, (25, 25)),
    ],
)
def test_batch_is_padded_right_and_below(options, frame):
    images = [torch.rand(3, 13, 20), torch.rand(3, 9, 25), torch.rand(3, 16, 7)]
    batch = ImageList.from_tensors(images, pad_value=7.0, **options)
    assert batch.tensor.shape == (3, 3, *frame)
    assert len(batch) == 3
    assert batch.image_sizes == [(13, 20), (9, 25), (16, 7)]
    for i, image in enumerate(images):
        assert batch[i].equal(image)
    assert (batch.tensor[2, :, :, 7:] == 7).all()


def test_batch_of_bytes_stays_bytes_and_maps_need_no_channels():
    batch = ImageList.from_tensors([torch.ones(4, 5, dtype=torch.uint8)], 8, pad_value=255)
    assert batch.tensor.dtype == torch.uint8
    assert batch.tensor.shape == (1, 8, 8)
    assert batch.tensor.sum() == 20 + 255 * 44
    assert batch.to(torch.float32).tensor.dtype == torch.float32
    assert batch.device.type == "cpu"


def test_batches_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="got no image"):
        ImageList.from_tensors([])
    with pytest.raises(ValueError, match=r"\[3, 4, 4\], \[1, 4, 4\] cannot be batched"):
        ImageList.from_tensors([torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)])
    with pytest.raises(TypeError, match="takes one index"):
        ImageList.from_tensors([torch.zeros(3, 4, 4)])[:1]
