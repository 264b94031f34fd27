"""merge_tiles: the results of overlapping tiles, joined so that each object counts once.

Neighbouring tiles share a strip. Where both of them found the same object, they agree on it in
that strip, however much of the object lies outside of one of the two. So detections are compared
there alone, and those that agree are joined.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from d2lite.utils.errors import ArgumentError, ConfigError

from .result import Result
from .tile_detection import (
    NEAR,
    WHOLE,
    TileDetection,
    agreement,
    area,
    around,
    common,
    detection_in,
    touching_pairs,
)
from .tile_windows import Window

# Two detections are one object from this IoU on, within what both tiles see.
_SAME = 0.5
# An object that the edge of its tile cuts may be a piece: it needs this share within the other.
_PIECE = 0.75
# A detection of one whole tile stands for all if it has this share of their common box.
_COMPLETE = 0.8
# What the whole image alone shows is believed if it is larger than this share of a tile's side.
_LARGE = 0.5


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
    places = list(enumerate(windows))
    if whole is not None:
        shifted.append(replace(whole, image=None))
        places.append((WHOLE, (0, 0, size[1], size[0])))
    joined = _concatenated(shifted, size)
    place_of = [
        place for place, part in zip(places, shifted, strict=True) for _ in range(len(part))
    ]
    detections = [
        detection_in(joined, index, tile, window, size)
        for index, (tile, window) in enumerate(place_of)
    ]
    objects = [(group, _one_of(group)) for group in _group(detections)]
    kept = _without_pieces([one for group, one in objects if _credible(group, one, windows)])
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


def _group(detections: Sequence[TileDetection]) -> list[list[TileDetection]]:
    """Detections of one object in one group each."""
    scored = []
    for i, j in touching_pairs(detections):
        a, b = detections[i], detections[j]
        if a.label != b.label:
            continue
        iou, in_b, in_a = agreement(a, b)
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


def _may_join(
    one: Sequence[int], other: Sequence[int], detections: Sequence[TileDetection]
) -> bool:
    """Two objects that one tile saw as two stay two, unless its edge cut both of them."""
    return all(
        detections[i].tile != detections[j].tile or (detections[i].is_cut and detections[j].is_cut)
        for i, j in itertools.product(one, other)
    )


def _one_of(group: Sequence[TileDetection]) -> TileDetection:
    """The object that the detections of a group are."""
    if len(group) == 1:
        return group[0]
    box = reduce(around, (one.box for one in group))
    complete = [one for one in group if not one.is_cut and area(one.box) >= _COMPLETE * area(box)]
    if complete:
        # A tile sees more detail than the whole image does.
        of_tiles = [one for one in complete if one.tile != WHOLE]
        return max(of_tiles or complete, key=lambda one: one.score)
    best = max(group, key=lambda one: one.score)
    mask = best.mask
    for one in group:
        if mask is not None and one.mask is not None and one is not best:
            mask = mask.united(one.mask)
    # What its tile saw most of gives keypoints and rotated box.
    largest = max(group, key=lambda one: area(one.box))
    return replace(
        largest, box=box, mask=mask, score=best.score, is_cut=all(one.is_cut for one in group)
    )


def _credible(
    group: Sequence[TileDetection], one: TileDetection, windows: Sequence[Window]
) -> bool:
    """Whether to believe an object that tiles with a better view did not find."""
    width, height = one.box[2] - one.box[0], one.box[3] - one.box[1]
    side = max(windows[0][2] - windows[0][0], windows[0][3] - windows[0][1])
    if all(member.tile == WHOLE for member in group):
        # Tiles show smaller objects larger than the whole image does.
        return max(width, height) > _LARGE * side
    if not all(member.is_cut for member in group):
        return True
    # Cut in all tiles that found it: another one saw all of it, and what is around it.
    seen_by = {member.tile for member in group}
    near = 2 * NEAR * side
    right, bottom = (max(window[edge] for window in windows) for edge in (2, 3))
    return not any(
        number not in seen_by and _is_inside(one.box, window, near, (right, bottom))
        for number, window in enumerate(windows)
    )


def _is_inside(box: Sequence[float], window: Window, near: float, ends: tuple[int, int]) -> bool:
    """Whether a box is in a window and not near its edges, but for those of the image."""
    return (
        (window[0] == 0 or window[0] + near < box[0])
        and (window[1] == 0 or window[1] + near < box[1])
        and (window[2] == ends[0] or box[2] < window[2] - near)
        and (window[3] == ends[1] or box[3] < window[3] - near)
    )


def _without_pieces(found: Sequence[TileDetection]) -> list[TileDetection]:
    """Drop cut detections that lie in a better one, which another tile saw, of any class."""
    dropped = set()
    for i, j in touching_pairs(found):
        for piece, other, number in ((found[i], found[j], i), (found[j], found[i], j)):
            seen = common(piece.window, other.window)
            is_seen = area(common(piece.box, seen)) >= 0.9 * area(piece.box) if seen else False
            _, in_other, _ = agreement(piece, other)
            is_better = other.score > piece.score and not other.is_cut
            if piece.is_cut and is_seen and in_other >= _PIECE and is_better:
                dropped.add(number)
    return [one for i, one in enumerate(found) if i not in dropped]
