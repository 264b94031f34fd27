"""BitMasks, PolygonMasks and ROIMasks."""

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from d2lite.structures import BitMasks, Boxes, PolygonMasks, ROIMasks
from d2lite.structures.masks import (
    polygon_area,
    polygons_to_bitmask,
    rasterize_polygons_within_box,
)

# pycocotools 2.0 was built before numpy 2 and says so at every decoding.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([x0, y0, x1, y0, x1, y1, x0, y1], dtype=np.float64)


def some_polygons() -> PolygonMasks:
    return PolygonMasks(
        [[rectangle(2, 3, 12, 9)], [], [rectangle(0, 0, 4, 4), rectangle(8, 8, 9, 12)]]
    )


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9))))
def test_bounding_boxes_are_tight(bits):
    masks = BitMasks(bits)
    boxes = masks.get_bounding_boxes().tensor
    assert boxes.shape == (len(bits), 4)
    for mask, box, filled in zip(bits, boxes.tolist(), masks.nonempty().tolist(), strict=True):
        ys, xs = np.nonzero(mask)
        assert filled == bool(len(xs))
        expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if filled else [0, 0, 0, 0]
        assert box == expected


def test_bit_masks_take_flipped_and_read_only_arrays():
    bits = np.zeros((1, 3, 4), np.uint8)
    bits[0, 0, 0] = 5
    bits.setflags(write=False)
    assert BitMasks(bits[:, :, ::-1]).tensor[0, 0].tolist() == [False, False, False, True]


def test_bit_masks_take_lists_of_masks_as_in_detectron2():
    masks = [np.eye(3), np.zeros((3, 3))]
    assert BitMasks(masks).tensor.tolist() == BitMasks(np.stack(masks)).tensor.tolist()
    assert BitMasks([torch.eye(3)]).tensor.tolist() == BitMasks(masks[:1]).tensor.tolist()


def test_picking_and_joining_masks():
    masks = BitMasks(torch.eye(3).bool()[:, None])
    assert masks[0].tensor.shape == (1, 1, 3)
    assert len(masks[torch.tensor([True, False, True])]) == 2
    assert BitMasks.cat([masks[:1], masks[1:]]).tensor.equal(masks.tensor)
    assert masks.image_size == (1, 3)
    assert [m.shape for m in masks] == [(1, 3)] * 3
    assert masks.to("meta").device.type == "meta"
    assert repr(masks) == "BitMasks(num_instances=3)"
    with pytest.raises(ValueError, match="pick whole masks"):
        masks[0, 0]


def test_bit_crop_of_whole_cells_is_the_part_itself():
    torch.manual_seed(0)
    masks = BitMasks(torch.rand(2, 12, 16) > 0.5)
    boxes = torch.tensor([[2.0, 3, 8, 9], [0, 0, 6, 6]])
    crops = masks.crop_and_resize(boxes, 6)
    assert crops.dtype == torch.bool
    assert crops[0].equal(masks.tensor[0, 3:9, 2:8])
    assert crops[1].equal(masks.tensor[1, :6, :6])


def test_masks_without_objects_have_shapes():
    bits = BitMasks(torch.zeros(0, 5, 6))
    assert bits.get_bounding_boxes().tensor.shape == (0, 4)
    assert bits.crop_and_resize(torch.zeros(0, 4), 7).shape == (0, 7, 7)
    polygons = PolygonMasks([])
    assert polygons.area().shape == (0,)
    assert polygons.nonempty().dtype == torch.bool
    assert polygons.get_bounding_boxes().tensor.shape == (0, 4)
    assert polygons.crop_and_resize(torch.zeros(0, 4), 7).shape == (0, 7, 7)
    assert BitMasks.from_polygon_masks(polygons, 5, 6).tensor.shape == (0, 5, 6)
    assert ROIMasks(torch.zeros(0, 7, 7)).to_bitmasks(torch.zeros(0, 4), 5, 6).image_size == (5, 6)


def test_polygon_facts():
    masks = some_polygons()
    assert masks.area().tolist() == [60, 0, 20]
    assert masks.nonempty().tolist() == [True, False, True]
    boxes = masks.get_bounding_boxes().tensor.tolist()
    assert boxes == [[2, 3, 12, 9], [0, 0, 0, 0], [0, 0, 9, 12]]
    assert repr(masks) == "PolygonMasks(num_instances=3)"
    assert masks.to("cuda") is masks
    assert masks.device.type == "cpu"


def test_polygons_and_their_bitmaps_agree():
    masks = some_polygons()
    bits = BitMasks.from_polygon_masks(masks, 20, 16)
    assert bits.tensor.sum((1, 2)).tolist() == masks.area().tolist()
    assert bits.get_bounding_boxes().tensor.equal(masks.get_bounding_boxes().tensor)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float64, (6, 2), elements=st.floats(-100, 100)), st.floats(-50, 50))
def test_area_of_a_polygon_survives_shift_and_reversal(points, shift):
    area = polygon_area(points[:, 0], points[:, 1])
    moved = polygon_area(points[::-1, 0] + shift, points[::-1, 1] - shift)
    assert area == pytest.approx(moved, abs=1e-6)


def test_polygon_crop_stretches_the_box():
    masks = some_polygons()
    crops = masks.crop_and_resize(torch.tensor([[2.0, 3, 12, 9], [0, 0, 5, 5], [0, 0, 8, 8]]), 8)
    assert crops[0].all()
    assert not crops[1].any()
    assert crops[2].sum() == 16
    assert crops[2][:4, :4].all()


def test_box_without_width_gives_a_finite_crop():
    crop = rasterize_polygons_within_box([rectangle(0, 0, 9, 9)], np.array([3.0, 3, 3, 3]), 4)
    assert crop.shape == (4, 4)


@pytest.mark.parametrize(
    ("item", "rows"),
    [
        (2, [2]),
        (slice(1, 3), [1, 2]),
        ([0, 2], [0, 2]),
        (torch.tensor([2, 0]), [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        (np.array([False, True, False]), [1]),
        ([], []),
    ],
)
def test_picking_polygons(item, rows):
    masks = some_polygons()
    picked = masks[item]
    assert [id(parts) for parts in picked] == [id(masks.polygons[i]) for i in rows]
    assert len(PolygonMasks.cat([picked, masks])) == len(rows) + 3


def test_polygons_are_read_from_lists_and_tensors_as_float64():
    flat = [0.1, 0, 4, 0, 4, 3]
    masks = PolygonMasks([[flat, torch.tensor(flat, dtype=torch.float64)]])
    assert all(p.dtype == np.float64 and p.tolist() == flat for p in masks.polygons[0])


def test_malformed_masks_are_refused():
    with pytest.raises(TypeError, match="PolygonMasks got a ndarray; give a list"):
        PolygonMasks(np.zeros((1, 6)))
    with pytest.raises(TypeError, match="Object 1 of PolygonMasks is a ndarray"):
        PolygonMasks([[], np.zeros(6)])
    with pytest.raises(ValueError, match="PolygonMasks got a str"):  # the type of detectron2
        PolygonMasks("polygons")
    for numbers in (4, 7):
        with pytest.raises(ValueError, match=f"Object 0 has a polygon of {numbers} numbers"):
            PolygonMasks([[np.zeros(numbers)]])
    with pytest.raises(ValueError, match=r"index of shape \(1, 3\)"):
        some_polygons()[torch.ones(1, 3, dtype=torch.bool)]
    with pytest.raises(IndexError, match="A mask of 2 cannot pick from 3 objects"):
        some_polygons()[torch.tensor([True, False])]
    with pytest.raises(ValueError, match="3 objects got 1 boxes"):
        some_polygons().crop_and_resize(torch.zeros(1, 4), 7)
    with pytest.raises(ValueError, match="1 masks got 2 boxes"):
        BitMasks(torch.zeros(1, 4, 4)).crop_and_resize(torch.zeros(2, 4), 7)
    with pytest.raises(ValueError, match=r"BitMasks got shape \(4, 4\)"):
        BitMasks(torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"ROIMasks got shape \(4, 4\)"):
        ROIMasks(torch.zeros(4, 4))
    with pytest.raises(ValueError, match="got no boxes to paste"):
        BitMasks.from_roi_masks(ROIMasks(torch.zeros(1, 4, 4)), 9, 9)


def test_roi_masks_paste_into_bitmaps():
    rois = ROIMasks(torch.ones(2, 4, 4))
    boxes = Boxes([[1.0, 1, 5, 4], [0, 0, 2, 2]])
    bits = rois.to_bitmasks(boxes, 8, 9)
    assert bits.tensor.sum((1, 2)).tolist() == [12, 4]
    assert BitMasks.from_roi_masks(rois, 8, 9, boxes).tensor.equal(bits.tensor)
    assert len(rois[0]) == 1
    assert len(ROIMasks.cat([rois, rois[:1]])) == 3
    assert rois.to("meta").device.type == "meta"
    assert repr(rois) == "ROIMasks(num_instances=2)"
    with pytest.raises(ValueError, match="pick whole maps"):
        rois[0, 0]


def test_no_polygons_draw_an_empty_bitmap():
    assert polygons_to_bitmask([], 3, 4).sum() == 0


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(3, 7), st.just(2)),
        elements=st.floats(-60, 260).map(lambda v: round(v, 2)),
    )
)
def test_drawing_the_window_of_an_object_gives_what_drawing_the_image_gives(outlines):
    """To the pixel: also across the borders, where COCO's rule treats points in its own way."""
    polygons = [points.ravel() for points in outlines]
    runs = coco_mask.merge(coco_mask.frPyObjects([p.tolist() for p in polygons], 170, 210))
    np.testing.assert_array_equal(polygons_to_bitmask(polygons, 170, 210), coco_mask.decode(runs))


def test_bitmaps_without_pixels_have_no_extent():
    empty = BitMasks(torch.zeros(2, 0, 5, dtype=torch.bool))
    assert empty.nonempty().tolist() == [False, False]
    assert empty.get_bounding_boxes().tensor.tolist() == [[0.0] * 4] * 2
