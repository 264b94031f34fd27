"""merge_tiles: the results of overlapping tiles, joined so that each object counts once.

Neighbouring tiles share a strip. Where both of them found the same object, they agree on it in
that strip, however much of the object lies outside of one of the two. So detections are compared
there alone, and those that agree are joined.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from d2lite.utils.errors import ArgumentError, ConfigError

from .cropped_mask import CroppedMask
from .result import Result
from .tile_windows import Window

# Two detections are one object from this IoU on, within what both tiles see.
_SAME = 0.5
# An object that the edge of its tile cuts may be a piece: it needs this share within the other.
_PIECE = 0.75
# A detection this near to the edge of its tile, as a share of the tile's side, is cut by it.
_NEAR = 0.01
# A detection of one whole tile stands for all if it has this share of their common box.
_COMPLETE = 0.8
# A smaller strip than this share of the two detections within it says nothing about them.
_LEAST_SEEN = 0.02


@dataclass(frozen=True)
class _Detection:
    """One detection in pixels of the image, and the window that it was found in."""

    tile: int
    window: Window
    is_cut: bool
    index: int
    box: tuple[float, float, float, float]
    label: int
    score: float
    mask: CroppedMask | None


def merge_tiles(
    parts: Sequence[Result],
    windows: Sequence[Window],
    size: tuple[int, int],
    whole: Result | None = None,
) -> Result:
    """Join the results of tiles.

    Args:
        parts: of each tile, in its own pixels.
        windows: of each tile in the image.
        size: (height, width) of the image.
        whole: of the whole image, for objects that are larger than a tile; None for none.

    Returns:
        The objects of the image, sorted by score; masks are joined over the borders of tiles.

    Raises:
        ArgumentError: if there is no tile.
        ConfigError: if the model gives classes of pixels, which are not joined.
    """
    if not parts:
        raise ArgumentError("There is no tile to join.")
    if any(part.segments is not None or part.semantic is not None for part in parts):
        raise ConfigError(
            "--tiles joins objects, and this model gives segments or classes of all pixels. Leave "
            "--tiles out, or use a model of objects."
        )
    shifted = [_shifted(part, *window[:2]) for part, window in zip(parts, windows, strict=True)]
    height, width = size
    if whole is not None:
        shifted.append(replace(whole, image=None))
        windows = [*windows, (0, 0, width, height)]
    joined = _concatenated(shifted, size)
    tiles = np.repeat(np.arange(len(shifted)), [len(part) for part in shifted])
    detections = [
        _detection(joined, index, tile, windows[tile], size)
        for index, tile in enumerate(tiles.tolist())
    ]
    groups = _group(detections)
    kept = _without_pieces([_one_of(group, windows, whole is not None) for group in groups])
    picked = joined[[one.index for one in kept]]
    masks = [one.mask for one in kept if one.mask is not None]
    result = replace(
        picked,
        boxes=np.array([one.box for one in kept], dtype=np.float32).reshape(-1, 4),
        scores=np.array([one.score for one in kept], dtype=np.float32),
        cropped_masks=None if joined.cropped_masks is None else masks,
    )
    return result[np.argsort(-result.scores, kind="stable")]


def _shifted(part: Result, x: int, y: int) -> Result:
    move = np.array([x, y, x, y], dtype=np.float32)
    masks, points, turned = part.cropped_masks, part.keypoints, part.rotated_boxes
    place = np.array([x, y, 0, 0, 0], dtype=np.float32)
    return replace(
        part,
        boxes=part.boxes + move,
        cropped_masks=None if masks is None else [mask.shifted(x, y) for mask in masks],
        keypoints=None if points is None else points + place[:3],
        rotated_boxes=None if turned is None else turned + place,
    )


def _concatenated(parts: Sequence[Result], size: tuple[int, int]) -> Result:
    first = parts[0]
    optional: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("keypoints", "rotated_boxes")
        if getattr(first, name) is not None
    }
    masks = None
    if first.cropped_masks is not None:
        masks = [mask for part in parts for mask in part.cropped_masks or ()]
    return replace(
        first,
        size=size,
        boxes=np.concatenate([part.boxes for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        classes=np.concatenate([part.classes for part in parts]),
        cropped_masks=masks,
        **optional,
    )


def _detection(
    joined: Result, index: int, tile: int, window: Window, size: tuple[int, int]
) -> _Detection:
    x0, y0, x1, y1 = joined.boxes[index].tolist()
    near = _NEAR * max(window[2] - window[0], window[3] - window[1])
    height, width = size
    is_cut = (
        (window[0] > 0 and x0 < window[0] + near)
        or (window[1] > 0 and y0 < window[1] + near)
        or (window[2] < width and x1 > window[2] - near)
        or (window[3] < height and y1 > window[3] - near)
    )
    masks = joined.cropped_masks
    return _Detection(
        tile,
        window,
        is_cut,
        index,
        (x0, y0, x1, y1),
        int(joined.classes[index]),
        float(joined.scores[index]),
        None if masks is None else masks[index],
    )


def _common(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float, float] | None:
    """The box that two boxes have in common, if any."""
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _area(box: Sequence[float] | None) -> float:
    return 0.0 if box is None else max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def _agreement(a: _Detection, b: _Detection) -> tuple[float, float, float]:
    """How well two detections agree within what both of their tiles see.

    Returns:
        IoU there, the share of a's part there that is in b, and the share of b's part in a.
    """
    seen = _common(a.window, b.window)
    if seen is None or _common(a.box, b.box) is None:
        return 0.0, 0.0, 0.0
    if a.mask is not None and b.mask is not None:
        window = (int(seen[0]), int(seen[1]), int(seen[2]), int(seen[3]))
        around = _common(window, _around(a.mask.box, b.mask.box))
        if around is None:
            return 0.0, 0.0, 0.0
        left, top, right, bottom = (int(edge) for edge in around)
        mask_a, mask_b = (one.mask.window(left, top, right, bottom) for one in (a, b))  # type: ignore[union-attr]  # checked above
        area_a, area_b = float(mask_a.sum()), float(mask_b.sum())
        both = float((mask_a & mask_b).sum())
        totals = (a.mask.area, b.mask.area)
    else:
        part_a, part_b = _common(a.box, seen), _common(b.box, seen)
        if part_a is None or part_b is None:
            return 0.0, 0.0, 0.0
        area_a, area_b, both = _area(part_a), _area(part_b), _area(_common(part_a, part_b))
        totals = (int(_area(a.box)), int(_area(b.box)))
    if both <= 0 or max(area_a, area_b) < _LEAST_SEEN * min(totals):
        return 0.0, 0.0, 0.0
    return both / (area_a + area_b - both), both / area_a, both / area_b


def _around(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float, float]:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _pairs(detections: Sequence[_Detection]) -> Iterator[tuple[int, int]]:
    """Pairs of different tiles whose boxes touch, found by their order from left to right."""
    order = sorted(range(len(detections)), key=lambda i: detections[i].box[0])
    active: list[int] = []
    for i in order:
        one = detections[i]
        active = [j for j in active if detections[j].box[2] > one.box[0]]
        for j in active:
            if detections[j].tile != one.tile and _common(detections[j].box, one.box):
                yield j, i
        active.append(i)


def _group(detections: Sequence[_Detection]) -> list[list[_Detection]]:
    """Detections of one object in one group each."""
    scored = []
    for i, j in _pairs(detections):
        a, b = detections[i], detections[j]
        if a.label != b.label:
            continue
        iou, in_b, in_a = _agreement(a, b)
        # A piece of an object, which its tile cuts, is within the other tile's larger part.
        is_piece = (a.is_cut and in_b >= _PIECE) or (b.is_cut and in_a >= _PIECE)
        if iou >= _SAME or is_piece:
            scored.append((iou, i, j))
    group_of = list(range(len(detections)))
    members = [[i] for i in range(len(detections))]
    for _, i, j in sorted(scored, reverse=True):
        one, other = group_of[i], group_of[j]
        if one == other or not _may_join(members[one], members[other], detections):
            continue
        members[one] += members[other]
        for k in members[other]:
            group_of[k] = one
        members[other] = []
    return [[detections[i] for i in group] for group in members if group]


def _may_join(one: Sequence[int], other: Sequence[int], detections: Sequence[_Detection]) -> bool:
    """Two objects that one tile saw as two stay two, unless its edge cut both of them."""
    return all(
        detections[i].tile != detections[j].tile or (detections[i].is_cut and detections[j].is_cut)
        for i, j in itertools.product(one, other)
    )


def _one_of(group: Sequence[_Detection], windows: Sequence[Window], has_whole: bool) -> _Detection:
    """The object that the detections of a group are."""
    if len(group) == 1:
        return group[0]
    box = group[0].box
    for one in group[1:]:
        box = _around(box, one.box)
    complete = [one for one in group if not one.is_cut and _area(one.box) >= _COMPLETE * _area(box)]
    if complete:
        # A tile sees more detail than the whole image does.
        of_tiles = [one for one in complete if not has_whole or one.tile < len(windows) - 1]
        return max(of_tiles or complete, key=lambda one: one.score)
    best = max(group, key=lambda one: one.score)
    mask = best.mask
    for one in group:
        if mask is not None and one.mask is not None and one is not best:
            mask = mask.united(one.mask)
    # What its tile saw most of gives keypoints and rotated box.
    largest = max(group, key=lambda one: _area(one.box))
    return replace(
        largest, box=box, mask=mask, score=best.score, is_cut=all(one.is_cut for one in group)
    )


def _without_pieces(found: Sequence[_Detection]) -> list[_Detection]:
    """Drop cut detections that lie in a better one, which another tile saw, of any class."""
    dropped = set()
    for i, j in _pairs(found):
        for piece, other, number in ((found[i], found[j], i), (found[j], found[i], j)):
            seen = _common(piece.window, other.window)
            is_seen = _area(_common(piece.box, seen)) >= 0.9 * _area(piece.box) if seen else False
            _, in_other, _ = _agreement(piece, other)
            is_better = other.score > piece.score and not other.is_cut
            if piece.is_cut and is_seen and in_other >= _PIECE and is_better:
                dropped.add(number)
    return [one for i, one in enumerate(found) if i not in dropped]
