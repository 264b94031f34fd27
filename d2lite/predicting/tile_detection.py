"""TileDetection: one detection of a tile in pixels of the image, and how well two agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .cropped_mask import CroppedMask
from .result import Result
from .tile_windows import Window

WHOLE = -1
"""The number, in place of that of a tile, of what the whole image showed."""
# A detection this near to the edge of its tile, as a share of the tile's side, is cut by it.
NEAR = 0.01
# A smaller strip than this share of the two detections within it says nothing about them.
_LEAST_SEEN = 0.02


@dataclass(frozen=True)
class TileDetection:
    """One detection in pixels of the image, and the window that it was found in."""

    tile: int
    window: Window
    is_cut: bool
    index: int
    box: tuple[float, float, float, float]
    label: int
    score: float
    mask: CroppedMask | None


def detection_in(
    joined: Result, index: int, tile: int, window: Window, size: tuple[int, int]
) -> TileDetection:
    """One detection of a result.

    Args:
        joined: the detections of all tiles, in pixels of the image.
        index: of the detection.
        tile: number of its tile, or WHOLE.
        window: of the tile.
        size: (height, width) of the image.
    """
    x0, y0, x1, y1 = joined.boxes[index].tolist()
    near = NEAR * max(window[2] - window[0], window[3] - window[1])
    height, width = size
    is_cut = (
        (window[0] > 0 and x0 < window[0] + near)
        or (window[1] > 0 and y0 < window[1] + near)
        or (window[2] < width and x1 > window[2] - near)
        or (window[3] < height and y1 > window[3] - near)
    )
    masks = joined.cropped_masks
    return TileDetection(
        tile,
        window,
        is_cut,
        index,
        (x0, y0, x1, y1),
        int(joined.classes[index]),
        float(joined.scores[index]),
        None if masks is None else masks[index],
    )


def common(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float, float] | None:
    """The box that two boxes have in common, if any."""
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def area(box: Sequence[float] | None) -> float:
    """Pixels in a box; 0 for None."""
    return 0.0 if box is None else max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def agreement(a: TileDetection, b: TileDetection) -> tuple[float, float, float]:
    """How well two detections agree within what both of their tiles see.

    Returns:
        IoU there, the share of a's part there that is in b, and the share of b's part in a.
    """
    seen = common(a.window, b.window)
    if seen is None or common(a.box, b.box) is None:
        return 0.0, 0.0, 0.0
    if a.mask is not None and b.mask is not None:
        window = (int(seen[0]), int(seen[1]), int(seen[2]), int(seen[3]))
        frame = common(window, around(a.mask.box, b.mask.box))
        if frame is None:
            return 0.0, 0.0, 0.0
        left, top, right, bottom = (int(edge) for edge in frame)
        mask_a, mask_b = (one.mask.window(left, top, right, bottom) for one in (a, b))  # type: ignore[union-attr]  # checked above
        area_a, area_b = float(mask_a.sum()), float(mask_b.sum())
        both = float((mask_a & mask_b).sum())
        totals = (a.mask.area, b.mask.area)
    else:
        part_a, part_b = common(a.box, seen), common(b.box, seen)
        if part_a is None or part_b is None:
            return 0.0, 0.0, 0.0
        area_a, area_b, both = area(part_a), area(part_b), area(common(part_a, part_b))
        totals = (int(area(a.box)), int(area(b.box)))
    if both <= 0 or max(area_a, area_b) < _LEAST_SEEN * min(totals):
        return 0.0, 0.0, 0.0
    return both / (area_a + area_b - both), both / area_a, both / area_b


def around(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float, float]:
    """The box around two boxes."""
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def touching_pairs(detections: Sequence[TileDetection]) -> Iterator[tuple[int, int]]:
    """Pairs of different tiles whose boxes touch, found by their order from left to right."""
    order = sorted(range(len(detections)), key=lambda i: detections[i].box[0])
    active: list[int] = []
    for i in order:
        one = detections[i]
        active = [j for j in active if detections[j].box[2] > one.box[0]]
        for j in active:
            if detections[j].tile != one.tile and common(detections[j].box, one.box):
                yield j, i
        active.append(i)
