"""Tiles against the truth: a detector that finds exactly what is inside of its window."""

import itertools

import numpy as np
import pytest

from d2lite.data import Metadata
from d2lite.predicting import CroppedMask, Result
from d2lite.predicting.merge_tiles import merge_tiles
from d2lite.predicting.tile_windows import tile_windows
from d2lite.utils.errors import ConfigError

NAMES = Metadata(thing_classes=["cell", "nut"])


def result_of(masks: list[np.ndarray], classes: list[int], scores: list[float], **more) -> Result:
    """A result with the boxes of its masks."""
    cropped = [CroppedMask.of(mask) for mask in masks]
    size = more.pop("size")
    boxes = np.array([mask.box for mask in cropped], dtype=np.float32).reshape(-1, 4)
    parts = np.array(scores, dtype=np.float32), np.array(classes, dtype=np.int64)
    return Result(size, boxes, *parts, NAMES, cropped_masks=cropped, **more)


class Oracle:
    """Finds each object in a window; of one that the window cuts, the part inside, if any."""

    def __init__(self, masks: list[np.ndarray], classes: list[int], noise: float = 0.0) -> None:
        self.masks, self.classes, self.noise = masks, classes, noise
        self.rng = np.random.default_rng(5)

    def __call__(self, window) -> Result:
        x0, y0, x1, y1 = window
        found = []
        for mask, label in zip(self.masks, self.classes, strict=True):
            part = mask[y0:y1, x0:x1]
            if part.sum() >= 30:
                score = 0.5 + 0.49 * part.sum() / mask.sum()
                found.append((part, label, score - self.noise * self.rng.random()))
        masks, classes, scores = zip(*found, strict=True) if found else ((), (), ())
        shaken = result_of(list(masks), list(classes), list(scores), size=(y1 - y0, x1 - x0))
        boxes = shaken.boxes + self.noise * 20 * (self.rng.random(shaken.boxes.shape) - 0.5)
        boxes = boxes.clip(0, [x1 - x0, y1 - y0] * 2)
        return Result(*[shaken.size, boxes.astype(np.float32), shaken.scores, shaken.classes],
                      NAMES, cropped_masks=shaken.cropped_masks)  # fmt: skip


def discs(size: tuple[int, int], count: int, radius: tuple[int, int]) -> list[np.ndarray]:
    """Discs that do not touch, wherever seams are."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[: size[0], : size[1]]
    taken = np.zeros(size, dtype=bool)
    masks = []
    while len(masks) < count:
        r = rng.integers(*radius)
        x, y = rng.integers(0, size[1]), rng.integers(0, size[0])
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= r**2
        grown = (rows - y) ** 2 + (columns - x) ** 2 <= (r + 3) ** 2
        if disc.sum() > 60 and not (grown & taken).any():
            masks.append(disc)
            taken |= disc
    return masks


def in_tiles(oracle: Oracle, size: tuple[int, int], side: int, overlap: float) -> Result:
    windows = tile_windows(size[1], size[0], side, overlap)
    return merge_tiles([oracle(window) for window in windows], windows, size)


def without_masks(result: Result) -> Result:
    return Result(result.size, result.boxes, result.scores, result.classes, NAMES)


def assert_same_objects(result: Result, masks: list[np.ndarray], *, tolerance: float = 0) -> None:
    assert len(result) == len(masks)
    ious = np.array(
        [
            [(a & b).sum() / (a | b).sum() for b in masks]
            for a in result.masks
        ]
    )  # fmt: skip
    assert (ious.max(axis=1) >= 1 - tolerance).all()
    assert (ious.max(axis=0) >= 1 - tolerance).all()


@pytest.mark.parametrize(("side", "overlap"), [(100, 0.2), (128, 0.3), (160, 0.1), (90, 0.5)])
@pytest.mark.parametrize("size", [(300, 420), (301, 257)])
def test_every_object_counts_once_with_its_whole_mask(size, side, overlap):
    """The last tiles are moved back, so they have far more than the overlap in common."""
    masks = discs(size, 40, (5, 14))
    classes = [number % 2 for number in range(40)]
    result = in_tiles(Oracle(masks, classes), size, side, overlap)
    assert_same_objects(result, masks)
    assert sorted(result.classes) == sorted(classes)
    tight = [CroppedMask.of(mask).box for mask in result.masks]
    np.testing.assert_allclose(result.boxes, tight)


def test_object_larger_than_a_tile_is_joined_from_all_its_parts():
    masks = discs((400, 400), 1, (130, 131))
    bar = np.zeros((400, 400), dtype=bool)
    bar[2:12] = True
    result = in_tiles(Oracle([*masks, bar], [0, 1]), (400, 400), 100, 0.2)
    assert_same_objects(result, [*masks, bar])


@pytest.mark.parametrize("with_masks", [True, False])
def test_noisy_boxes_do_not_double_objects(with_masks):
    """A model's boxes of a cut object differ by some pixels from tile to tile."""
    size = (400, 500)
    masks = discs(size, 50, (8, 20))
    oracle = Oracle(masks, [0] * 50, noise=0.2)
    windows = tile_windows(500, 400, 160, 0.25)
    parts = [oracle(window) for window in windows]
    if not with_masks:
        parts = [without_masks(part) for part in parts]
    result = merge_tiles(parts, windows, size)
    assert len(result) == 50
    truth = np.array([CroppedMask.of(mask).box for mask in masks])
    nearest = np.abs(result.boxes[:, None] - truth[None]).max(axis=2).min(axis=1)
    assert nearest.max() < 6


def test_neighbours_of_one_class_stay_two():
    """They touch the same seam, and overlap as people in a crowd do."""
    one, other = np.zeros((2, 100, 200), dtype=bool)
    one[20:60, 60:110] = True
    other[40:80, 95:140] = True
    other &= ~one
    result = in_tiles(Oracle([one, other], [0, 0]), (100, 200), 100, 0.2)
    assert_same_objects(result, [one, other])


def test_piece_of_a_cut_object_that_got_another_class_is_dropped():
    """The edge of a tile makes half a cell look like a nut; the next tile saw it whole."""
    cell = np.zeros((100, 180), dtype=bool)
    cell[30:70, 85:125] = True
    windows = tile_windows(180, 100, 100, 0.2)
    left, right = (Oracle([cell], [0])(window) for window in windows)
    assert windows[0][2] == 100
    left = Result(left.size, left.boxes, left.scores, left.classes + 1, NAMES,
                  cropped_masks=left.cropped_masks)  # fmt: skip
    result = merge_tiles([left, right], windows, (100, 180))
    assert result.names == ["cell"]


def test_piece_that_a_tile_with_a_better_view_did_not_find_is_dropped():
    """A shadow at the edge of one tile; the other one sees it in its surroundings."""
    shadow = np.zeros((100, 180), dtype=bool)
    shadow[30:70, 92:100] = True
    windows = tile_windows(180, 100, 100, 0.2)
    left = Oracle([shadow], [0])(windows[0])
    right = Oracle([], [])(windows[1])
    assert len(left) == 1
    assert len(merge_tiles([left, right], windows, (100, 180))) == 0
    at_the_border = np.zeros((100, 180), dtype=bool)
    at_the_border[90:, 20:60] = True
    left = Oracle([at_the_border], [0])(windows[0])
    assert len(merge_tiles([left, right], windows, (100, 180))) == 1


def test_small_objects_of_the_whole_image_alone_are_not_believed():
    speck = np.zeros((300, 300), dtype=bool)
    speck[100:110, 100:110] = True
    windows = tile_windows(300, 300, 100, 0.2)
    parts = [Oracle([], [])(window) for window in windows]
    whole = Oracle([speck], [0])((0, 0, 300, 300))
    assert len(merge_tiles(parts, windows, (300, 300), whole)) == 0


def test_whole_image_gives_what_tiles_are_too_small_for():
    """And does not double what the tiles found."""
    masks = discs((300, 300), 12, (6, 12))
    oracle = Oracle(masks, [0] * 12)
    windows = tile_windows(300, 300, 100, 0.2)
    parts = [oracle(window) for window in windows]
    large = np.zeros((300, 300), dtype=bool)
    large[10:290, 10:290] = True
    whole = Oracle([*masks, large], [0] * 12 + [1])((0, 0, 300, 300))
    result = merge_tiles(parts, windows, (300, 300), whole)
    assert_same_objects(result, [*masks, large])


def test_keypoints_and_rotated_boxes_move_with_their_tile():
    part = Result(
        (50, 50),
        np.array([[5, 5, 20, 20]], np.float32),
        np.array([0.9], np.float32),
        np.array([0]),
        NAMES,
        keypoints=np.array([[[6, 7, 0.5]]], np.float32),
        rotated_boxes=np.array([[12, 12, 10, 4, 30]], np.float32),
    )
    empty = part[[]]
    windows = [(0, 0, 50, 50), (40, 0, 90, 50)]
    result = merge_tiles([empty, part], windows, (50, 90))
    np.testing.assert_allclose(result.boxes, [[45, 5, 60, 20]])
    np.testing.assert_allclose(result.keypoints, [[[46, 7, 0.5]]])
    np.testing.assert_allclose(result.rotated_boxes, [[52, 12, 10, 4, 30]])


def test_nothing_found_is_an_empty_result():
    result = in_tiles(Oracle([], []), (120, 300), 100, 0.2)
    assert len(result) == 0
    assert result.masks.shape == (0, 120, 300)


@pytest.mark.parametrize("size", [(50, 70), (100, 100), (101, 100), (1000, 333), (640, 641)])
@pytest.mark.parametrize("overlap", [0.05, 0.2, 0.5, 0.75])
def test_windows_cover_the_image_with_the_overlap_and_one_size(size, overlap):
    height, width = size
    windows = tile_windows(width, height, 100, overlap)
    covered = np.zeros(size, dtype=int)
    for x0, y0, x1, y1 in windows:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert (x1 - x0, y1 - y0) == (min(100, width), min(100, height))
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1
    columns = sorted({(x0, x1) for x0, _, x1, _ in windows})
    for (_, end), (start, _) in itertools.pairwise(columns):
        assert end - start >= int(100 * overlap)


def test_windows_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="--tiles 8: "):
        tile_windows(100, 100, 8, 0.2)
    with pytest.raises(ConfigError, match="--overlap 0: "):
        tile_windows(100, 100, 50, 0.0)


def test_maps_of_pixels_are_refused():
    part = result_of([], [], [], size=(50, 50), semantic=np.zeros((50, 50), np.int32))
    with pytest.raises(ConfigError, match="classes of all pixels"):
        merge_tiles([part], [(0, 0, 50, 50)], (50, 50))
