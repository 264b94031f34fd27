"""TextDrawing: texts and labels, in sizes and colours that fit the picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .canvas import VisImage
from .colormap import Color, ColorLike, change_brightness, contrast_color, parse_color
from .opencv import load_cv2
from .shapes import rotated
from .text import Rect, place_label, render_text

_PACKAGE = __name__.rpartition(".")[0]


class TextDrawing:
    """The texts of a `Visualizer`; coordinates are pixels of the original picture.

    Attributes:
        img: the picture, (H, W, 3) uint8 RGB.
        output: the canvas that is drawn on.
        metadata: names and colours of classes and keypoints.
    """

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata: Any = None,
        scale: float = 1.0,
        *,
        font_size_scale: float = 1.0,
    ) -> None:
        """Put a picture on a canvas.

        Args:
            img_rgb: (H, W, 3) RGB in [0, 255].
            metadata: an object whose attributes thing_classes, thing_colors, stuff_classes,
                stuff_colors, keypoint_names ... are used where they exist, as those of a dataset.
            scale: canvas pixels for each pixel of the picture.
            font_size_scale: factor on the size of all texts.
        """
        self.metadata = metadata
        self.output = VisImage(img_rgb, scale)
        self.img = self.output.img
        # Height of letters in canvas pixels; code of others reads and sets it.
        self._default_font_size: float = self.output.font_size(font_size_scale)
        self._label_rects: list[Rect] = []

    def get_output(self) -> VisImage:
        """The canvas with everything drawn so far."""
        return self.output

    def draw_text(
        self,
        text: str,
        position: Sequence[float],
        *,
        font_size: float | None = None,
        color: ColorLike = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write on a dark plate.

        Args:
            text: what to write; line breaks are kept.
            position: x and y of the text's upper edge.
            font_size: height of the letters in canvas pixels; by default follows the picture.
            color: of the letters, made brighter where it would not show on the plate.
            horizontal_alignment: which part of the text is at x: "left", "center", "right".
            rotation: degrees, counter-clockwise.

        Raises:
            ValueError: for an unknown alignment.
        """
        shares = {"left": 0.0, "center": 0.5, "right": 1.0}
        if horizontal_alignment not in shares:
            raise ValueError(
                f"horizontal_alignment='{horizontal_alignment}' is not one of {', '.join(shares)}."
            )
        size = max(round(font_size), 6) if font_size else self._font_size()
        letters = np.pad(render_text(text, size), ((0, 0), (size // 4, size // 4)))
        plate = np.full_like(letters, 0.75)
        if rotation:
            plate, letters = rotated(plate, rotation), rotated(letters, rotation)
        x = position[0] * self.output.scale - shares[horizontal_alignment] * letters.shape[1]
        corner = round(x), round(position[1] * self.output.scale)
        self.output.paint_coverage(plate, corner, (0.0, 0.0, 0.0))
        self.output.paint_coverage(letters, corner, _brightened(parse_color(color)))
        return self.output

    def _font_size(self, factor: float = 1.0) -> int:
        least = min(self._default_font_size, 11)
        return max(round(factor * self._default_font_size), round(least))

    def _is_overridden(self, name: str) -> bool:
        """Whether a subclass, or code that assigned to this object, replaced a method of ours."""
        module = getattr(getattr(self, name), "__module__", None) or ""
        return not module.startswith(_PACKAGE)

    def _change_color_brightness(
        self, color: ColorLike, brightness_factor: float
    ) -> tuple[float, ...]:
        """A lighter or darker colour, see `colormap.change_brightness`."""
        return change_brightness(parse_color(color), brightness_factor)

    def _label_color(self, color: Color) -> Color:
        """The colour of a label; ours is that of the object, since the letters contrast with it."""
        if not self._is_overridden("_change_color_brightness"):
            return color
        return parse_color(self._change_color_brightness(color, brightness_factor=0.7))

    def _draw_label(self, text: str, box: Sequence[float] | np.ndarray, color: Color) -> None:
        """Write a label on a plate of its object's colour, where the box leaves room."""
        object_height = (box[3] - box[1]) * self.output.scale
        # Labels of small objects are a little smaller, as they are often close together.
        size = self._font_size(0.85 if object_height < 4 * self._font_size() else 1.0)
        padding = max(size // 5, 2)
        letters = render_text(text, size)
        label_size = letters.shape[0] + padding // 2, letters.shape[1] + 2 * padding
        scaled = [float(v) * self.output.scale for v in box]
        rect = place_label(label_size, scaled, self.output.canvas_size, self._label_rects)
        self._label_rects.append(rect)
        if self._is_overridden("draw_text"):
            place = rect[0] / self.output.scale, rect[1] / self.output.scale
            options: dict[str, Any] = {"color": color, "horizontal_alignment": "left"}
            self.draw_text(text, place, font_size=size, **options)
            return
        self.output.paint_rect(rect, color, 0.88)
        corner = rect[0] + padding, rect[1] + padding // 4
        self.output.paint_coverage(letters, corner, contrast_color(color))

    def _draw_text_in_mask(self, binary_mask: np.ndarray, text: str, color: ColorLike) -> None:
        """Write at the place of a (H, W) mask that is farthest from its border."""
        cv2 = load_cv2()
        padded = np.pad(np.asarray(binary_mask, dtype=np.uint8), 1)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        size = self._font_size()
        letters = render_text(text, size)
        half_width = letters.shape[1] / 2 / self.output.scale
        half_height = letters.shape[0] / 2 / self.output.scale
        box = [x - half_width, y - half_height, x + half_width, y + half_height]
        self._draw_label(text, box, parse_color(color))


def _brightened(color: Color) -> Color:
    strongest = max(color)
    if strongest < 0.2:
        return (1.0, 1.0, 1.0)
    red, green, blue = (0.25 + 0.75 * v / strongest for v in color)
    return red, green, blue
