"""Visualizer: pictures of predictions and of dataset dicts."""

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from d2lite.structures import Instances

from .canvas import VisImage
from .colormap import Color, ColorLike, parse_color
from .generic_mask import GenericMask
from .inputs import (
    annotation_boxes,
    annotation_keypoints,
    common_length,
    extents_of,
    fields_of,
    has_area,
    pixels_inside,
    read_map,
    to_array,
    to_generic_masks,
    to_list,
)
from .keypoints import _KEYPOINT_THRESHOLD, draw_keypoint_skeleton
from .segmentation import SegmentationDrawing, _PanopticPrediction
from .text import _create_text_labels, label_text


class ColorMode(enum.Enum):
    """How instances are coloured.

    IMAGE: by class, in a shade of its own for each instance.
    SEGMENTATION: by class, all instances of a class alike.
    IMAGE_BW: as IMAGE, with everything outside the instances in grey.
    """

    IMAGE = 0
    SEGMENTATION = 1
    IMAGE_BW = 2


class Visualizer(SegmentationDrawing):
    """Draws predictions or annotations on their picture; `get_output()` gives the result."""

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata: Any = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ) -> None:
        """Put a picture on a canvas.

        Args:
            img_rgb: (H, W, 3) RGB in [0, 255].
            metadata: names and colours, see `Drawing`.
            scale: canvas pixels for each pixel of the picture.
            instance_mode: how instances are coloured.
            font_size_scale: factor on the size of all texts.
        """
        super().__init__(img_rgb, metadata, scale, font_size_scale=font_size_scale)
        self._instance_mode = instance_mode
        self.cpu_device = torch.device("cpu")
        self.keypoint_threshold = _KEYPOINT_THRESHOLD

    def draw_instance_predictions(self, predictions: Instances, jittering: bool = True) -> VisImage:
        """Draw a model's instances.

        Args:
            predictions: with any of pred_boxes, scores, pred_classes, pred_masks (N, H, W) in the
                picture's size, pred_keypoints (N, K, 3).
            jittering: whether instances of a class get shades of their own.
        """
        fields = fields_of(predictions)
        if not fields:
            return self.output
        classes = to_list(fields.get("pred_classes"))
        colors = self._instance_colors(classes or [0] * len(predictions), jittering=jittering)
        return self.draw_instances(predictions, colors)

    def draw_instances(self, predictions: Instances, colors: Sequence[ColorLike]) -> VisImage:
        """Draw a model's instances in given colours.

        Args:
            predictions: see `draw_instance_predictions`.
            colors: of each instance.
        """
        fields = predictions.get_fields()
        classes = to_list(fields.get("pred_classes"))
        masks = fields.get("pred_masks")
        if masks is not None:
            masks = to_generic_masks(masks, self.output.height, self.output.width)
        if self._instance_mode is ColorMode.IMAGE_BW:
            self._grey_outside(masks, fields.get("pred_boxes"))
        scores, names = to_list(fields.get("scores")), self._metadata("thing_classes")
        return self.overlay_instances(
            boxes=fields.get("pred_boxes"),
            labels=_create_text_labels(classes, scores, names),
            masks=masks,
            keypoints=fields.get("pred_keypoints"),
            assigned_colors=colors,
            alpha=0.8 if self._instance_mode is ColorMode.SEGMENTATION else 0.45,
        )

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the ground truth of one dataset dict.

        Args:
            dic: in the dataset format: "annotations" and maybe "sem_seg_file_name" or "sem_seg",
                "pan_seg_file_name" or "pan_seg" with "segments_info".
        """
        annotations = dic.get("annotations") or []
        if annotations:
            self._draw_annotations(annotations)
        sem_seg = dic.get("sem_seg")
        if sem_seg is None and dic.get("sem_seg_file_name"):
            sem_seg = read_map(dic["sem_seg_file_name"])
        if sem_seg is not None:
            self.draw_sem_seg(sem_seg, area_threshold=0, alpha=0.5)
        segments = dic.get("pan_seg")
        if segments is None and dic.get("pan_seg_file_name"):
            digits = read_map(dic["pan_seg_file_name"], "RGB")
            # A panoptic PNG holds the segment id in base 256, red the lowest digit.
            segments = digits.astype(np.int64) @ np.array([1, 256, 256**2])
        if segments is not None:
            self.draw_panoptic_seg(segments, dic["segments_info"], area_threshold=0, alpha=0.5)
        return self.output

    def _draw_annotations(self, annotations: Sequence[dict[str, Any]]) -> None:
        classes = [a.get("category_id", 0) for a in annotations]
        labels = [
            label_text(self._class_name(number, is_thing=True), None, bool(a.get("iscrowd")))
            for number, a in zip(classes, annotations, strict=True)
        ]
        masks = None
        if any(has_area(a.get("segmentation")) for a in annotations):
            masks = [
                a["segmentation"] if has_area(a.get("segmentation")) else [] for a in annotations
            ]
        self.overlay_instances(
            boxes=annotation_boxes(annotations),
            labels=labels,
            masks=masks,
            keypoints=annotation_keypoints(annotations),
            assigned_colors=self._instance_colors(classes, jittering=True),
        )

    def overlay_instances(
        self,
        *,
        boxes: Any = None,
        labels: Sequence[str] | None = None,
        masks: Any = None,
        keypoints: Any = None,
        assigned_colors: Sequence[ColorLike] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw N instances: first areas, then outlines and keypoints, then labels.

        Args:
            boxes: N boxes, xyxy or (centre x, centre y, width, height, degrees): `Boxes`,
                `RotatedBoxes`, array or tensor.
            labels: N texts.
            masks: N masks: `BitMasks`, `PolygonMasks`, (N, H, W) array or tensor, or a list of
                bitmaps, lists of polygons, run-length codes or `GenericMask`s.
            keypoints: (N, K, 3) x, y, visibility: `Keypoints`, array or tensor.
            assigned_colors: N colours; by default the first N of the table.
            alpha: opacity of the areas.

        Raises:
            ValueError: if the numbers of boxes, labels, masks ... differ.
        """
        box_array = None if boxes is None else self._convert_boxes(boxes)
        shapes = None if masks is None else self._convert_masks(masks)
        points = None if keypoints is None else self._convert_keypoints(keypoints)
        count = common_length(
            boxes=box_array, labels=labels, masks=shapes, keypoints=points, colors=assigned_colors
        )
        if count == 0:
            return self.output
        if assigned_colors is None:
            assigned_colors = self._instance_colors(range(count))
        colors = [parse_color(color) for color in assigned_colors]
        if box_array is not None and box_array.shape[1] == 5:
            return self.overlay_rotated_instances(box_array, labels, colors)
        extents = extents_of(box_array, shapes, points)
        # Large ones first, so that they do not cover small ones.
        order = np.argsort(
            -np.prod(extents[:, 2:] - extents[:, :2], axis=1), kind="stable"
        ).tolist()
        for i in order:
            if shapes is not None:
                self._draw_mask(shapes[i], colors[i], alpha)
        for i in order:
            if box_array is not None:
                self.draw_box(box_array[i], alpha=1.0, edge_color=colors[i])
            if points is not None:
                self.draw_and_connect_keypoints(points[i])
        # Small objects have the fewest places for a label, so theirs are placed first.
        for i in reversed(order):
            if labels is not None and labels[i]:
                color = self._label_color(colors[i])
                if box_array is None and shapes is not None and shapes[i].mask.any():
                    self._draw_text_in_mask(shapes[i].mask, labels[i], color)
                else:
                    self._draw_label(labels[i], extents[i], color)
        return self.output

    def overlay_rotated_instances(
        self,
        boxes: Any = None,
        labels: Sequence[str] | None = None,
        assigned_colors: Sequence[ColorLike] | None = None,
    ) -> VisImage:
        """Draw N rotated boxes, the largest first.

        Args:
            boxes: (N, 5) centre x, centre y, width, height, degrees counter-clockwise.
            labels: N texts.
            assigned_colors: N colours; by default the first N of the table.
        """
        box_array = np.zeros((0, 5)) if boxes is None else to_array(boxes)
        common_length(boxes=box_array, labels=labels, colors=assigned_colors)
        if assigned_colors is None:
            assigned_colors = self._instance_colors(range(len(box_array)))
        for i in np.argsort(-box_array[:, 2] * box_array[:, 3], kind="stable").tolist():
            self.draw_rotated_box_with_label(
                box_array[i],
                1.0,
                assigned_colors[i],
                label=labels[i] if labels is not None else None,
            )
        return self.output

    def draw_and_connect_keypoints(self, keypoints: Any) -> VisImage:
        """Draw one object's keypoints and the lines of the metadata's keypoint_connection_rules.

        Args:
            keypoints: (K, 3) x, y and visibility or score.
        """
        draw_keypoint_skeleton(
            self,
            to_array(keypoints),
            self._metadata("keypoint_names"),
            self._metadata("keypoint_connection_rules"),
            threshold=self.keypoint_threshold,
        )
        return self.output

    def _draw_mask(self, shape: GenericMask, color: Color, alpha: float) -> None:
        if shape.mask.any():
            self.draw_binary_mask(shape.mask, color, alpha=alpha, area_threshold=0)

    def _grey_outside(self, masks: list[GenericMask] | None, boxes: Any) -> None:
        inside = pixels_inside(masks, boxes, *self.img.shape[:2])
        self.output.reset_image(self._create_grayscale_image(inside))

    def _create_grayscale_image(self, mask: np.ndarray | None = None) -> np.ndarray:
        """The picture in grey, (H, W, 3) uint8, with its colours where the (H, W) mask is True."""
        grey = self.img.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        grey_rgb = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
        return grey_rgb if mask is None else np.where(mask[:, :, None], self.img, grey_rgb)

    def draw_panoptic_seg(
        self,
        panoptic_seg: torch.Tensor | np.ndarray,
        segments_info: Sequence[dict[str, Any]] | None,
        area_threshold: float | None = None,
        alpha: float = 0.7,
    ) -> VisImage:
        """Draw a map of segments, see `SegmentationDrawing`; IMAGE_BW greys what is in none."""
        if self._instance_mode is ColorMode.IMAGE_BW:
            prediction = _PanopticPrediction(panoptic_seg, segments_info, self.metadata)
            self.output.reset_image(self._create_grayscale_image(prediction.non_empty_mask()))
        return super().draw_panoptic_seg(panoptic_seg, segments_info, area_threshold, alpha)

    def _convert_boxes(self, boxes: Any) -> np.ndarray:
        """(N, 4) or (N, 5) float64 boxes, of any form that `overlay_instances` takes."""
        return to_array(boxes)

    def _convert_masks(self, masks_or_polygons: Any) -> list[GenericMask]:
        """N masks, of any form that `overlay_instances` takes."""
        return to_generic_masks(masks_or_polygons, self.output.height, self.output.width)

    def _convert_keypoints(self, keypoints: Any) -> np.ndarray:
        """(N, K, 3) float64 keypoints, of any form that `overlay_instances` takes."""
        return to_array(keypoints)

    def _jitter(self, color: ColorLike) -> tuple[float, ...]:
        """A neighbour of a colour, see `SegmentationDrawing`; the same one with SEGMENTATION."""
        if self._instance_mode is ColorMode.SEGMENTATION:
            return parse_color(color)
        return super()._jitter(color)

    def _instance_colors(self, classes: Sequence[int], *, jittering: bool = False) -> list[Color]:
        colors = [self._class_color(int(number), is_thing=True) for number in classes]
        return [parse_color(self._jitter(color)) for color in colors] if jittering else colors
