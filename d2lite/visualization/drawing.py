"""Drawing: single shapes, in sizes and colours that fit the picture."""

from collections.abc import Sequence

import numpy as np

from .canvas import VisImage
from .colormap import Color, ColorLike, class_color, parse_color
from .generic_mask import GenericMask
from .shapes import rotated_corners, without_specks
from .text_drawing import TextDrawing

_LINE_STYLES = {"-": False, "solid": False, "--": True, "-.": True, ":": True, "dashed": True}


class Drawing(TextDrawing):
    """The single shapes of a `Visualizer`; coordinates are pixels of the original picture."""

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
        corners = rotated_corners(np.array([[float(v) for v in rotated_box]]))[0]
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

    def _outline(self, color: Color, alpha: float) -> Color:
        """The border's colour: the fill's own where that is transparent, else a darker one."""
        if alpha <= 0.6:
            return color
        return parse_color(self._change_color_brightness(color, brightness_factor=-0.35))


def _is_dashed(line_style: str) -> bool:
    if line_style not in _LINE_STYLES:
        raise ValueError(f"line style '{line_style}' is not one of {', '.join(_LINE_STYLES)}.")
    return _LINE_STYLES[line_style]
