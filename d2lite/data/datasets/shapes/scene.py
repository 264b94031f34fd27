"""The built-in images, first half: which figures lie where, and what of each can be seen.

A scene is a pure function of (split, index). Figures are laid on top of each other, and one that
would hide too much of an earlier one, or punch a hole into it, is drawn again elsewhere: so every
figure has a visible part that polygons can describe.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from d2lite.utils.keyed_rng import draw_key

# Changing anything that alters an image asks for another number: results would not compare.
VERSION = 3

SPLITS = {"train": 800, "val": 100}

CLASSES = ("circle", "square", "triangle", "star", "heart")

KEYPOINTS = ("centre", "top", "bottom", "left", "right")

# (height, width) in pixels.
_SIZES = ((128, 160), (128, 176), (144, 160), (144, 144), (160, 144), (160, 128), (176, 128))

_RADII = (14.0, 42.0)
_MAX_STRETCH = 1.18
_MAX_ANGLE = np.deg2rad(30)
_MIN_INSIDE = 0.75  # share of a figure that is in the image
_MIN_VISIBLE = 0.7  # share of that which later figures leave free
_MIN_PIECE = 10.0  # square pixels: smaller visible pieces are not worth a polygon
_ATTEMPTS = 12

# Masks are drawn this much finer than the image.
FINE = 4
_SHIFT = 4  # binary places of coordinates that OpenCV takes


@dataclass(frozen=True)
class Figure:
    """One figure of a scene, as it is seen.

    Attributes:
        label: class number.
        outline: (P, 2) float64 xy in pixels, the whole figure.
        polygons: visible parts, each (P, 2) float64 xy in pixels.
        keypoints: (K, 3) float64 xy in pixels and visibility: 2 seen, 1 covered, 0 outside.
    """

    label: int
    outline: np.ndarray
    polygons: tuple[np.ndarray, ...]
    keypoints: np.ndarray


@dataclass(frozen=True)
class Scene:
    """An image's size and its figures from the lowest to the topmost."""

    height: int
    width: int
    figures: tuple[Figure, ...]


def scene_draws(split: str, index: int, purpose: int) -> np.random.RandomState:
    """The random numbers of one image and purpose; numpy keeps this generator's stream fixed."""
    key = draw_key(VERSION, list(SPLITS).index(split), index, purpose)
    return np.random.RandomState([key & 0xFFFFFFFF, key >> 32])


def _regular(corners: int, radii: tuple[float, ...]) -> np.ndarray:
    """(corners, 2) points around the origin from the top on, the radii taking turns."""
    angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    lengths = np.resize(radii, corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]


def _heart() -> np.ndarray:
    """(40, 2) points of a heart, 2 wide; the notch first, the tip halfway."""
    t = np.arange(40) * 2 * np.pi / 40
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -y / 16], axis=1)


# Outlines in units of the radius, upright, y downwards.
_OUTLINES = {
    "circle": _regular(48, (0.98,)),
    "square": np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * 0.86,
    "triangle": _regular(3, (1.15,)),
    "star": _regular(10, (1.15, 0.5)),
    "heart": _heart(),
}


def _landmarks(label: str) -> np.ndarray:
    """(K, 2) keypoints of an upright figure: its centre and where its axes or arms end."""
    outline = _OUTLINES[label]
    on_axis = outline[np.abs(outline[:, 0]) < 1e-6][:, 1]
    top = on_axis.min() if len(on_axis) else outline[:, 1].min()
    bottom = on_axis.max() if len(on_axis) > 1 else outline[:, 1].max()
    x, y = outline[np.argmax(outline[:, 0].round(6))]
    if label == "square":  # the middle of an edge, not one of its corners
        y = 0.0
    return np.array([[0.0, 0.0], [0.0, top], [0.0, bottom], [-x, y], [x, y]])


_LANDMARKS = {label: _landmarks(label) for label in CLASSES}


def fill(outline: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """A figure as a fine mask of a part of the image.

    Args:
        outline: (P, 2) xy in pixels.
        corner: (x, y) of the part's first pixel.
        shape: (height, width) of the part in pixels.

    Returns:
        (height * FINE, width * FINE) uint8, 255 inside.
    """
    mask = np.zeros((shape[0] * FINE, shape[1] * FINE), dtype=np.uint8)
    # OpenCV puts integer coordinates on pixel centres, d2lite on their edges.
    points = (outline - corner) * FINE - 0.5
    cv2.fillPoly(mask, [np.rint(points * 2**_SHIFT).astype(np.int32)], 255, shift=_SHIFT)
    return mask


def _has_hole(mask: np.ndarray) -> bool:
    _, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return tree is not None and bool((tree[0, :, 3] >= 0).any())


def _pieces(mask: np.ndarray, corner: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """The outlines of a fine mask, whose first pixel is at `corner` (x, y), in pixels."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for contour in contours:
        if cv2.contourArea(contour) >= _MIN_PIECE * FINE**2:
            corners = cv2.approxPolyDP(contour, 1.0, closed=True)[:, 0]
            polygons.append((corners + 0.5) / FINE + corner)
    return tuple(polygons)


@dataclass
class _Laid:
    """A figure while the scene is being laid out.

    `visible` is a fine mask of the pixels x0 <= x < x1, y0 <= y < y1, the figure's surroundings.
    """

    label: int
    outline: np.ndarray
    landmarks: np.ndarray
    x0: int
    y0: int
    x1: int
    y1: int
    visible: np.ndarray
    area: int

    def part(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """A view of the mask of a part of the image that is within the surroundings."""
        rows = slice((y0 - self.y0) * FINE, (y1 - self.y0) * FINE)
        return self.visible[rows, (x0 - self.x0) * FINE : (x1 - self.x0) * FINE]


def _draw_figure(draws: np.random.RandomState, height: int, width: int) -> _Laid | None:
    """One figure at random, or None if too much of it would be outside the image."""
    label = draws.randint(len(CLASSES))
    radius = np.exp(draws.uniform(*np.log(_RADII)))
    stretch = np.exp(draws.uniform(-1, 1) * np.log(_MAX_STRETCH))
    angle = draws.uniform(-_MAX_ANGLE, _MAX_ANGLE)
    margin = 0.5 * radius
    centre = draws.uniform((margin, margin), (width - margin, height - margin))
    cos, sin = np.cos(angle), np.sin(angle)
    to_pixels = np.array([[cos, sin], [-sin, cos]]) * [[radius * stretch], [radius / stretch]]
    outline = _OUTLINES[CLASSES[label]] @ to_pixels + centre
    landmarks = _LANDMARKS[CLASSES[label]] @ to_pixels + centre
    x0, y0 = np.maximum(np.floor(outline.min(axis=0)), 0).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(outline.max(axis=0)), (width, height)).astype(int).tolist()
    mask = fill(outline, (x0, y0), (y1 - y0, x1 - x0))
    area = cv2.countNonZero(mask)
    if area < _MIN_INSIDE * FINE**2 * cv2.contourArea(outline.astype(np.float32)):
        return None
    return _Laid(label, outline, landmarks, x0, y0, x1, y1, mask, area)


def _cover(laid: list[_Laid], new: _Laid) -> list[np.ndarray] | None:
    """What stays visible of each figure under the new one, or None if that will not do."""
    rest = []
    for figure in laid:
        left = figure.visible
        x0, y0 = max(figure.x0, new.x0), max(figure.y0, new.y0)
        x1, y1 = min(figure.x1, new.x1), min(figure.y1, new.y1)
        if x0 < x1 and y0 < y1:
            common = (x0, y0, x1, y1)
            hidden = cv2.bitwise_and(figure.part(*common), new.part(*common))
            if cv2.countNonZero(hidden):
                left = left.copy()
                replace(figure, visible=left).part(*common)[hidden > 0] = 0
                if cv2.countNonZero(left) < _MIN_VISIBLE * figure.area or _has_hole(left):
                    return None
        rest.append(left)
    return rest


def _seen_keypoints(laid: list[_Laid], place: int, height: int, width: int) -> np.ndarray:
    """(K, 3) keypoints of one figure, with their visibility."""
    above = [figure.outline.astype(np.float32) for figure in laid[place + 1 :]]
    points = []
    for x, y in laid[place].landmarks:
        if not (0 <= x < width and 0 <= y < height):
            points.append((0.0, 0.0, 0.0))
            continue
        covered = any(cv2.pointPolygonTest(o, (float(x), float(y)), False) >= 0 for o in above)
        points.append((x, y, 1.0 if covered else 2.0))
    return np.array(points)


@lru_cache(maxsize=1024)
def lay_out(split: str, index: int) -> Scene:
    """The scene of an image.

    Args:
        split: "train" or "val".
        index: number of the image, from 0.
    """
    draws = scene_draws(split, index, purpose=0)
    height, width = _SIZES[draws.randint(len(_SIZES))]
    laid: list[_Laid] = []
    wanted = draws.randint(1, 7)
    for _ in range(wanted * _ATTEMPTS):
        if len(laid) == wanted:
            break
        new = _draw_figure(draws, height, width)
        rest = None if new is None else _cover(laid, new)
        if new is None or rest is None:
            continue
        for figure, visible in zip(laid, rest, strict=True):
            figure.visible = visible
        laid.append(new)
    figures = tuple(
        Figure(
            figure.label,
            figure.outline,
            _pieces(figure.visible, (figure.x0, figure.y0)),
            _seen_keypoints(laid, place, height, width),
        )
        for place, figure in enumerate(laid)
    )
    return Scene(height, width, figures)
