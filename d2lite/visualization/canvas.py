"""VisImage: a picture that shapes are drawn on.

Coordinates are pixels of the original picture, continuous (pixel i spans [i, i + 1)); the canvas
itself may be larger or smaller by a factor. Colours are (r, g, b) in [0, 1].
"""

import os
from typing import Any

import numpy as np

from d2lite.utils.errors import DataError

from .colormap import Color
from .matplotlib_axes import MatplotlibAxes
from .opencv import load_cv2
from .picture_file import write_picture
from .shapes import dashes, nonzero_window

_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel
_LEGIBLE_SIDE = 480  # pixels of the shorter side from which on labels leave room for the picture


def legible_scale(image: np.ndarray) -> float:
    """By how much to enlarge a picture so that names and scores do not cover what they name.

    Args:
        image: (H, W, ...) a picture.

    Returns:
        A whole number >= 1; 1 for pictures of 480 pixels and more on the shorter side, and for
        ones so long that they would grow beyond 4096.
    """
    short, long = sorted(image.shape[:2])
    wanted = -(-_LEGIBLE_SIDE // max(short, 1))
    return float(max(min(wanted, 4096 // max(long, 1)), 1))


class VisImage:
    """A canvas: the picture scaled once, and everything drawn on it.

    Attributes:
        img: the original picture, (H, W, 3) uint8 RGB.
        scale: canvas pixels for each pixel of the picture.
        width: of the original picture, in pixels.
        height: of the original picture, in pixels.
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        """Scale the picture to the canvas.

        Args:
            img: (H, W, 3) RGB in [0, 255].
            scale: canvas pixels for each pixel of the picture, > 0.

        Raises:
            DataError: if the picture is not H x W x 3, or the scale not positive.
        """
        if scale <= 0:
            raise DataError(f"scale={scale} gives no picture; use a number above 0.")
        self.scale = scale
        self._axes: MatplotlibAxes | None = None
        self.reset_image(img)

    def reset_image(self, img: np.ndarray) -> None:
        """Put another picture on the canvas; what was drawn is gone.

        Args:
            img: (H, W, 3) RGB in [0, 255]; (H, W) and (H, W, 1) are grey.
        """
        img = np.asarray(img)
        if img.ndim == 2 or img.shape[2:] == (1,):
            img = np.repeat(img.reshape(*img.shape[:2], 1), 3, axis=2)
        if img.ndim != 3 or img.shape[2] != 3 or 0 in img.shape:
            raise DataError(
                f"a picture has shape (height, width, 3), not {img.shape}. "
                "A tensor of a model is (3, height, width): use image.permute(1, 2, 0)."
            )
        self.img = img.clip(0, 255).astype(np.uint8) if img.dtype != np.uint8 else img
        self.height, self.width = img.shape[:2]
        if self.scale == 1.0:
            self._canvas = self.img.copy()
            return
        size = max(round(self.width * self.scale), 1), max(round(self.height * self.scale), 1)
        cv2 = load_cv2()
        method = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_CUBIC
        self._canvas = cv2.resize(np.ascontiguousarray(self.img), size, interpolation=method)

    @property
    def canvas_size(self) -> tuple[int, int]:
        """(height, width) of what `get_image` returns."""
        return self._canvas.shape[0], self._canvas.shape[1]

    def get_image(self) -> np.ndarray:
        """The picture with all that was drawn: (H * scale, W * scale, 3) uint8 RGB."""
        image = self._canvas.copy()
        return image if self._axes is None else self._axes.lay_over(image)

    @property
    def ax(self) -> Any:
        """Matplotlib's axes over the picture, for code that draws on them.

        What is drawn there is above all else. They need the package matplotlib once they are used.
        """
        if self._axes is None:
            size = self.width, self.height, self.scale
            self._axes = MatplotlibAxes(*size, picture=lambda: self._canvas)
        return self._axes.ax

    @property
    def fig(self) -> Any:
        """Matplotlib's figure of `ax`; saved or shown, it has the picture too."""
        return self.ax.figure

    @property
    def canvas(self) -> Any:
        """Matplotlib's canvas of `fig`, such as for `canvas.print_to_buffer()`."""
        return self.fig.canvas

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write the picture to a file whose ending names the format.

        Args:
            filepath: for instance "out/picture.jpg"; the folder is made where it is missing.

        Raises:
            OutputError: if the ending is unknown or the file cannot be written.
        """
        write_picture(filepath, self.get_image())

    def stroke_width(self, thickness: float = 1.0) -> int:
        """Line width in canvas pixels: grows with the picture, so that it looks the same."""
        return max(round(thickness * float(np.sqrt(np.prod(self.canvas_size))) / 290), 1)

    def font_size(self, factor: float = 1.0) -> int:
        """Height of letters in canvas pixels: grows with the picture, never below readable."""
        return max(round(factor * float(np.sqrt(np.prod(self.canvas_size))) / 42), 11)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        # cv2 puts the centre of pixel i at i, we at i + 0.5.
        scaled = np.asarray(points, dtype=np.float64).reshape(-1, 2) * self.scale - 0.5
        return np.round(scaled * (1 << _SHIFT)).astype(np.int32)

    def draw_polyline(
        self,
        points: np.ndarray,
        color: Color,
        width: int,
        *,
        closed: bool = False,
        dashed: bool = False,
        alpha: float = 1.0,
    ) -> None:
        """Draw straight lines through points.

        Args:
            points: (N, 2) x and y.
            color: of the line.
            width: in canvas pixels.
            closed: whether the last point joins the first.
            dashed: draw dashes, six widths long.
            alpha: opacity in [0, 1].
        """
        cv2 = load_cv2()
        points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        if dashed:
            parts = dashes(points, closed, 6 * width / self.scale)
            closed = False
        else:
            parts = [points]
        target = self._canvas if alpha >= 1 else self._canvas.copy()
        cv2.polylines(
            target,
            [self._fixed(part) for part in parts],
            closed,
            _to_255(color),
            width,
            cv2.LINE_AA,
            _SHIFT,
        )
        if alpha < 1:
            cv2.addWeighted(target, alpha, self._canvas, 1 - alpha, 0, dst=self._canvas)

    def draw_rectangle(
        self,
        box: np.ndarray,
        color: Color,
        width: int,
        *,
        dashed: bool = False,
        alpha: float = 1.0,
    ) -> None:
        """Outline a box.

        Args:
            box: xyxy.
            color: of the line.
            width: in canvas pixels.
            dashed: draw dashes.
            alpha: opacity in [0, 1].
        """
        x0, y0, x1, y1 = np.asarray(box, dtype=np.float64)
        if dashed:
            corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
            self.draw_polyline(corners, color, width, closed=True, dashed=True, alpha=alpha)
            return
        # Four bands of whole pixels: OpenCV's lines blur over their neighbours, and sides at the
        # picture's border would be lost.
        limit = np.array(self.canvas_size[::-1])
        low = np.clip(np.round(np.array([x0, y0]) * self.scale), 0, limit - 1).astype(int)
        high = np.clip(np.round(np.array([x1, y1]) * self.scale), low + 1, limit).astype(int)
        inner_low, inner_high = low + width, np.maximum(high - width, low + width)
        (left, top), (right, bottom) = low, high
        self.paint_rect((left, top, right, min(inner_low[1], bottom)), color, alpha)
        self.paint_rect((left, inner_high[1], right, bottom), color, alpha)
        self.paint_rect((left, inner_low[1], min(inner_low[0], right), inner_high[1]), color, alpha)
        self.paint_rect((inner_high[0], inner_low[1], right, inner_high[1]), color, alpha)

    def draw_disc(self, center: tuple[float, float], radius: float, color: Color) -> None:
        """Fill a circle.

        Args:
            center: x and y.
            radius: in canvas pixels.
            color: of the disc.
        """
        cv2 = load_cv2()
        point = tuple(int(v) for v in self._fixed(np.array(center))[0])
        cv2.circle(
            self._canvas,
            point,
            round(radius * (1 << _SHIFT)),
            _to_255(color),
            -1,
            cv2.LINE_AA,
            _SHIFT,
        )

    def fill_polygon(self, points: np.ndarray, color: Color, alpha: float) -> None:
        """Fill a polygon.

        Args:
            points: (N, 2) x and y.
            color: of the area.
            alpha: opacity in [0, 1].
        """
        cv2 = load_cv2()
        coverage = np.zeros(self.canvas_size, dtype=np.uint8)
        cv2.fillPoly(coverage, [self._fixed(points)], 255, cv2.LINE_AA, _SHIFT)
        self._blend(coverage, color, alpha)

    def fill_mask(
        self, mask: np.ndarray, color: Color, alpha: float, *, sharp: bool = False
    ) -> None:
        """Fill the pixels of a mask.

        Args:
            mask: (H, W) of the original picture: bool, or opacity in [0, 1].
            color: of the area.
            alpha: opacity of a full pixel, in [0, 1].
            sharp: keep the mask's pixels on a larger canvas, where others are smoothed.

        Raises:
            DataError: if the mask has another size than the picture.
        """
        if mask.shape != (self.height, self.width):
            raise DataError(
                f"a mask of shape {mask.shape} does not fit a picture of "
                f"{(self.height, self.width)}."
            )
        coverage = (np.asarray(mask, dtype=np.float32) * 255).round().astype(np.uint8)
        if self.scale != 1.0:
            height, width = self.canvas_size
            cv2 = load_cv2()
            method = cv2.INTER_NEAREST if sharp else cv2.INTER_LINEAR
            coverage = cv2.resize(coverage, (width, height), interpolation=method)
        self._blend(coverage, color, alpha)

    def _blend(self, coverage: np.ndarray, color: Color, alpha: float) -> None:
        window = nonzero_window(coverage)
        if window is None:
            return
        self._mix(window, color, coverage[window].astype(np.float32)[:, :, None] * (alpha / 255))

    def _mix(self, window: tuple[slice, slice], color: Color, opacity: np.ndarray | float) -> None:
        part = self._canvas[window].astype(np.float32)
        part += (np.array(_to_255(color), dtype=np.float32) - part) * opacity
        self._canvas[window] = part.round().astype(np.uint8)

    def paint_rect(self, rect: tuple[int, int, int, int], color: Color, alpha: float) -> None:
        """Fill a rectangle given in canvas pixels (x0, y0, x1, y1; the last two outside)."""
        x0, y0, x1, y1 = (max(v, 0) for v in rect)
        self._mix((slice(y0, y1), slice(x0, x1)), color, alpha)

    def paint_coverage(self, coverage: np.ndarray, corner: tuple[int, int], color: Color) -> None:
        """Lay a colour over the canvas with the given opacity.

        Args:
            coverage: (h, w) float opacity in [0, 1].
            corner: x and y of its upper left corner, canvas pixels; may be outside.
            color: of full pixels.
        """
        x, y = corner
        height, width = self.canvas_size
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + coverage.shape[1], width), min(y + coverage.shape[0], height)
        if x0 < x1 and y0 < y1:
            opacity = coverage[y0 - y : y1 - y, x0 - x : x1 - x, None]
            self._mix((slice(y0, y1), slice(x0, x1)), color, opacity)


def _to_255(color: Color) -> tuple[int, int, int]:
    red, green, blue = (round(v * 255) for v in color)
    return red, green, blue
