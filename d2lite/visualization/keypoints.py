"""Keypoints: which points of an object are joined by lines, and in which colours."""

import itertools
from collections.abc import Sequence

import numpy as np

from .colormap import Color, class_color, parse_color
from .drawing import Drawing

_KEYPOINT_THRESHOLD = 0.05
_Rule = tuple[str, str, object]


def draw_keypoint_skeleton(
    drawing: Drawing,
    keypoints: np.ndarray,
    names: Sequence[str] | None,
    rules: Sequence[_Rule] | None,
    *,
    threshold: float = _KEYPOINT_THRESHOLD,
) -> None:
    """Draw the points of one object and the lines between them.

    Args:
        drawing: its `draw_line` and `draw_circle` are used.
        keypoints: (K, 3) x, y and visibility or score.
        names: of the K points, or None.
        rules: (name, name, colour in [0, 255]) of each line, or None for no lines.
        threshold: points of this visibility and less are left out.
    """
    is_visible = keypoints[:, 2] > threshold
    width = drawing.output.stroke_width(1.2)
    lines = _lines(keypoints, is_visible, names or (), rules or ())
    for start, end, color in lines:
        drawing.draw_line([start[0], end[0]], [start[1], end[1]], color=color, linewidth=width)
    radius = 1.6 * width
    for index in np.flatnonzero(is_visible):
        x, y = keypoints[index, :2]
        # A white rim keeps a point visible on a line or an area of its own colour.
        rim = radius + max(0.5 * width, 1)
        drawing.draw_circle((x, y), color=(1.0, 1.0, 1.0), radius=rim)
        drawing.draw_circle((x, y), color=class_color(int(index)), radius=radius)


def _lines(
    keypoints: np.ndarray,
    is_visible: np.ndarray,
    names: Sequence[str],
    rules: Sequence[_Rule],
) -> list[tuple[np.ndarray, np.ndarray, Color]]:
    seen = {
        name: keypoints[i, :2]
        for i, name in enumerate(names)
        if i < len(keypoints) and is_visible[i]
    }
    lines = [
        (seen[a], seen[b], _rule_color(color)) for a, b, color in rules if a in seen and b in seen
    ]
    # A body's neck and hip centre are no keypoints; the spine through them makes it readable.
    middles = [
        (seen[f"left_{part}"] + seen[f"right_{part}"]) / 2
        if f"left_{part}" in seen and f"right_{part}" in seen
        else None
        for part in ("shoulder", "hip")
    ]
    spine = [point for point in (seen.get("nose"), *middles) if point is not None]
    if middles[0] is not None:
        lines += [(a, b, (1.0, 0.4, 0.4)) for a, b in itertools.pairwise(spine)]
    return lines


def _rule_color(color: object) -> Color:
    if isinstance(color, str):
        return parse_color(color)
    return parse_color(np.asarray(color, dtype=np.float64) / 255)
