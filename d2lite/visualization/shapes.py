"""Pixels and points without a canvas: windows, dashes, corners, rotated and cleaned masks."""

from typing import Any

import numpy as np
from PIL import Image

from .opencv import load_cv2


def nonzero_window(coverage: np.ndarray) -> tuple[slice, slice] | None:
    """The smallest window that holds everything, so that small shapes cost little."""
    rows = np.flatnonzero(coverage.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(coverage[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def dashes(points: np.ndarray, closed: bool, length: float) -> list[np.ndarray[Any, Any]]:
    """Cut lines into dashes of the given length with gaps of half of it."""
    ends = np.roll(points, -1, axis=0) if closed else points[1:]
    starts = points if closed else points[:-1]
    pieces = []
    for start, end in zip(starts, ends, strict=True):
        distance = float(np.linalg.norm(end - start))
        offsets = np.arange(0.0, max(distance, 1e-6), 1.5 * length)
        along = np.stack([offsets, np.minimum(offsets + length, distance)], axis=1)
        pieces.extend(start + (end - start) * (along / max(distance, 1e-6))[:, :, None])
    return pieces


def rotated_corners(boxes: np.ndarray) -> np.ndarray[Any, Any]:
    """Corners of rotated boxes.

    Args:
        boxes: (N, 5) centre x, centre y, width, height, degrees counter-clockwise.

    Returns:
        (N, 4, 2) x and y; at 0 degrees from the upper left one, clockwise.
    """
    exact = np.asarray(boxes, dtype=np.float64)
    turns = np.deg2rad(exact[:, 4])
    cosine, sine = np.cos(turns), np.sin(turns)
    # y points down, so a counter-clockwise rotation has this sign.
    turn_N22 = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], axis=1)
    unit = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    corners: np.ndarray = unit * exact[:, None, 2:4] @ turn_N22 + exact[:, None, :2]
    return corners


def upright_boxes(rotated_boxes: np.ndarray) -> np.ndarray[Any, Any]:
    """(N, 4) float64 xyxy boxes around (N, 5) rotated ones."""
    corners = rotated_corners(rotated_boxes)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def rotated(coverage: np.ndarray, degrees: float) -> np.ndarray[Any, Any]:
    """Turn a (h, w) mask in [0, 1] counter-clockwise; it grows so that nothing is cut off."""
    page = Image.fromarray((coverage * 255).astype(np.uint8))
    turned = page.rotate(degrees, resample=Image.Resampling.BILINEAR, expand=True)
    return np.asarray(turned, dtype=np.float32) / 255


def without_specks(mask: np.ndarray, min_area: float) -> np.ndarray[Any, Any]:
    """A (h, w) uint8 mask without its connected parts of fewer pixels."""
    cv2 = load_cv2()
    _, part_of_pixel, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    is_kept = statistics[:, cv2.CC_STAT_AREA] >= min_area
    is_kept[0] = False
    kept: np.ndarray = is_kept[part_of_pixel].astype(np.uint8)
    return kept
