"""The built-in images, second half: paint a scene.

Colour and texture say nothing about the class: a network has to look at the outline.
"""

import cv2
import numpy as np

from .scene import fill, lay_out, scene_draws

_SHADOW = 0.35  # darkness of the shadow that a figure throws on what is below


def paint(split: str, index: int) -> np.ndarray:
    """Draw one image.

    Args:
        split: "train" or "val".
        index: number of the image, from 0.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    scene = lay_out(split, index)
    draws = scene_draws(split, index, purpose=1)
    canvas = _background(draws, scene.height, scene.width)
    light = draws.uniform(0, 2 * np.pi)
    for figure in scene.figures:
        _lay_figure(canvas, figure.outline, draws, light)
    canvas += _three(_grain(draws, scene.height, scene.width) * np.float32(draws.uniform(3, 12)))
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _colour(
    draws: np.random.RandomState, saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    """(3,) float32 RGB of any hue."""
    hsv = [draws.uniform(0, 360), draws.uniform(*saturation), draws.uniform(*value)]
    rgb = cv2.cvtColor(np.array([[hsv]], dtype=np.float32), cv2.COLOR_HSV2RGB)
    return rgb[0, 0] * 255


def _three(plane: np.ndarray) -> np.ndarray:
    """(H, W) -> (H, W, 3): numpy is slow at spreading over a last axis of three."""
    return cv2.merge((plane, plane, plane))


def _mix(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 from one (3,) colour to another by (H, W) weights."""
    steps = zip(first, second - first, strict=True)
    return cv2.merge([weights * np.float32(step) + np.float32(start) for start, step in steps])


def _grain(draws: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """(H, W) float32 noise in about [-1, 1], pixel by pixel."""
    noise = np.frombuffer(draws.bytes(2 * height * width), dtype=np.uint8)
    first, second = noise.reshape(2, height, width).astype(np.float32)
    return (first + second) / 255 - 1


def _clouds(draws: np.random.RandomState, height: int, width: int, cells: int) -> np.ndarray:
    """(H, W) float32 soft blotches in about [0, 1]."""
    coarse = draws.uniform(0, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _wave(draws: np.random.RandomState, height: int, width: int, period: float) -> np.ndarray:
    """(H, W) float32 smooth stripes of any direction in [0, 1]."""
    angle, phase = draws.uniform(0, np.pi), draws.uniform(0, 2 * np.pi)
    step = np.float32(2 * np.pi / period)
    x = np.arange(width, dtype=np.float32) * (step * np.float32(np.cos(angle)))
    y = np.arange(height, dtype=np.float32) * (step * np.float32(np.sin(angle)))
    return np.sin(x[None, :] + y[:, None] + np.float32(phase)) / 2 + 0.5


def _pattern(draws: np.random.RandomState, height: int, width: int, scale: float) -> np.ndarray:
    """(H, W) float32 weights in about [0, 1] by which two colours are mixed."""
    kind = draws.randint(5)
    if kind == 0:
        return _wave(draws, height, width, 8 * max(height, width))  # a plain gradient
    if kind == 1:
        return _wave(draws, height, width, scale * draws.uniform(0.5, 1.5))
    if kind == 2:  # dots where two waves meet
        size = scale * draws.uniform(0.6, 1.2)
        both = _wave(draws, height, width, size) * _wave(draws, height, width, size)
        return np.clip(4 * both - 1, 0, 1)
    if kind == 3:
        return _clouds(draws, height, width, draws.randint(4, 12))
    return _grain(draws, height, width) / 2 + 0.5


def _background(draws: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """(H, W, 3) float32: muted colours, a texture, and lines that belong to no figure."""
    near, far, third = (_colour(draws, (0.05, 0.5), (0.2, 0.9)) for _ in range(3))
    canvas = _mix(near, far, _clouds(draws, height, width, draws.randint(2, 6)))
    share = np.float32(draws.uniform(0.1, 0.4)) * _pattern(draws, height, width, scale=24.0)
    canvas *= _three(1 - share)
    canvas += _mix(np.zeros(3), third, share)
    for _ in range(draws.randint(0, 7)):
        ends = draws.uniform(-0.2, 1.2, (2, 2)) * (width, height)
        start, stop = (tuple(int(v) for v in end) for end in ends)
        colour = tuple(float(v) for v in _colour(draws, (0.1, 0.7), (0.2, 0.95)))
        cv2.line(canvas, start, stop, colour, int(draws.randint(1, 4)), cv2.LINE_AA)
    return canvas


def _lay_figure(
    canvas: np.ndarray, outline: np.ndarray, draws: np.random.RandomState, light: float
) -> None:
    """Paint a figure and its shadow into the canvas, in place."""
    reach = 6  # room for the shadow
    height, width = canvas.shape[:2]
    x0, y0 = np.maximum(np.floor(outline.min(axis=0)).astype(int) - reach, 0).tolist()
    x1, y1 = np.ceil(outline.max(axis=0)).astype(int) + reach
    x1, y1 = min(int(x1), width), min(int(y1), height)
    part = canvas[y0:y1, x0:x1]
    size = (x1 - x0, y1 - y0)
    fine = fill(outline, (x0, y0), size[::-1])
    alpha = cv2.resize(fine, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    offset = np.array([[1, 0, 3 * np.cos(light)], [0, 1, 3 * np.sin(light)]], dtype=np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, offset, size), (7, 7), 0)
    part *= _three(1 - _SHADOW * shadow)

    face = _face(part, alpha, draws, size)
    # The side towards the light is brighter, and the rim a shade darker.
    rim = alpha - cv2.erode(alpha, np.ones((3, 3), np.uint8))
    face *= _three(1 - 0.18 * _lean(size, light) - np.float32(draws.uniform(0, 0.45)) * rim)
    part += (face - part) * _three(alpha)


def _face(
    part: np.ndarray, alpha: np.ndarray, draws: np.random.RandomState, size: tuple[int, int]
) -> np.ndarray:
    """(h, w, 3) float32 the figure's own surface, in a colour that stands out from below."""
    below = cv2.mean(part, mask=(alpha > 0.5).astype(np.uint8))[:3]
    for _ in range(8):
        base = _colour(draws, (0.35, 1.0), (0.35, 1.0))
        if np.abs(base - below).sum() > 120:
            break
    second = 0.55 * base + 0.45 * _colour(draws, (0.2, 1.0), (0.2, 1.0))
    weights = _pattern(draws, size[1], size[0], scale=14.0)
    return _mix(base, second, weights * np.float32(draws.uniform(0.1, 0.4)))


def _lean(size: tuple[int, int], light: float) -> np.ndarray:
    """(h, w) float32 from -1 on the side of the light to 1 on the far side."""
    x = np.linspace(-1, 1, size[0], dtype=np.float32) * np.float32(np.cos(light))
    y = np.linspace(-1, 1, size[1], dtype=np.float32) * np.float32(np.sin(light))
    return (x[None, :] + y[:, None]) / np.float32(1.42)
