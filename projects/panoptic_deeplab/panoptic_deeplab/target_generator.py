"""PanopticDeepLabTargetGenerator: what the three branches learn of a map of segments.

H x W pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class PanopticDeepLabTargetGenerator:
    """Makes the targets of Panoptic-DeepLab of a panoptic annotation.

    Args:
        ignore_label: the class of pixels that have none.
        thing_ids: classes of objects.
        sigma: deviation, in pixels, of the Gaussian that marks a centre.
        ignore_stuff_in_offset: leave pixels of stuff out of the loss of offsets.
        small_instance_area: objects of fewer pixels have another weight in the semantic loss.
        small_instance_weight: that weight; all other pixels have 1.
        ignore_crowd_in_semantic: leave groups of objects ("iscrowd") out of the semantic loss.

    Source: Cheng 2020, arXiv:1911.10194, section 3.2 and appendix.
    """

    def __init__(
        self,
        ignore_label: int,
        thing_ids: Iterable[int],
        sigma: int = 8,
        ignore_stuff_in_offset: bool = False,
        small_instance_area: int = 0,
        small_instance_weight: float = 1,
        ignore_crowd_in_semantic: bool = False,
    ) -> None:
        self.ignore_label = ignore_label
        self.thing_ids = frozenset(thing_ids)
        self.ignore_stuff_in_offset = ignore_stuff_in_offset
        self.small_instance_area = small_instance_area
        self.small_instance_weight = small_instance_weight
        self.ignore_crowd_in_semantic = ignore_crowd_in_semantic
        self.radius = 3 * sigma + 1
        bell = np.exp(-(np.arange(-self.radius, self.radius + 1) ** 2) / (2 * sigma**2))
        self.bump = np.outer(bell, bell)

    def __call__(
        self, panoptic: np.ndarray, segments_info: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Make the targets of one image.

        Args:
            panoptic: (H, W) integer numbers of segments.
            segments_info: dicts with "id", "category_id" (class number) and "iscrowd". Segments
                without a pixel have no part in the targets; pixels without one are ignored.

        Returns:
            sem_seg: (H, W) int64 classes.
            center: (H, W) float32, Gaussians of height 1 at the centres of objects.
            center_points: [y, x] of each object, the means over its pixels.
            offset: (2, H, W) float32, from each pixel of an object down and right to its centre.
            sem_seg_weights, center_weights, offset_weights: (H, W) float32.
        """
        shape = panoptic.shape
        ids, where = np.unique(panoptic, return_inverse=True)
        where = where.reshape(shape)
        yy, xx = np.indices(shape)
        area = np.bincount(where.ravel(), minlength=len(ids))
        mean_y, mean_x = (
            np.bincount(where.ravel(), axis.ravel(), minlength=len(ids)) / np.maximum(area, 1)
            for axis in (yy, xx)
        )
        semantic = np.full(len(ids), self.ignore_label, dtype=np.int64)
        weights = np.ones(len(ids), dtype=np.float32)
        in_center, in_offset, is_thing = (np.zeros(len(ids), dtype=np.float32) for _ in range(3))
        row_of = {int(number): row for row, number in enumerate(ids)}
        center_points = []
        center = np.zeros(shape, dtype=np.float32)
        for segment in segments_info:
            row = row_of.get(segment["id"])
            if row is None:
                continue
            is_crowd, label = bool(segment.get("iscrowd", 0)), segment["category_id"]
            of_thing = label in self.thing_ids
            if not (is_crowd and self.ignore_crowd_in_semantic):
                semantic[row] = label
            in_center[row] = not is_crowd
            in_offset[row] = not is_crowd and (of_thing or not self.ignore_stuff_in_offset)
            if of_thing:
                is_thing[row] = True
                if area[row] < self.small_instance_area:
                    weights[row] = self.small_instance_weight
                center_points.append([float(mean_y[row]), float(mean_x[row])])
                self._draw_center_(center, round(mean_y[row]), round(mean_x[row]))
        offset = np.stack([mean_y[where] - yy, mean_x[where] - xx]) * is_thing[where]
        return {
            "sem_seg": torch.from_numpy(semantic[where]),
            "center": torch.from_numpy(center),
            "center_points": center_points,
            "offset": _floats(offset),
            "sem_seg_weights": _floats(weights[where]),
            "center_weights": _floats(in_center[where]),
            "offset_weights": _floats(in_offset[where]),
        }

    def _draw_center_(self, heat: np.ndarray, y: int, x: int) -> None:
        """Raise a (H, W) map, in place, to a Gaussian around a pixel."""
        top, left = y - self.radius, x - self.radius
        rows = slice(max(top, 0), min(top + len(self.bump), heat.shape[0]))
        columns = slice(max(left, 0), min(left + len(self.bump), heat.shape[1]))
        seen = self.bump[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        np.maximum(heat[rows, columns], seen, out=heat[rows, columns], casting="same_kind")


def _floats(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
