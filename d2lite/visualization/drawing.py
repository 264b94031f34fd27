"""Drawing: single shapes and texts, in sizes and colours that fit the picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .canvas import VisImage
from .colormap import (
    Color,
    ColorLike,
    change_brightness,
    class_color,
    contrast_color,
    parse_color,
)
from .generic_mask import GenericMask
from .opencv import load_cv2
from .shapes import rotated, without_specks
from .text import Rect, place_label, render_text

_LINE_STYLES = {"-": False, "solid": False, "--": True, "-.": True, ":": True, "dashed": True}


class Drawing:
    """The single shapes of a `Visualizer`; coordinates are pixels of the original picture.

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

    def draw_box(
        self,
        box_coord: Sequence[float] | np.ndarray,
        alpha: float = 0.5,
        edge_color: ColorLike = "g",
        line_style: str = "-",
    ) -> VisImage:
        """Outline a box.

        Args:
            box_coord: xyxy.
            alpha: opacity of the line.
            edge_color: colour of the line.
            line_style: "-" or "--".
        """
        self.output.draw_rectangle(
            np.asarray(box_coord, dtype=np.float64),
            parse_color(edge_color),
            self.output.stroke_width(),
            dashed=_is_dashed(line_style),
            alpha=alpha,
        )
        return self.output

    def draw_rotated_box_with_label(
        self,
        rotated_box: Sequence[float],
        alpha: float = 0.5,
        edge_color: ColorLike = "g",
        line_style: str = "-",
        label: str | None = None,
    ) -> VisImage:
        """Outline a rotated box; its upper side is thicker, so that the angle can be seen.

        Args:
            rotated_box: centre x, centre y, width, height, degrees counter-clockwise.
            alpha: opacity of the line.
            edge_color: colour of the line.
            line_style: "-" or "--".
            label: text at its uppermost corner.
        """
        center_x, center_y, width, height, angle = (float(v) for v in rotated_box)
        cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        # y points down, so a counter-clockwise rotation has this sign.
        turn = np.array([[cosine, -sine], [sine, cosine]])
        unit = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        corners = unit * [width, height] @ turn + [center_x, center_y]
        color = parse_color(edge_color)
        thin = self.output.stroke_width()
        dashed = _is_dashed(line_style)
        self.output.draw_polyline(corners, color, thin, closed=True, dashed=dashed, alpha=alpha)
        self.output.draw_polyline(corners[:2], color, 2 * thin, dashed=dashed, alpha=alpha)
        if label:
            top = corners[corners[:, 1].argmin()]
            self._draw_label(label, [*top, *top], self._label_color(color))
        return self.output

    def draw_circle(
        self, circle_coord: Sequence[float], color: ColorLike, radius: float = 3
    ) -> VisImage:
        """Fill a circle.

        Args:
            circle_coord: x and y of its centre.
            color: of the disc.
            radius: in canvas pixels.
        """
        x, y = circle_coord
        self.output.draw_disc((x, y), radius, parse_color(color))
        return self.output

    def draw_line(
        self,
        x_data: Sequence[float],
        y_data: Sequence[float],
        color: ColorLike,
        linestyle: str = "-",
        linewidth: float | None = None,
    ) -> VisImage:
        """Draw straight lines through points.

        Args:
            x_data: of the points.
            y_data: of the points.
            color: of the line.
            linestyle: "-" or "--".
            linewidth: in canvas pixels; by default follows the picture.
        """
        width = max(round(linewidth), 1) if linewidth else self.output.stroke_width()
        points = np.stack([np.asarray(x_data), np.asarray(y_data)], axis=1)
        dashed = _is_dashed(linestyle)
        self.output.draw_polyline(points, parse_color(color), width, dashed=dashed)
        return self.output

    def draw_polygon(
        self,
        segment: np.ndarray,
        color: ColorLike,
        edge_color: ColorLike | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Fill and outline a polygon.

        Args:
            segment: (N, 2) x and y.
            color: of the area.
            edge_color: of the outline; by default `color`, or a darker one where the area is
                nearly opaque.
            alpha: opacity of the area.
        """
        fill = parse_color(color)
        edge = parse_color(edge_color) if edge_color is not None else self._outline(fill, alpha)
        self.output.fill_polygon(segment, fill, alpha)
        self.output.draw_polyline(segment, edge, self.output.stroke_width(0.6), closed=True)
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: np.ndarray,
        color: ColorLike | None = None,
        *,
        edge_color: ColorLike | None = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: float = 10,
    ) -> VisImage:
        """Fill and outline the pixels of a mask, without its holes.

        The area of a mask with holes keeps its sharp pixels and has no outline by default.

        Args:
            binary_mask: (H, W) of 0 and 1.
            color: of the area; by default the first colour of the table.
            edge_color: of the outline; by default as in `draw_polygon`.
            text: written at the innermost place of each large part.
            alpha: opacity of the area.
            area_threshold: parts of fewer pixels are left out.
        """
        fill = class_color(0) if color is None else parse_color(color)
        mask = np.asarray(binary_mask).astype(np.uint8)
        if area_threshold > 0:
            mask = without_specks(mask, area_threshold)
        shape = GenericMask(mask, *mask.shape)
        polygons = [polygon.reshape(-1, 2) for polygon in shape.polygons]
        if not shape.has_holes and self._is_overridden("draw_polygon"):
            for polygon in polygons:
                self.draw_polygon(polygon, color=fill, edge_color=edge_color, alpha=alpha)
        else:
            self.output.fill_mask(mask, fill, alpha, sharp=shape.has_holes)
            edge = self._outline(fill, alpha) if edge_color is None else parse_color(edge_color)
            if shape.has_holes and edge_color is None:
                polygons = []
            for polygon in polygons:
                width = self.output.stroke_width(0.6)
                self.output.draw_polyline(polygon, edge, width, closed=True)
        if text and mask.any():
            self._draw_text_in_mask(mask, text, self._label_color(fill))
        return self.output

    def draw_soft_mask(
        self,
        soft_mask: np.ndarray,
        color: ColorLike | None = None,
        *,
        text: str | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Blend a colour over the picture, with the mask as opacity.

        Args:
            soft_mask: (H, W) in [0, 1].
            color: of the area; by default the first colour of the table.
            text: written at the innermost place of the part above 0.5.
            alpha: opacity where the mask is 1.
        """
        fill = class_color(0) if color is None else parse_color(color)
        self.output.fill_mask(np.asarray(soft_mask, dtype=np.float32), fill, alpha)
        inside = (np.asarray(soft_mask) > 0.5).astype(np.uint8)
        if text and inside.any():
            self._draw_text_in_mask(inside, text, self._label_color(fill))
        return self.output

    def _font_size(self, factor: float = 1.0) -> int:
        least = min(self._default_font_size, 11)
        return max(round(factor * self._default_font_size), round(least))

    def _is_overridden(self, name: str) -> bool:
        """Whether a subclass, or code that assigned to this object, replaced a method of ours."""
        method = getattr(self, name)
        return getattr(method, "__func__", method) is not getattr(Drawing, name)

    def _change_color_brightness(
        self, color: ColorLike, brightness_factor: float
    ) -> tuple[float, ...]:
        """A lighter or darker colour, see `colormap.change_brightness`."""
        return change_brightness(parse_color(color), brightness_factor)

    def _outline(self, color: Color, alpha: float) -> Color:
        """The border's colour: the fill's own where that is transparent, else a darker one."""
        if alpha <= 0.6:
            return color
        return parse_color(self._change_color_brightness(color, brightness_factor=-0.35))

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

    def _draw_text_in_mask(self, binary_mask: np.ndarray, text: str, color: Color) -> None:
        """Write at the place of a (H, W) mask that is farthest from its border."""
        cv2 = load_cv2()
        padded = np.pad(np.asarray(binary_mask, dtype=np.uint8), 1)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        size = self._font_size()
        letters = render_text(text, size)
        half_width = letters.shape[1] / 2 / self.output.scale
        half_height = letters.shape[0] / 2 / self.output.scale
        self._draw_label(
            text, [x - half_width, y - half_height, x + half_width, y + half_height], color
        )


def _is_dashed(line_style: str) -> bool:
    if line_style not in _LINE_STYLES:
        raise ValueError(f"line style '{line_style}' is not one of {', '.join(_LINE_STYLES)}.")
    return _LINE_STYLES[line_style]


def _brightened(color: Color) -> Color:
    strongest = max(color)
    if strongest < 0.2:
        return (1.0, 1.0, 1.0)
    red, green, blue = (0.25 + 0.75 * v / strongest for v in color)
    return red, green, blue
