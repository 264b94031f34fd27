import json
import subprocess
import sys

import numpy as np
import pytest

from d2lite.structures.masks import polygons_to_bitmask, rle
from d2lite.utils.errors import DataError

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


@pytest.mark.parametrize("counts", [[-5, 59], np.array([-5, 59]), [2**32 + 54]])
def test_counts_that_are_no_lengths_of_runs_are_refused(counts):
    """They are taken modulo 2**32, by numpy 1 always and by numpy 2 where they come as an array."""
    with pytest.raises(ValueError, match="not lengths of runs"):
        rle.compressed({"size": [6, 9], "counts": counts})


def test_an_empty_mask_has_no_area_and_a_box_of_zeros():
    code = rle.encode(MASKS[1])
    assert rle.area(code) == 0
    assert rle.box_xywh(code) == [0, 0, 0, 0]


def test_polygons_that_overlap_count_once():
    square = [2.0, 1, 7, 1, 7, 4, 2, 4]
    code = rle.from_polygons([square, square], 6, 9)
    np.testing.assert_array_equal(rle.decode(code), MASKS[0])


FAR = [
    [8, 8, 1e8, 8, 1e8, 38, 8, 38],
    [-3e6, 20, 30, -3e6, 3e6, 20, 30, 3e6],
    [8, -1e9, 1e9, -1e9, 1e9, 30, 8, 30],
]


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("size", [(48, 64), (150, 200)])
def test_polygons_far_outside_are_clipped_before_they_are_drawn(far, size):
    """Pycocotools crashes from 1e8 pixels on; the oracle is the same shape cut by hand."""
    near = [min(max(value, -1e4), 1e4) for value in far] if far is not FAR[1] else None
    drawn = rle.decode(rle.from_polygons([far], *size))
    if near is None:
        assert drawn.all()
    else:
        assert np.array_equal(drawn, rle.decode(rle.from_polygons([near], *size)))


def test_polygons_beyond_the_image_and_of_too_many_corners_are_bounded():
    assert rle.area(rle.from_polygons([[1e9, 1e9, 1e9 + 5, 1e9, 1e9, 1e9 + 5]], 48, 64)) == 0
    zigzag = np.stack([np.arange(1e5) % 2 * 2e4 - 1e4, np.linspace(0, 48, 100_000)], 1).ravel()
    assert not rle.can_draw(zigzag.tolist())
    assert rle.from_polygons([zigzag.tolist()], 48, 64)["size"] == [48, 64]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300])
def test_coordinates_that_are_not_finite_are_refused(value):
    polygon = [8, 8, value, 8, 38, 38]
    assert not rle.can_draw(polygon)
    for size in ((48, 64), (300, 300)):
        with pytest.raises(DataError, match="not finite"):
            polygons_to_bitmask([np.array(polygon)], *size)


@pytest.mark.parametrize("counts", [b"", "", "P", "0000o", "0\x000", "é"])
def test_counts_that_end_within_a_number_are_refused(counts):
    """Pycocotools would read on behind them."""
    with pytest.raises(ValueError, match=r"not compressed|ascii"):
        rle.decode({"size": [10, 20], "counts": counts})


@pytest.mark.slow
def test_a_mask_is_decoded_where_warnings_are_errors():
    """As by `python -W error`, which pytest's own handling of warnings would hide here."""
    decode = (
        "import numpy as np; from d2lite.structures.masks import rle; "
        "print(rle.decode(rle.encode(np.eye(4))).sum())"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", decode], capture_output=True, text=True
    )
    assert ended.stdout == "4\n", ended.stderr
