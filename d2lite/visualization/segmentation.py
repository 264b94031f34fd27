"""SegmentationDrawing: maps that give a class or a segment to every pixel."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from d2lite.utils.errors import DataError

from .canvas import VisImage
from .colormap import Color, ColorLike, class_color, parse_color, shade
from .drawing import Drawing
from .text import label_text

_OFF_WHITE = (1.0, 1.0, 240.0 / 255)

# The rest of detectron2's constants, which subclasses of Visualizer import; areas are in pixels.
_BLACK = (0, 0, 0)
_RED = (1.0, 0, 0)
_SMALL_OBJECT_AREA_THRESH = 1000
_LARGE_MASK_AREA_THRESH = 120_000


class SegmentationDrawing(Drawing):
    """Draws semantic and panoptic maps; names and colours come from `metadata`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """See `Drawing`."""
        super().__init__(*args, **kwargs)
        self._times_jittered: Counter[Color] = Counter()

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
        num_named = len(self._metadata("stuff_classes"))
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
            DataError: if `segments_info` is None and the metadata has no label_divisor.
        """
        prediction = _PanopticPrediction(panoptic_seg, segments_info, self.metadata)
        masks = [*prediction.semantic_masks(), *prediction.instance_masks()]
        for mask, info in masks:
            category, is_thing = int(info["category_id"]), bool(info["isthing"])
            color = self._class_color(category, is_thing=is_thing)
            name = self._class_name(category, is_thing=is_thing)
            self.draw_binary_mask(
                mask,
                parse_color(self._jitter(color)) if is_thing else color,
                edge_color=_OFF_WHITE,
                text=label_text(name, info.get("score"), bool(info.get("iscrowd"))),
                alpha=alpha,
                area_threshold=area_threshold or 0,
            )
        return self.output

    def draw_panoptic_seg_predictions(
        self,
        panoptic_seg: torch.Tensor | np.ndarray,
        segments_info: Sequence[dict[str, Any]] | None,
        area_threshold: float | None = None,
        alpha: float = 0.7,
    ) -> VisImage:
        """Old name of `draw_panoptic_seg`."""
        return self.draw_panoptic_seg(panoptic_seg, segments_info, area_threshold, alpha)

    def _jitter(self, color: ColorLike) -> tuple[float, ...]:
        """A neighbour of a colour, another one at each call; the first is the colour itself."""
        start = parse_color(color)
        step = self._times_jittered[start]
        self._times_jittered[start] += 1
        return shade(start, step)

    def _metadata(self, key: str) -> Any:
        found = getattr(self.metadata, key, None)
        # People keep names in an array, too, which has no truth value.
        return () if found is None else found

    def _class_name(self, number: int, *, is_thing: bool) -> str:
        names = self._metadata("thing_classes" if is_thing else "stuff_classes")
        return str(names[number]) if 0 <= number < len(names) else f"class {number}"

    def _class_color(self, number: int, *, is_thing: bool) -> Color:
        if is_thing:
            return thing_color(self.metadata, number)
        # Stuff begins at another row of the table, so that grass and person look different.
        return _color(self._metadata("stuff_colors"), number) or class_color(number + 41)


def thing_color(metadata: Any, number: int) -> Color:
    """The colour of a class of things: the metadata's, or one of the table.

    Args:
        metadata: see `Drawing`.
        number: of the class.
    """
    return _color(getattr(metadata, "thing_colors", None), number) or class_color(number)


def _color(colors: Sequence[Sequence[float]] | None, number: int) -> Color | None:
    if colors is None or not 0 <= number < len(colors):
        return None
    red, green, blue = (min(max(float(v) / 255, 0.0), 1.0) for v in colors[number])
    return red, green, blue


class _PanopticPrediction:
    """A map of segments as one mask for each segment."""

    def __init__(
        self,
        panoptic_seg: torch.Tensor | np.ndarray,
        segments_info: Sequence[dict[str, Any]] | None,
        metadata: Any = None,
    ) -> None:
        """Measure the segments.

        Args:
            panoptic_seg: (H, W) segment id of each pixel.
            segments_info: see `SegmentationDrawing.draw_panoptic_seg`.
            metadata: needed where `segments_info` is None.

        Raises:
            DataError: if `segments_info` is None and the metadata has no label_divisor.
        """
        self._seg = _to_numpy(panoptic_seg)
        ids, areas = np.unique(self._seg, return_counts=True)
        self._areas = dict(zip(ids.tolist(), areas.tolist(), strict=True))
        if segments_info is None:
            segments_info = segments_from_ids(self._areas, metadata)
        present = [info for info in segments_info if info["id"] in self._areas]
        self._infos = sorted(present, key=lambda info: -self._areas[info["id"]])

    def non_empty_mask(self) -> np.ndarray:
        """(H, W) bool: the pixels that belong to a segment."""
        return np.isin(self._seg, [info["id"] for info in self._infos])

    def semantic_masks(self) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """(H, W) bool mask and info of each segment of stuff, the largest first."""
        return self._masks(is_thing=False)

    def instance_masks(self) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """(H, W) bool mask and info of each thing, the largest first."""
        return self._masks(is_thing=True)

    def _masks(self, *, is_thing: bool) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        for info in self._infos:
            if bool(info["isthing"]) == is_thing:
                yield self._seg == info["id"], info


def segments_from_ids(ids: Iterable[int], metadata: Any) -> list[dict[str, Any]]:
    """The segments of a map of category * metadata.label_divisor + number.

    Args:
        ids: in the map; negative ones are of no segment.
        metadata: of the dataset.

    Returns:
        For each segment "id", "category_id" and "isthing".

    Raises:
        DataError: if the metadata has no label_divisor.
    """
    divisor = getattr(metadata, "label_divisor", None)
    if divisor is None:
        raise DataError(
            "segments_info is None and the metadata has no label_divisor, so the class of a "
            "segment is unknown; pass segments_info."
        )
    # With separate numbers of things and stuff, those of the map are the dataset's.
    things = (getattr(metadata, "thing_dataset_id_to_contiguous_id", None) or {}).values()
    categories = {segment: segment // divisor for segment in ids if segment >= 0}
    return [
        {"id": segment, "category_id": category, "isthing": category in things}
        for segment, category in categories.items()
    ]


def _to_numpy(values: torch.Tensor | np.ndarray) -> np.ndarray[Any, Any]:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
