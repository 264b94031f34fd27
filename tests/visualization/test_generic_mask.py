import numpy as np
import pycocotools.mask as mask_util
import pytest

from d2lite.utils.errors import DataError
from d2lite.visualization import GenericMask

# pycocotools does not know yet how numpy 2.4 asks for an array.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _ring():
    bitmap = np.zeros((20, 30), dtype=np.uint8)
    bitmap[4:16, 5:25] = 1
    bitmap[8:12, 10:20] = 0
    return bitmap


def test_bitmap_polygon_and_codes_are_one_shape():
    square = np.zeros((20, 30), dtype=np.uint8)
    square[5:10, 6:18] = 1
    code = mask_util.encode(np.asfortranarray(square))
    runs = {"size": [20, 30], "counts": []}
    flat = square.flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs["counts"] = np.diff([0, *edges, flat.size]).tolist()
    forms = [square, code, {**code, "counts": code["counts"].decode()}, runs]
    forms.append([[6, 5, 18, 5, 18, 10, 6, 10]])
    for form in forms:
        seen = GenericMask(form, 20, 30)
        assert np.array_equal(seen.mask, square)
        assert seen.area() == 60
        assert seen.bbox().tolist() == [6, 5, 18, 10]
        assert not seen.has_holes


def test_holes_are_seen_and_have_an_outline():
    ring = GenericMask(_ring(), 20, 30)
    assert ring.has_holes
    assert len(ring.polygons) == 2


def test_outline_filled_again_gives_nearly_the_bitmap():
    solid = np.zeros((60, 60), dtype=np.uint8)
    solid[10:50, 15:45] = 1
    seen = GenericMask(solid, 60, 60)
    assert (seen.polygons_to_mask(seen.polygons) == solid).mean() > 0.95


def test_empty_mask_has_no_outline_and_no_area():
    empty = GenericMask(np.zeros((20, 30)), 20, 30)
    assert empty.polygons == []
    assert empty.area() == 0
    assert GenericMask([], 20, 30).mask.shape == (20, 30)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((5, 5)), "5 x 5 pixels does not fit a picture of 20 x 30"),
        ({"counts": "x"}, "'counts' and 'size'"),
        ("mask", "not str"),
    ],
)
def test_what_is_no_mask_is_refused(given, message):
    with pytest.raises(DataError, match=message):
        GenericMask(given, 20, 30)
