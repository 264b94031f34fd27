"""Boxes: N upright boxes of one image, and measures between sets of them.

Coordinates are continuous: pixel i spans [i, i + 1), so a box of the whole image is
(0, 0, width, height) and a width is x1 - x0. This holds in all of d2lite.
N, M boxes, P points.
"""

from typing import Any

import torch
from torch import Tensor

from d2lite.utils.errors import ArgumentError

from .box_mode import BoxMode

__all__ = [
    "BoxMode",
    "Boxes",
    "matched_pairwise_iou",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_point_box_distance",
]


def read_boxes(values: Tensor, columns: int, meaning: str) -> Tensor:
    """Boxes as float32 (N, columns).

    Args:
        values: a tensor, or anything that `torch.as_tensor` reads; N may be 0.
        columns: numbers of a box.
        meaning: of the columns, for the message.

    Raises:
        ArgumentError: if the shape is another.
    """
    # In a trace, as_tensor makes constants of tensors.
    boxes = (values if isinstance(values, Tensor) else torch.as_tensor(values)).to(torch.float32)
    if boxes.numel() == 0:
        # An empty list has no second axis.
        boxes = boxes.reshape(0, columns)
    if boxes.dim() != 2 or boxes.shape[1] != columns:
        raise ArgumentError(
            f"boxes have shape {list(boxes.shape)}; give (N, {columns}): {meaning}."
        )
    return boxes


def pick_rows(boxes: Tensor, item: Tensor) -> Tensor:
    """Rows of (N, columns) numbers as (M, columns); see `Boxes.__getitem__`."""
    picked = boxes[item]
    if isinstance(item, int):
        picked = picked[None]
    if picked.dim() != 2:
        raise ArgumentError(f"an index picks boxes of shape {list(picked.shape)}; pick rows.")
    return picked


class Boxes:
    """N boxes as a float32 (N, 4) tensor: x0, y0, x1, y1 in pixels.

    TorchScript compiles this class; so its annotations say what it reads there.

    Attributes:
        tensor: the (N, 4) tensor.
    """

    def __init__(self, tensor: Tensor) -> None:
        """Wrap boxes.

        Args:
            tensor: (N, 4) tensor, or anything that `torch.as_tensor` reads; N may be 0.

        Raises:
            ArgumentError: if the shape is another.
        """
        self.tensor = read_boxes(tensor, 4, "x0, y0, x1, y1")

    def _like(self, tensor: Tensor) -> "Boxes":
        """Boxes of the same class; TorchScript cannot take the class of an object."""
        return Boxes(tensor)

    def clone(self) -> "Boxes":
        """A copy that shares no memory."""
        return self._like(self.tensor.clone())

    def to(self, device: torch.device, non_blocking: bool = False) -> "Boxes":
        """The same boxes on another device; `non_blocking` as in `Tensor.to`."""
        return self._like(self.tensor.to(device=device, non_blocking=non_blocking))

    def area(self) -> Tensor:
        """(N,) float32 areas in square pixels."""
        width, height = (self.tensor[:, 2:] - self.tensor[:, :2]).unbind(1)
        return width * height

    def clip(self, box_size: tuple[int, int]) -> None:
        """Cut these boxes to an image; `tensor` becomes a new one.

        Args:
            box_size: (height, width) of the image.
        """
        height, width = box_size
        x0, y0, x1, y1 = self.tensor.unbind(1)
        xs = [x.clamp(min=0, max=width) for x in (x0, x1)]
        ys = [y.clamp(min=0, max=height) for y in (y0, y1)]
        self.tensor = torch.stack([xs[0], ys[0], xs[1], ys[1]], 1)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """(N,) bool: whether both sides are longer than `threshold` pixels."""
        return (self.tensor[:, 2:] - self.tensor[:, :2] > threshold).all(dim=1)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: float = 0) -> Tensor:
        """Which boxes are inside an image.

        Args:
            box_size: (height, width) of the image.
            boundary_threshold: by how many pixels a box may reach beyond it.

        Returns:
            (N,) bool.
        """
        height, width = box_size
        x0, y0, x1, y1 = self.tensor.unbind(1)
        low_fits = (x0 >= -boundary_threshold) & (y0 >= -boundary_threshold)
        return low_fits & (x1 < width + boundary_threshold) & (y1 < height + boundary_threshold)

    def get_centers(self) -> Tensor:
        """(N, 2) x, y of the centres."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply the coordinates, in the memory of `tensor`: x by `scale_x`, y by `scale_y`."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    def __getitem__(self, item: Tensor) -> "Boxes":
        """Pick boxes by an integer (one box), a slice, a bool mask or indices.

        Raises:
            ArgumentError: if the index picks other than whole boxes.
        """
        return self._like(pick_rows(self.tensor, item))

    def __len__(self) -> int:
        """How many boxes there are."""
        return int(self.tensor.shape[0])

    @torch.jit.unused
    def __iter__(self) -> Any:
        """Each box as a tensor of one axis."""
        yield from self.tensor

    @torch.jit.unused
    def __repr__(self) -> str:
        """The numbers."""
        return f"{type(self).__name__}({self.tensor})"

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self.tensor.device

    @classmethod
    def cat(cls, boxes_list: list["Boxes"]) -> "Boxes":
        """All boxes of a list in one, copied; no boxes on the CPU for an empty list."""
        tensors = [boxes.tensor for boxes in boxes_list]
        return cls(torch.cat(tensors) if len(tensors) > 0 else torch.zeros(0))


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) areas that boxes of two sets share, in square pixels."""
    first, second = boxes1.tensor[:, None], boxes2.tensor
    high = torch.minimum(first[..., 2:], second[:, 2:])
    low = torch.maximum(first[..., :2], second[:, :2])
    return (high - low).clamp(min=0).prod(dim=2)


def _share(intersection: Tensor, whole: Tensor) -> Tensor:
    # Boxes without area share nothing, where the division gives NaN.
    return torch.where(intersection > 0, intersection / whole, torch.zeros_like(intersection))


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) intersection over union of boxes of two sets, in [0, 1]."""
    shared = pairwise_intersection(boxes1, boxes2)
    return _share(shared, boxes1.area()[:, None] + boxes2.area() - shared)


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) intersection over the area of the second box, in [0, 1]."""
    shared = pairwise_intersection(boxes1, boxes2)
    return _share(shared, boxes2.area().expand_as(shared))


def pairwise_point_box_distance(points: Tensor, boxes: Boxes) -> Tensor:
    """How far points are from the sides of boxes.

    Args:
        points: (P, 2) x, y.
        boxes: M boxes.

    Returns:
        (P, M, 4) distances to left, top, right and bottom; negative where the point is outside.
    """
    from_low = points[:, None] - boxes.tensor[:, :2]
    to_high = boxes.tensor[:, 2:] - points[:, None]
    return torch.cat([from_low, to_high], dim=2)


def matched_pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N,) intersection over union of boxes that are matched by row.

    Raises:
        ArgumentError: if one set has more boxes than the other.
    """
    if len(boxes1) != len(boxes2):
        raise ArgumentError(
            f"matched_pairwise_iou got {len(boxes1)} and {len(boxes2)} boxes; give equally many."
        )
    high = torch.minimum(boxes1.tensor[:, 2:], boxes2.tensor[:, 2:])
    low = torch.maximum(boxes1.tensor[:, :2], boxes2.tensor[:, :2])
    shared = (high - low).clamp(min=0).prod(dim=1)
    return _share(shared, boxes1.area() + boxes2.area() - shared)
