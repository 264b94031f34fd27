"""VideoVisualizer: frames of one video, in which an object keeps its colour."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from d2lite.structures import Boxes, Instances, pairwise_iou

from .canvas import VisImage
from .visualizer import ColorMode, Visualizer

# An object is the same if its boxes of two frames overlap this much.
_MIN_IOU = 0.5
# It is remembered for so many frames in which it was not detected.
_MEMORY = 8


@dataclass
class _Track:
    category: int
    box: torch.Tensor
    shade: int
    frames_unseen: int = 0


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
        self._tracks: list[_Track] = []
        self._next_shade = itertools.count()

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Instances) -> VisImage:
        """Draw the instances of the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            predictions: as those of `Visualizer.draw_instance_predictions`, with pred_boxes.
        """
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        if len(predictions) == 0:
            self._follow([], torch.zeros((0, 4)))
            return visualizer.get_output()
        boxes = predictions.pred_boxes.tensor.detach().cpu()
        classes = (
            predictions.pred_classes.tolist()
            if predictions.has("pred_classes")
            else [0] * len(boxes)
        )
        shades = self._follow(classes, boxes)
        return visualizer.draw_instances(predictions, shades)

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

    def _follow(self, classes: Sequence[int], boxes: torch.Tensor) -> list[int]:
        """The shade of each object: that of the object of earlier frames, or a new one."""
        known = torch.stack([t.box for t in self._tracks]) if self._tracks else boxes[:0]
        overlaps = pairwise_iou(Boxes(boxes), Boxes(known))
        categories = torch.tensor([t.category for t in self._tracks], dtype=torch.int64)
        overlaps[torch.tensor(classes, dtype=torch.int64)[:, None] != categories[None]] = 0
        match = [-1] * len(boxes)
        # The best pair first; then the other pairs of both are removed.
        while overlaps.numel() and overlaps.max() >= _MIN_IOU:
            new, old = divmod(int(overlaps.argmax()), overlaps.shape[1])
            match[new] = old
            overlaps[new], overlaps[:, old] = 0, 0
        seen = [
            _Track(
                category,
                box,
                self._tracks[old].shade if old >= 0 else next(self._next_shade),
            )
            for category, box, old in zip(classes, boxes, match, strict=True)
        ]
        unseen = [t for i, t in enumerate(self._tracks) if i not in match]
        for track in unseen:
            track.frames_unseen += 1
        self._tracks = seen + [t for t in unseen if t.frames_unseen <= _MEMORY]
        return [track.shade for track in seen]
