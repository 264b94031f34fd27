"""PolygonMasks: the masks of objects as polygons, drawn only when asked.

N objects; `polygons` says what a polygon is.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2lite.utils.errors import ArgumentError, InputTypeError

from ..boxes import Boxes
from .polygons import polygon_area, rasterize_polygons_within_box

Polygon = NDArray[np.float64]


class PolygonMasks:
    """The masks of N objects of one image, each a list of polygons.

    They are always in the memory of the CPU.

    Attributes:
        polygons: N lists of float64 arrays x0, y0, x1, y1, ...
    """

    def __init__(
        self, polygons: Sequence[Sequence[Tensor | NDArray[Any] | Sequence[float]]]
    ) -> None:
        """Wrap polygons.

        Args:
            polygons: for each object, its polygons. An object may have none.

        Raises:
            InputTypeError: if it is not a list of lists.
            ValueError: if a polygon has less than three corners or half a corner.
        """
        if not isinstance(polygons, (list, tuple)):
            raise InputTypeError(
                f"PolygonMasks got a {type(polygons).__name__}; "
                "give a list with the list of polygons of each object."
            )
        self.polygons = [_read_object(i, parts) for i, parts in enumerate(polygons)]

    def to(self, *args: Any, **kwargs: Any) -> "PolygonMasks":
        """The masks themselves: polygons stay on the CPU."""
        return self

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def __len__(self) -> int:
        """How many objects there are."""
        return len(self.polygons)

    def __iter__(self) -> Iterator[list[Polygon]]:
        """The polygons of each object."""
        return iter(self.polygons)

    def __getitem__(self, item: int | slice | Sequence[int] | Tensor) -> "PolygonMasks":
        """Pick objects by an integer (one object), a slice, a bool mask or indices.

        Raises:
            ValueError: if a mask or indices have more than one axis.
            IndexError: if a mask is not of length N.
        """
        if isinstance(item, int):
            return self._wrap([self.polygons[item]])
        if isinstance(item, slice):
            return self._wrap(self.polygons[item])
        rows = torch.as_tensor(item)
        if rows.dim() != 1:
            raise ValueError(
                f"PolygonMasks got an index of shape {tuple(rows.shape)}; give one axis."
            )
        if rows.dtype == torch.bool:
            if len(rows) != len(self):
                raise IndexError(
                    f"A mask of {len(rows)} cannot pick from {len(self)} objects; "
                    "give one entry for each."
                )
            rows = rows.nonzero()[:, 0]
        return self._wrap([self.polygons[i] for i in rows.tolist()])

    @classmethod
    def _wrap(cls, polygons: list[list[Polygon]]) -> "PolygonMasks":
        """Masks of polygons that were read already, so that picking costs no check."""
        masks = cls([])
        masks.polygons = polygons
        return masks

    def __repr__(self) -> str:
        """How many there are."""
        return f"PolygonMasks(num_instances={len(self)})"

    def nonempty(self) -> Tensor:
        """(N,) bool: whether an object has a polygon."""
        return torch.tensor([len(parts) > 0 for parts in self.polygons], dtype=torch.bool)

    def area(self) -> Tensor:
        """(N,) float32 areas in square pixels; where polygons overlap, both count."""
        areas = [sum(polygon_area(p[0::2], p[1::2]) for p in parts) for parts in self.polygons]
        return torch.tensor(areas, dtype=torch.float32)

    def get_bounding_boxes(self) -> Boxes:
        """The tight box of each object's corners; all zeros for one without polygons."""
        boxes = np.zeros((len(self), 4))
        for box, parts in zip(boxes, self.polygons, strict=True):
            if parts:
                corners = np.concatenate(parts).reshape(-1, 2)
                box[:2], box[2:] = corners.min(axis=0), corners.max(axis=0)
        return Boxes(torch.from_numpy(boxes))

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """What the boxes show of the objects, stretched to squares: the target of a mask head.

        Args:
            boxes: (N, 4) xyxy in pixels, one for each object.
            mask_size: side of the result, in cells.

        Returns:
            (N, mask_size, mask_size) bool, on the device of the boxes.

        Raises:
            ArgumentError: if there are not as many boxes as objects.
        """
        if len(boxes) != len(self):
            raise ArgumentError(
                f"{len(self)} objects got {len(boxes)} boxes; give one for each object."
            )
        drawn = torch.zeros((len(self), mask_size, mask_size), dtype=torch.bool)
        # One transfer to the CPU for all boxes, one back for all masks.
        corners = boxes.detach().cpu().numpy()
        for target, parts, box in zip(drawn, self.polygons, corners, strict=True):
            target.copy_(rasterize_polygons_within_box(parts, box, mask_size))
        return drawn.to(boxes.device, non_blocking=boxes.is_cuda)

    @staticmethod
    def cat(polymasks_list: "Sequence[PolygonMasks]") -> "PolygonMasks":
        """All objects of a list in one."""
        return PolygonMasks._wrap(list(chain.from_iterable(m.polygons for m in polymasks_list)))


def _read_object(index: int, parts: Any) -> list[Polygon]:
    if not isinstance(parts, (list, tuple)):
        raise InputTypeError(
            f"Object {index} of PolygonMasks is a {type(parts).__name__}; "
            "give the list of its polygons."
        )
    return [_read_polygon(index, part) for part in parts]


def _read_polygon(index: int, part: Any) -> Polygon:
    numbers = part.detach().cpu().numpy() if isinstance(part, Tensor) else part
    polygon = np.asarray(numbers, dtype=np.float64).reshape(-1)
    if len(polygon) % 2 or len(polygon) < 6:
        raise ValueError(
            f"Object {index} has a polygon of {len(polygon)} numbers; "
            "give x and y of at least three corners."
        )
    return polygon
