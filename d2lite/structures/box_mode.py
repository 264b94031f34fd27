"""BoxMode: the ways to write a box as numbers, and the conversions between them."""

from collections.abc import Sequence
from enum import IntEnum, unique
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from d2lite.utils.errors import ArgumentError

BoxType = TypeVar("BoxType", list[float], tuple[float, ...], np.ndarray[Any, Any], Tensor)


@unique
class BoxMode(IntEnum):
    """What the numbers of a box mean; the values are those that datasets store."""

    XYXY_ABS = 0  # left, top, right, bottom in pixels
    XYWH_ABS = 1  # left, top, width, height in pixels
    XYXY_REL = 2  # as XYXY_ABS, as fractions of the image's width and height
    XYWH_REL = 3  # as XYWH_ABS, as fractions of the image's width and height
    XYWHA_ABS = 4  # centre x, centre y, width, height in pixels; degrees counter-clockwise

    @staticmethod
    def convert(box: BoxType, from_mode: "BoxMode | int", to_mode: "BoxMode | int") -> BoxType:
        """Convert boxes to another mode; the argument stays as it is.

        Args:
            box: one box as a list, tuple, (4,) or (5,) array or tensor, or N boxes as rows of an
                array or tensor.
            from_mode: the mode of `box`.
            to_mode: the mode of the result. A rotated box becomes the smallest upright box around
                it.

        Returns:
            The boxes, in the same kind of container.

        Raises:
            ArgumentError: if the number of columns does not fit the mode, a list holds more than
                one box, or a mode is relative to the image, whose size is not known here.
        """
        from_mode, to_mode = BoxMode(from_mode), BoxMode(to_mode)
        if from_mode == to_mode:
            return box
        columns = 5 if from_mode == BoxMode.XYWHA_ABS else 4
        # float64 keeps every digit that a JSON file has.
        values = box if isinstance(box, Tensor) else torch.from_numpy(np.array(box, order="C"))
        is_one = isinstance(box, list | tuple)
        if values.dim() not in (1, 1 if is_one else 2) or values.shape[-1] != columns:
            raise ArgumentError(
                f"Boxes of mode {from_mode.name} have shape {tuple(values.shape)}; give {columns} "
                f"numbers for each box{', and an array for several boxes' if is_one else ''}."
            )
        converted = _convert(values, from_mode, to_mode)
        if isinstance(box, Tensor):
            return converted
        if isinstance(box, np.ndarray):
            return converted.numpy()
        return cast("BoxType", type(cast("Sequence[float]", box))(converted.tolist()))  # type: ignore[call-arg]


def _convert(boxes: Tensor, from_mode: BoxMode, to_mode: BoxMode) -> Tensor:
    match from_mode, to_mode:
        case BoxMode.XYWH_ABS, BoxMode.XYXY_ABS:
            return _xywh_to_xyxy(boxes)
        case BoxMode.XYXY_ABS, BoxMode.XYWH_ABS:
            return _xyxy_to_xywh(boxes)
        case BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS:
            return _xywh_to_xywha(boxes)
        case BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS:
            return _xywh_to_xywha(_xyxy_to_xywh(boxes))
        case BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS:
            return _xywha_to_xyxy(boxes)
        case BoxMode.XYWHA_ABS, BoxMode.XYWH_ABS:
            return _xyxy_to_xywh(_xywha_to_xyxy(boxes))
    raise ArgumentError(
        f"Boxes cannot be converted from {from_mode.name} to {to_mode.name}: relative boxes need "
        "the image's size. Multiply them by its width and height and use the absolute mode."
    )


def _xywh_to_xyxy(boxes: Tensor) -> Tensor:
    corner, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([corner, corner + size], dim=-1)


def _xyxy_to_xywh(boxes: Tensor) -> Tensor:
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([low, high - low], dim=-1)


def _xywh_to_xywha(boxes: Tensor) -> Tensor:
    corner, size = boxes[..., :2], boxes[..., 2:]
    # A division, so that boxes of whole numbers keep their half pixels.
    centre = corner + size / 2
    return torch.cat([centre, size, torch.zeros_like(centre[..., :1])], dim=-1)


def _xywha_to_xyxy(boxes: Tensor) -> Tensor:
    exact = boxes.double()
    centre, size, angle = exact[..., :2], exact[..., 2:4], torch.deg2rad(exact[..., 4:])
    cos, sin = angle.cos().abs(), angle.sin().abs()
    half = (size * cos + size.flip(-1) * sin) / 2
    xyxy = torch.cat([centre - half, centre + half], dim=-1)
    return xyxy.to(boxes.dtype) if boxes.is_floating_point() else xyxy
