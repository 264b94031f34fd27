import json

import numpy as np
import pytest

from d2lite.structures.masks import rle

# pycocotools 2.0 was built before numpy 2 and warns at every decoding.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")

MASKS = np.zeros((2, 6, 9), dtype=bool)
MASKS[0, 1:4, 2:7] = True


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_a_mask_of_any_dtype_and_memory_order_comes_back(dtype):
    for mask in (MASKS[0].astype(dtype), MASKS[0].T.astype(dtype).T):
        np.testing.assert_array_equal(rle.decode(rle.encode(mask)), MASKS[0])


def test_many_masks_are_encoded_as_one_by_one_and_fit_into_json():
    codes = json.loads(json.dumps(rle.encode_all(MASKS)))
    assert codes == [rle.with_text(rle.encode(mask)) for mask in MASKS]
    np.testing.assert_array_equal([rle.decode(code) for code in codes], MASKS)


def test_counts_as_a_list_are_read_as_those_that_are_compressed():
    """A column of 6 pixels is skipped twice, then 1 to 4 are set in each of five columns."""
    counts = [13, 3, 3, 3, 3, 3, 3, 3, 3, 3, 14]
    code = {"size": [6, 9], "counts": counts}
    np.testing.assert_array_equal(rle.decode(code), MASKS[0])
    assert rle.with_text(code) == rle.with_text(rle.encode(MASKS[0]))
    assert rle.area(code) == 15
    assert rle.box_xywh(code) == [2, 1, 5, 3]


def test_an_empty_mask_has_no_area_and_a_box_of_zeros():
    code = rle.encode(MASKS[1])
    assert rle.area(code) == 0
    assert rle.box_xywh(code) == [0, 0, 0, 0]


def test_polygons_that_overlap_count_once():
    square = [2.0, 1, 7, 1, 7, 4, 2, 4]
    code = rle.from_polygons([square, square], 6, 9)
    np.testing.assert_array_equal(rle.decode(code), MASKS[0])
