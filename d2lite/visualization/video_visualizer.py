"""VideoVisualizer: frames of one video, in which an object keeps its colour."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from d2lite.structures import Boxes, Instances, pairwise_iou

from .canvas import VisImage
from .colormap import Color, shade
from .inputs import extents_of, to_array, to_generic_masks, to_list
from .segmentation import thing_color
from .visualizer import ColorMode, Visualizer

# An object is the same if its boxes of two frames overlap this much.
_MIN_IOU = 0.5
# It is remembered for so many frames in which it was not detected.
_MEMORY = 8


@dataclass(eq=False)
class _DetectedInstance:
    """An object of a frame.

    Attributes:
        label: its class number.
        bbox: (4,) float, xyxy in pixels; None if it has none.
        mask_rle: its COCO run-length code; None if it has none.
        color: (r, g, b) in [0, 1]; None before one is assigned.
        ttl: for how many further frames it is remembered while it is not detected.
    """

    label: int
    bbox: np.ndarray | None
    mask_rle: Any
    color: tuple[float, ...] | None
    ttl: int = _MEMORY


class VideoVisualizer:
    """Draws predictions on the frames of a video, in their order."""

    def __init__(self, metadata: Any, instance_mode: ColorMode = ColorMode.IMAGE) -> None:
        """Start a video.

        Args:
            metadata: as that of `Visualizer`.
            instance_mode: how instances are coloured.
        """
        self.metadata = metadata
        self._instance_mode = instance_mode
        self._old_instances: list[_DetectedInstance] = []
        self._next_shade = itertools.count()
        self._color_of_id: dict[Any, tuple[float, ...]] = {}

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Instances) -> VisImage:
        """Draw the instances of the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            predictions: as those of `Visualizer.draw_instance_predictions`, with pred_boxes,
                pred_masks or pred_keypoints.
        """
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        if len(predictions) == 0:
            self._assign_colors([])
            return visualizer.get_output()
        fields = predictions.get_fields()
        if "COLOR" in fields:
            return visualizer.draw_instances(predictions, list(fields["COLOR"]))
        if "ID" in fields:
            return visualizer.draw_instances(predictions, self._assign_colors_by_id(predictions))
        boxes, masks, points = (
            fields.get(f"pred_{kind}") for kind in ("boxes", "masks", "keypoints")
        )
        boxes = extents_of(
            None if boxes is None else to_array(boxes),
            None if masks is None else to_generic_masks(masks, *frame.shape[:2]),
            None if points is None else to_array(points),
        )
        classes = to_list(fields.get("pred_classes")) or [0] * len(boxes)
        detected = [
            _DetectedInstance(label, box, mask_rle=None, color=None)
            for label, box in zip(classes, boxes, strict=True)
        ]
        return visualizer.draw_instances(predictions, self._assign_colors(detected))

    def draw_sem_seg(
        self,
        frame: np.ndarray,
        sem_seg: torch.Tensor | np.ndarray,
        area_threshold: float | None = None,
    ) -> VisImage:
        """Draw the semantic map of the next frame; see `Visualizer.draw_sem_seg`."""
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        return visualizer.draw_sem_seg(sem_seg, area_threshold)

    def draw_panoptic_seg_predictions(
        self,
        frame: np.ndarray,
        panoptic_seg: torch.Tensor | np.ndarray,
        segments_info: Sequence[dict[str, Any]] | None,
        area_threshold: float | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw the segments of the next frame; see `Visualizer.draw_panoptic_seg`."""
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        return visualizer.draw_panoptic_seg(panoptic_seg, segments_info, area_threshold, alpha)

    def _assign_colors(self, instances: list[_DetectedInstance]) -> list[tuple[float, ...]]:
        """The colour of each object: that of the object of earlier frames, or a new one.

        Args:
            instances: all objects of the next frame; their colours are set.
        """
        old = self._old_instances
        overlaps = pairwise_iou(_boxes_of(instances), _boxes_of(old))
        labels, known = (torch.tensor([o.label for o in objects]) for objects in (instances, old))
        overlaps[labels[:, None] != known[None]] = 0
        seen = set()
        # The best pair first; then the other pairs of both are removed.
        while overlaps.numel() and overlaps.max() >= _MIN_IOU:
            new, match = divmod(int(overlaps.argmax()), overlaps.shape[1])
            instances[new].color = old[match].color
            seen.add(match)
            overlaps[new], overlaps[:, match] = 0, 0
        unseen = [instance for i, instance in enumerate(old) if i not in seen]
        for instance in unseen:
            instance.ttl -= 1
        self._old_instances = instances + [o for o in unseen if o.ttl >= 0]
        colors = []
        for instance in instances:
            if instance.color is None:
                instance.color = self._new_color(instance.label)
            colors.append(instance.color)
        return colors

    def _assign_colors_by_id(self, instances: Instances) -> list[tuple[float, ...]]:
        """The colour of each object, by its ID from a tracker.

        Args:
            instances: with a field ID, one number an object.
        """
        classes = to_list(instances.get_fields().get("pred_classes")) or [0] * len(instances)
        for number, label in zip(instances.ID, classes, strict=True):
            if int(number) not in self._color_of_id:
                self._color_of_id[int(number)] = self._new_color(label)
        return [self._color_of_id[int(number)] for number in instances.ID]

    def _new_color(self, label: int) -> Color:
        color = thing_color(self.metadata, label)
        if self._instance_mode is ColorMode.SEGMENTATION:
            return color
        return shade(color, next(self._next_shade))


def _boxes_of(instances: Sequence[_DetectedInstance]) -> Boxes:
    return Boxes(torch.tensor(np.array([i.bbox for i in instances]).reshape(-1, 4)).float())
