"""Transforms that move pixels along the axes: crop, pad, resize and extent.

Coordinates are continuous, (x, y) in pixels: pixel i spans [i, i + 1).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from fvcore.transforms import transform as fvcore_transform
from fvcore.transforms.transform import HFlipTransform, NoOpTransform, Transform
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize_image

from d2lite.utils.errors import DataError

from .polygon_clip import clip_polygon

_NEAREST = int(Image.Resampling.NEAREST)
_BILINEAR = int(Image.Resampling.BILINEAR)
# What Pillow's filters are called elsewhere; the others (box, Lanczos, Hamming) Pillow does itself.
_TORCH_MODES = {_BILINEAR: "bilinear", int(Image.Resampling.BICUBIC): "bicubic"}


class CropTransform(fvcore_transform.CropTransform):
    """Cut a rectangle out: x from x0 to x0 + w, y from y0 to y0 + h.

    `orig_w` and `orig_h`, the size before the crop, are needed for `inverse()` alone.
    """

    def apply_polygons(self, polygons: list[np.ndarray]) -> list[np.ndarray]:
        """Cut polygons with the rectangle; parts outside vanish, so the count may change.

        Args:
            polygons: each (P, 2) float, (x, y) in pixels of the image before the crop.

        Returns:
            Polygons, each (Q, 2) float64, in pixels of the cropped image.
        """
        # DIFFERS: fvcore needs shapely here, which is not a dependency of ours.
        corner = np.array([self.x0, self.y0], dtype=np.float64)
        window = (self.x0, self.y0, self.x0 + self.w, self.y0 + self.h)
        return [part - corner for polygon in polygons for part in clip_polygon(polygon, *window)]

    def inverse(self) -> Transform:
        """Pad back to the size before the crop.

        Raises:
            DataError: if that size was not given.
        """
        if self.orig_w is None or self.orig_h is None:
            raise DataError(
                "This crop does not know the size of the image it cut from; "
                "give CropTransform orig_w and orig_h to invert it."
            )
        right, bottom = self.orig_w - self.x0 - self.w, self.orig_h - self.y0 - self.h
        return PadTransform(self.x0, self.y0, right, bottom, orig_w=self.w, orig_h=self.h)


class PadTransform(fvcore_transform.PadTransform):
    """Add x0, y0, x1, y1 pixels of one value on the left, top, right and bottom."""

    def apply_mask(self, mask: np.ndarray) -> np.ndarray:
        """Pad an object's (H, W) mask with nothing, whatever class the padding has."""
        return np.pad(mask, ((self.y0, self.y1), (self.x0, self.x1)))

    def inverse(self) -> Transform:
        """Crop the padding off again.

        Raises:
            DataError: if the size before padding was not given.
        """
        if self.orig_w is None or self.orig_h is None:
            raise DataError(
                "This padding does not know the size of the image it was put around; "
                "give PadTransform orig_w and orig_h to invert it."
            )
        padded_w = self.x0 + self.orig_w + self.x1
        padded_h = self.y0 + self.orig_h + self.y1
        return CropTransform(self.x0, self.y0, self.orig_w, self.orig_h, padded_w, padded_h)


class ResizeTransform(Transform):
    """Resize to a given size, with Pillow's filters."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        """Store the two sizes.

        Args:
            h: height before, pixels.
            w: width before, pixels.
            new_h: height after.
            new_w: width after.
            interp: a filter of `PIL.Image.Resampling`; None means bilinear.
        """
        super().__init__()
        self.h, self.w, self.new_h, self.new_w = h, w, new_h, new_w
        self.interp = _BILINEAR if interp is None else int(interp)

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an image.

        uint8 images come out within one grey level of Pillow's (antialiased) result. Other
        dtypes are interpolated without antialiasing, as the reference does.

        Args:
            img: (h, w) or (h, w, C).
            interp: overrules the transform's own filter.

        Raises:
            DataError: if the image has another size, or its dtype does not go with the filter.
        """
        refuse_other_size(self, img)
        method = self.interp if interp is None else int(interp)
        if method == _NEAREST:
            return _resize_nearest(img, self.new_h, self.new_w)
        size = (self.new_h, self.new_w)
        mode = _TORCH_MODES.get(method)
        # torch's bicubic rounds differently between the two directions: 9 grey levels in noise.
        if mode is None or (mode == "bicubic" and img.dtype == np.uint8):
            return _per_channel_pillow(img, lambda plane: plane.resize(size[::-1], method))
        # Flips are views of negative stride and Pillow's arrays are read-only; torch takes neither.
        pixels = torch.from_numpy(np.require(img, requirements=["C", "W"]))
        planes = pixels[None] if img.ndim == 2 else pixels.permute(2, 0, 1)
        if img.dtype == np.uint8:
            resized = resize_image(planes, list(size), InterpolationMode.BILINEAR, antialias=True)
        else:
            exact = planes if planes.is_floating_point() else planes.to(torch.float64)
            resized = interpolate(exact[None], size, mode=mode, align_corners=False)[0]
        return _back_to_layout(resized, img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale (N, 2) coordinates: float ones in place, integers into a new float64 array."""
        if not np.issubdtype(coords.dtype, np.floating):
            coords = coords.astype(np.float64)
        # Further columns, such as the visibility of keypoints, stay.
        coords[:, :2] *= np.array([self.new_w / self.w, self.new_h / self.h], dtype=coords.dtype)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize a map of labels; no label appears that was not there."""
        return self.apply_image(segmentation, interp=_NEAREST)

    def inverse(self) -> Transform:
        """Resize back."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class ExtentTransform(Transform):
    """Take a rectangle of the image, which may reach beyond it, and stretch it to a size."""

    # What comes in from outside has no label; see `labels.transform_labels`.
    shows_outside = True

    def __init__(
        self,
        src_rect: Sequence[float],
        output_size: tuple[int, int],
        interp: int = _BILINEAR,
        fill: float = 0,
        *,
        seg_interp: int | None = None,
    ) -> None:
        """Store the rectangle and the size.

        Args:
            src_rect: x0, y0, x1, y1 in pixels.
            output_size: height and width after.
            interp: a filter of `PIL.Image.Resampling`.
            fill: grey level of what is outside the image.
            seg_interp: the filter for segmentations. None means `interp`, which the reference
                uses without saying so: right for masks of 0 and 1, but it blends class labels.
        """
        super().__init__()
        self.src_rect, self.output_size = src_rect, output_size
        self.interp, self.fill = int(interp), fill
        self.seg_interp = seg_interp

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Sample a (H, W) or (H, W, C) image; `interp` overrules the transform's filter."""
        return self._sample(img, self.interp if interp is None else int(interp), self.fill)

    def _sample(self, img: np.ndarray, method: int, fill: float) -> np.ndarray:
        size = (self.output_size[1], self.output_size[0])

        def sample(plane: Image.Image) -> Image.Image:
            return plane.transform(
                size, Image.Transform.EXTENT, tuple(self.src_rect), method, fillcolor=fill
            )

        return _per_channel_pillow(img, sample)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move (N, 2) coordinates into the new frame."""
        x0, y0, x1, y1 = self.src_rect
        out_h, out_w = self.output_size
        scale = np.array([out_w / (x1 - x0), out_h / (y1 - y0)])
        return (coords - np.array([x0, y0])) * scale

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Sample a (H, W) segmentation with `seg_interp`; 0 comes in from outside."""
        method = self.interp if self.seg_interp is None else int(self.seg_interp)
        return self._sample(segmentation, method, 0)


def _resize_nearest(img: np.ndarray, new_h: int, new_w: int) -> np.ndarray:
    """Pick for each new pixel the old one that holds its middle, exactly as Pillow does."""
    # Pillow adds the step up instead of multiplying it; the rounding is part of "exactly".
    steps = [np.full(new, old / new) for old, new in zip(img.shape, (new_h, new_w), strict=False)]
    for step in steps:
        step[0] *= 0.5
    rows, columns = (
        np.minimum(np.add.accumulate(step).astype(np.intp), old - 1)
        for step, old in zip(steps, img.shape, strict=False)
    )
    return img[rows][:, columns]


def _back_to_layout(planes: torch.Tensor, like: np.ndarray) -> np.ndarray:
    """(C, H, W) or (1, H, W) tensor to an array with the axes and the dtype of `like`."""
    array = (planes[0] if like.ndim == 2 else planes.permute(1, 2, 0)).numpy()
    if array.dtype == like.dtype:
        return np.ascontiguousarray(array)
    if np.issubdtype(like.dtype, np.integer):
        limits = np.iinfo(like.dtype)
        array = np.rint(array).clip(limits.min, limits.max)
    elif like.dtype == bool:
        array = array >= 0.5
    return np.ascontiguousarray(array.astype(like.dtype))


def _per_channel_pillow(
    img: np.ndarray, change: Callable[[Image.Image], Image.Image]
) -> np.ndarray:
    """Apply a function of Pillow images to an array of any number of channels."""
    if img.dtype == np.uint8 and (img.ndim == 2 or img.shape[2] == 3):
        return np.asarray(change(Image.fromarray(np.ascontiguousarray(img))))
    if img.ndim == 3:
        channels = [_per_channel_pillow(img[:, :, i], change) for i in range(img.shape[2])]
        return np.stack(channels, axis=2)
    if img.dtype == bool:
        return np.asarray(change(Image.fromarray(img.astype(np.uint8)))) > 0
    kind = np.int32 if np.issubdtype(img.dtype, np.integer) else np.float32
    return np.asarray(change(Image.fromarray(img.astype(kind)))).astype(img.dtype)


def refuse_other_size(transform: Any, img: np.ndarray) -> None:
    """Raise a DataError for an image of another size than a transform was made for, its h and w."""
    if img.shape[:2] != (transform.h, transform.w):
        raise DataError(
            f"{type(transform).__name__} was made for an image of height {transform.h} and width "
            f"{transform.w}, but got an array of shape {img.shape}."
        )


def HFlip_rotated_box(  # noqa: N802 - the reference's name
    transform: HFlipTransform, rotated_boxes: np.ndarray
) -> np.ndarray:
    """Flip rotated boxes left to right, in place.

    Args:
        transform: the flip.
        rotated_boxes: (N, 5), (cx, cy, w, h, counter-clockwise angle in degrees).
    """
    rotated_boxes[:, 0] = transform.width - rotated_boxes[:, 0]
    rotated_boxes[:, 4] *= -1
    return rotated_boxes


def Resize_rotated_box(  # noqa: N802 - the reference's name
    transform: ResizeTransform, rotated_boxes: np.ndarray
) -> np.ndarray:
    """Scale rotated boxes: float ones in place, integers into a new float64 array.

    Unequal factors make a rotated rectangle a parallelogram; the box keeps the scaled lengths of
    its two sides and the new direction of its height.

    Args:
        transform: the resizing.
        rotated_boxes: (N, 5), (cx, cy, w, h, counter-clockwise angle in degrees).
    """
    if not np.issubdtype(rotated_boxes.dtype, np.floating):
        rotated_boxes = rotated_boxes.astype(np.float64)
    scale = [transform.new_w / transform.w, transform.new_h / transform.h]
    stretch = np.array(scale, dtype=rotated_boxes.dtype)
    centres, sizes, degrees = np.split(rotated_boxes[:, :5], [2, 4], axis=1)
    turn = np.deg2rad(degrees)
    # Where a width and a height of 1 come to, in x and y.
    across = stretch * np.hstack([np.cos(turn), np.sin(turn)])
    along = stretch * np.hstack([np.sin(turn), np.cos(turn)])
    lengths = np.column_stack([np.hypot(*across.T), np.hypot(*along.T)])
    angles = np.rad2deg(np.arctan2(*along.T))
    rotated_boxes[:, :5] = np.column_stack([centres * stretch, sizes * lengths, angles])
    return rotated_boxes


def _rotated_box_by_points(transform: Transform, rotated_boxes: np.ndarray) -> np.ndarray:
    """Rotated boxes through any transform of points: exact where it is affine.

    As in resizing, a box keeps the new lengths of its sides and the new direction of its height.
    """
    boxes = np.asarray(rotated_boxes, dtype=np.float64).reshape(-1, 5)
    angle = np.deg2rad(boxes[:, 4])
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along_width = np.hstack([cos, -sin]) * boxes[:, 2:3] / 2
    along_height = np.hstack([sin, cos]) * boxes[:, 3:4] / 2
    ends = [
        boxes[:, :2] + side for side in (along_width, -along_width, along_height, -along_height)
    ]
    right, left, low, top = np.split(transform.apply_coords(np.concatenate(ends)), 4)
    width, height = right - left, low - top
    angles = np.rad2deg(np.arctan2(height[:, 0], height[:, 1]))
    sizes = [np.hypot(*side.T) for side in (width, height)]
    return np.column_stack([(low + top) / 2, *sizes, angles])


# For every transform that has no way of its own, also those of other packages.
Transform.register_type("rotated_box", _rotated_box_by_points)
HFlipTransform.register_type("rotated_box", HFlip_rotated_box)
NoOpTransform.register_type("rotated_box", lambda transform, rotated_boxes: rotated_boxes)
ResizeTransform.register_type("rotated_box", Resize_rotated_box)
