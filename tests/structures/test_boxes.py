"""Boxes, BoxMode, rotated boxes and measures between sets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from d2lite.structures import (
    Boxes,
    BoxMode,
    RotatedBoxes,
    matched_pairwise_iou,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_iou_rotated,
    pairwise_point_box_distance,
)

corners = hnp.arrays(np.float32, (5, 4), elements=st.integers(-50, 50).map(float))


def ordered(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(
        np.concatenate(
            [np.minimum(values[:, :2], values[:, 2:]), np.maximum(values[:, :2], values[:, 2:])], 1
        )
    )


def covered(box: torch.Tensor) -> np.ndarray:
    """Which unit pixels of a plane a box of whole numbers covers: the plain way to an area."""
    plane = np.zeros((110, 110), bool)
    x0, y0, x1, y1 = (int(v) + 55 for v in box)
    plane[y0:y1, x0:x1] = True
    return plane


@settings(max_examples=25, deadline=None)
@given(corners, corners)
def test_measures_agree_with_counting_pixels(a, b):
    a, b = ordered(a), ordered(b)
    planes_a, planes_b = (np.stack([covered(x) for x in s]).reshape(5, -1) for s in (a, b))
    inter = planes_a.astype(int) @ planes_b.astype(int).T
    areas_a, areas_b = planes_a.sum(1), planes_b.sum(1)
    union = areas_a[:, None] + areas_b - inter
    iou = np.divide(inter, union, where=inter > 0, out=np.zeros((5, 5)))
    ioa = np.divide(inter, areas_b[None], where=inter > 0, out=np.zeros((5, 5)))
    boxes_a, boxes_b = Boxes(a), Boxes(b)
    np.testing.assert_allclose(boxes_a.area(), areas_a)
    np.testing.assert_allclose(pairwise_intersection(boxes_a, boxes_b), inter)
    np.testing.assert_allclose(pairwise_iou(boxes_a, boxes_b), iou, rtol=1e-5)
    np.testing.assert_allclose(pairwise_ioa(boxes_a, boxes_b), ioa, rtol=1e-5)
    np.testing.assert_allclose(matched_pairwise_iou(boxes_a, boxes_b), iou.diagonal(), rtol=1e-5)
    assert pairwise_iou(boxes_a, boxes_b).equal(pairwise_iou(boxes_b, boxes_a).T)


def test_measures_of_no_boxes_have_their_shape():
    none, one = Boxes([]), Boxes([[0.0, 0, 1, 1]])
    assert none.tensor.shape == (0, 4)
    assert none.tensor.dtype == torch.float32
    assert pairwise_iou(none, one).shape == (0, 1)
    assert pairwise_ioa(one, none).shape == (1, 0)
    assert pairwise_point_box_distance(torch.zeros(3, 2), none).shape == (3, 0, 4)
    assert none.nonempty().shape == (0,)
    assert Boxes.cat([]).tensor.shape == (0, 4)
    assert Boxes.cat([none, one]).tensor.shape == (1, 4)


def test_point_distances_are_left_top_right_bottom():
    found = pairwise_point_box_distance(torch.tensor([[3.0, 5.0]]), Boxes([[1.0, 1, 10, 20]]))
    assert found.tolist() == [[[2.0, 4.0, 7.0, 15.0]]]


def test_clip_makes_a_new_tensor_and_scale_writes_into_it():
    given_tensor = torch.tensor([[-5.0, 2, 30, 50]])
    boxes = Boxes(given_tensor)
    boxes.clip((40, 20))
    assert boxes.tensor.tolist() == [[0, 2, 20, 40]]
    clipped = boxes.tensor
    boxes.scale(2, 0.5)
    assert clipped is boxes.tensor
    assert boxes.tensor.tolist() == [[0, 1, 40, 20]]
    assert given_tensor.tolist() == [[-5.0, 2, 30, 50]]


def test_emptiness_centres_and_being_inside():
    boxes = Boxes([[0.0, 0, 10, 10], [5, 5, 5, 9], [-1, 0, 4, 4]])
    assert boxes.nonempty().tolist() == [True, False, True]
    assert boxes.nonempty(threshold=4.5).tolist() == [True, False, False]
    assert boxes.get_centers()[0].tolist() == [5, 5]
    assert boxes.inside_box((20, 20)).tolist() == [True, True, False]
    assert boxes.inside_box((20, 20), boundary_threshold=1).tolist() == [True, True, True]


def test_picking_boxes():
    boxes = Boxes(torch.arange(12.0).reshape(3, 4))
    assert boxes[1].tensor.shape == (1, 4)
    assert boxes[-1].tensor.tolist() == [[8, 9, 10, 11]]
    assert len(boxes[1:]) == 2
    assert len(boxes[torch.tensor([True, False, True])]) == 2
    assert len(boxes[torch.tensor([2, 2, 0, 1])]) == 4
    assert [b.shape for b in boxes] == [(4,)] * 3
    assert boxes.to("meta").device.type == "meta"
    assert boxes.clone().tensor is not boxes.tensor
    assert "Boxes(" in repr(boxes)
    with pytest.raises(ValueError, match="pick rows"):
        boxes[0, 1]


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"boxes have shape \[2, 5\]; give \(N, 4\)"):
        Boxes(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"shape \[2, 4\]; give \(N, 5\)"):
        RotatedBoxes(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="got 1 and 2 boxes; give equally many"):
        matched_pairwise_iou(Boxes(torch.zeros(1, 4)), Boxes(torch.zeros(2, 4)))


@pytest.mark.parametrize("kind", [list, tuple, np.asarray, torch.tensor])
def test_box_mode_round_trip_keeps_the_container(kind):
    box = kind([10.25, 20.5, 30.125, 50.0])
    wide = BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    assert type(wide) is type(box)
    assert list(wide) == [10.25, 20.5, 19.875, 29.5]
    back = BoxMode.convert(wide, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert list(back) == list(box)
    assert list(box) == [10.25, 20.5, 30.125, 50.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_box_mode_keeps_the_dtype_and_takes_empty_and_read_only_arrays(dtype):
    boxes = np.array([[1, 2, 3, 4], [0, 0, 5, 5]], dtype=dtype)
    boxes.setflags(write=False)
    assert BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS).dtype == dtype
    empty = BoxMode.convert(boxes[:0], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert empty.shape == (0, 4)
    same = BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYWH_ABS)
    assert same is boxes


def test_rotated_box_becomes_the_upright_box_around_it():
    around = BoxMode.convert([50.0, 50.0, 30.0, 20.0, 90.0], BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
    np.testing.assert_allclose(around, [40, 35, 60, 65])
    upright = BoxMode.convert([1, 2, 5, 6], BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)
    assert upright == [3.5, 5.0, 5.0, 6.0, 0.0]
    assert BoxMode.convert([1, 2, 6, 8], BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS) == upright
    assert BoxMode.convert(upright, BoxMode.XYWHA_ABS, BoxMode.XYWH_ABS) == [1, 2, 5, 6]


def test_impossible_conversions_are_refused():
    with pytest.raises(AssertionError, match="from XYXY_REL to XYXY_ABS: relative boxes need"):
        BoxMode.convert([0.0, 0, 1, 1], BoxMode.XYXY_REL, BoxMode.XYXY_ABS)
    with pytest.raises(ValueError, match=r"XYWHA_ABS have shape \(4,\); give 5 numbers"):
        BoxMode.convert([0.0, 0, 1, 1], BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
    # The type that detectron2 raises.
    with pytest.raises(AssertionError, match=r"shape \(1, 4\); .* an array for several boxes"):
        BoxMode.convert([[0.0, 0, 1, 1]], BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def test_rotated_boxes_keep_their_kind():
    boxes = RotatedBoxes([[5.0, 5, 4, 2, 0], [5, 5, 4, 2, 270]])
    assert boxes.area().tolist() == [8, 8]
    assert type(boxes[0]) is type(boxes.clone()) is type(boxes.to("cpu")) is RotatedBoxes
    assert len(RotatedBoxes.cat([boxes, boxes[:1]])) == 3
    assert RotatedBoxes.cat([]).tensor.shape == (0, 5)
    assert boxes.get_centers().tolist() == [[5, 5], [5, 5]]
    assert boxes.nonempty(3).tolist() == [False, False]
    boxes.normalize_angles()
    assert boxes.tensor[:, 4].tolist() == [0, -90]
    assert boxes.inside_box((10, 7)).tolist() == [False, True]
    iou = pairwise_iou_rotated(boxes, boxes)
    torch.testing.assert_close(iou, torch.tensor([[1, 1 / 3], [1 / 3, 1]]))
    assert "RotatedBoxes(" in repr(boxes)
    with pytest.raises(ValueError, match="pick rows"):
        boxes[0, 1]


def test_clip_cuts_upright_rotated_boxes_only():
    boxes = RotatedBoxes([[0.0, 5, 10, 4, 360.5], [0, 5, 10, 4, 30]])
    boxes.clip((20, 20))
    torch.testing.assert_close(boxes.tensor[0], torch.tensor([2.5, 5, 5, 4, 0.5]))
    assert boxes.tensor[1].tolist() == [0, 5, 10, 4, 30]


def test_scale_of_a_quarter_turned_box_swaps_the_factors():
    boxes = RotatedBoxes([[4.0, 6, 10, 2, 90], [4, 6, 10, 2, 0]])
    boxes.scale(2, 3)
    expected = torch.tensor([[8.0, 18, 30, 4, 90], [8, 18, 20, 6, 0]])
    torch.testing.assert_close(boxes.tensor, expected)


def test_clipping_can_be_exported():
    class Clip(torch.nn.Module):
        def forward(self, values):
            boxes = Boxes(values)
            boxes.clip((4, 6))
            return boxes.tensor

    values = torch.tensor([[-1.0, 2, 9, 9]])
    exported = torch.export.export(Clip(), (values,)).module()
    assert exported(values).tolist() == [[0, 2, 6, 4]]
