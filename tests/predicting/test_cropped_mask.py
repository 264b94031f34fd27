import itertools

import numpy as np
import pytest

from d2lite.predicting import CroppedMask
from d2lite.structures.masks import rle


def random_masks() -> list[np.ndarray]:
    """Sparse, dense, at the edges, whole columns, empty and full."""
    rng = np.random.default_rng(0)
    masks = [rng.random((9, 7)) < share for share in (0.0, 0.05, 0.3, 0.7, 1.0) for _ in range(6)]
    columns = np.zeros((9, 7), dtype=bool)
    columns[:, 2:5] = True
    corner = np.zeros((9, 7), dtype=bool)
    corner[0, 0] = corner[-1, -1] = True
    return [*masks, columns, corner]


def test_full_mask_comes_back_from_its_crop():
    for mask in random_masks():
        np.testing.assert_array_equal(CroppedMask.of(mask).full(*mask.shape), mask)


def test_run_length_code_is_that_of_the_full_mask():
    """Made from the crop alone, so that an image of 10,000 pixels is never filled."""
    for mask in random_masks():
        code = CroppedMask.of(mask).to_rle(*mask.shape)
        assert code == rle.with_text(rle.encode(mask))
        np.testing.assert_array_equal(CroppedMask.from_rle(code).full(*mask.shape), mask)


def test_code_of_a_small_object_in_a_huge_image_costs_little():
    mask = CroppedMask(40_000, 30_000, np.ones((3, 2), dtype=bool))
    code = mask.to_rle(50_000, 50_000)
    assert rle.area(code) == 6
    assert rle.box_xywh(code) == [40_000, 30_000, 2, 3]


def test_union_has_the_pixels_of_both():
    masks = random_masks()
    for one, other in itertools.pairwise(masks):
        joined = CroppedMask.of(one).united(CroppedMask.of(other))
        np.testing.assert_array_equal(joined.full(*one.shape), one | other)


def test_window_is_a_part_of_the_full_mask_with_zeros_beyond_it():
    mask = random_masks()[8]
    padded = np.pad(mask, 4)
    for x0, y0, x1, y1 in [(0, 0, 7, 9), (-4, -4, 2, 3), (3, 2, 11, 13), (5, 5, 5, 6)]:
        expected = padded[y0 + 4 : y1 + 4, x0 + 4 : x1 + 4]
        np.testing.assert_array_equal(CroppedMask.of(mask).window(x0, y0, x1, y1), expected)


@pytest.mark.parametrize("factor", [2, 3])
def test_enlarged_mask_repeats_its_pixels(factor):
    for mask in random_masks():
        height, width = (factor * side for side in mask.shape)
        enlarged = CroppedMask.of(mask).scaled(factor, factor, height, width)
        expected = mask.repeat(factor, axis=0).repeat(factor, axis=1)
        np.testing.assert_array_equal(enlarged.full(height, width), expected)
