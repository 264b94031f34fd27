"""SegmentationDrawing: maps that give a class or a segment to every pixel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .canvas import VisImage
from .colormap import Color, ColorLike, class_color, shade
from .drawing import Drawing
from .inputs import numbers_in_class
from .text import label_text

_OFF_WHITE = (1.0, 1.0, 240.0 / 255)


class SegmentationDrawing(Drawing):
    """Draws semantic and panoptic maps; names and colours come from `metadata`."""

    def draw_sem_seg(
        self,
        sem_seg: torch.Tensor | np.ndarray,
        area_threshold: float | None = None,
        alpha: float = 0.8,
        draw_text: bool = True,
        edge_color: ColorLike = _OFF_WHITE,
    ) -> VisImage:
        """Draw a map of classes.

        Args:
            sem_seg: (H, W) class number of each pixel; numbers without a name are left out.
            area_threshold: parts of a class with fewer pixels are left out.
            alpha: opacity.
            draw_text: whether to write the names.
            edge_color: of the outlines.
        """
        classes = _to_numpy(sem_seg)
        numbers, areas = np.unique(classes, return_counts=True)
        num_named = len(self._metadata("stuff_classes") or ())
        for number in numbers[np.argsort(-areas)]:
            if number < 0 or (num_named and number >= num_named):
                continue
            name = self._class_name(int(number), is_thing=False)
            self.draw_binary_mask(
                classes == number,
                self._class_color(int(number), is_thing=False),
                edge_color=edge_color,
                text=name if draw_text else None,
                alpha=alpha,
                area_threshold=area_threshold or 0,
            )
        return self.output

    def draw_panoptic_seg(
        self,
        panoptic_seg: torch.Tensor | np.ndarray,
        segments_info: Sequence[dict[str, Any]] | None,
        area_threshold: float | None = None,
        alpha: float = 0.7,
    ) -> VisImage:
        """Draw a map of segments: stuff first, then things, each from large to small.

        Args:
            panoptic_seg: (H, W) segment id of each pixel; ids of no segment, as 0, are left out.
            segments_info: for each segment "id", "category_id", "isthing" and maybe "score"; None
                where the ids are category * metadata.label_divisor + number.
            area_threshold: parts of a segment with fewer pixels are left out.
            alpha: opacity.

        Raises:
            ValueError: if `segments_info` is None and the metadata has no label_divisor.
        """
        segments = _to_numpy(panoptic_seg)
        if segments_info is None:
            segments_info = self._segments_from_ids(segments)
        areas = dict(
            zip(*(a.tolist() for a in np.unique(segments, return_counts=True)), strict=True)
        )
        present = [info for info in segments_info if info["id"] in areas]
        present.sort(key=lambda info: (bool(info["isthing"]), -areas[info["id"]]))
        kinds = [(int(info["category_id"]), bool(info["isthing"])) for info in present]
        for info, kind, step in zip(present, kinds, numbers_in_class(kinds), strict=True):
            category, is_thing = kind
            color = self._class_color(category, is_thing=is_thing)
            name = self._class_name(category, is_thing=is_thing)
            self.draw_binary_mask(
                segments == info["id"],
                shade(color, step) if is_thing else color,
                edge_color=_OFF_WHITE,
                text=label_text(name, info.get("score"), bool(info.get("iscrowd"))),
                alpha=alpha,
                area_threshold=area_threshold or 0,
            )
        return self.output

    draw_panoptic_seg_predictions = draw_panoptic_seg

    def _segments_from_ids(self, segments: np.ndarray) -> list[dict[str, Any]]:
        divisor = self._metadata("label_divisor")
        if divisor is None:
            raise ValueError(
                "segments_info is None and the metadata has no label_divisor, so the class of a "
                "segment is unknown; pass segments_info."
            )
        # With separate numbers of things and stuff, those of the map are the dataset's.
        things = (self._metadata("thing_dataset_id_to_contiguous_id") or {}).values()
        infos = []
        for segment in np.unique(segments).tolist():
            category = segment // divisor
            if segment >= 0:
                infos.append(
                    {"id": segment, "category_id": category, "isthing": category in things}
                )
        return infos

    def _metadata(self, key: str) -> Any:
        return getattr(self.metadata, key, None)

    def _class_name(self, number: int, *, is_thing: bool) -> str:
        names = self._metadata("thing_classes" if is_thing else "stuff_classes") or ()
        return str(names[number]) if 0 <= number < len(names) else f"class {number}"

    def _class_color(self, number: int, *, is_thing: bool) -> Color:
        colors = self._metadata("thing_colors" if is_thing else "stuff_colors") or ()
        if 0 <= number < len(colors):
            red, green, blue = (min(max(float(v) / 255, 0.0), 1.0) for v in colors[number])
            return red, green, blue
        # Stuff begins at another row of the table, so that grass and person look different.
        return class_color(number if is_thing else number + 41)


def _to_numpy(values: torch.Tensor | np.ndarray) -> np.ndarray[Any, Any]:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
