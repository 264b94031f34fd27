"""The views of an image in test-time augmentation: sizes of it, and their mirror images."""

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import resize_image

from d2lite.config import CfgNode, configurable
from d2lite.utils.errors import ConfigError
from d2lite.utils.file_io import PathManager

from .view_transform import Size, ViewTransform


class DatasetMapperTTA:
    """Make the views of an image: every size, and each of them mirrored too.

    Args:
        min_sizes: wanted lengths of the shorter side, in pixels.
        max_size: no side gets longer.
        flip: add a horizontally mirrored view of every size.
    """

    @configurable
    def __init__(self, min_sizes: list[int], max_size: int, flip: bool) -> None:
        if len(min_sizes) == 0 or min(*min_sizes, max_size) < 1:
            raise ConfigError(
                f"TEST.AUG.MIN_SIZES is {min_sizes} and MAX_SIZE {max_size}; expected lengths of "
                "1 pixel or more, and one at least. TEST.AUG.ENABLED False switches it off."
            )
        self.min_sizes = min_sizes
        self.max_size = max_size
        self.flip = flip

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `TEST.AUG`."""
        node = cfg.TEST.AUG
        return {"min_sizes": node.MIN_SIZES, "max_size": node.MAX_SIZE, "flip": node.FLIP}

    def __call__(self, dataset_dict: dict[str, Any]) -> list[dict[str, Any]]:
        """Make the views of one image.

        Args:
            dataset_dict: an element of a batch: `image` (C, H, W), and `height` and `width` of the
                original where the image is a resized one.

        Returns:
            a copy of the dict for each view, with its `image`, and `transforms` from the original
            to the view.
        """
        image = dataset_dict["image"]
        seen: Size = (image.shape[-2], image.shape[-1])
        original = original_size(dataset_dict)
        views = []
        for min_size in self.min_sizes:
            size = _size_of_view(seen, min_size, self.max_size)
            resized = _resize(image, size)
            for is_mirrored in (False, True) if self.flip else (False,):
                transform = ViewTransform.between(original, size, is_mirrored=is_mirrored)
                pixels = resized.flip(-1) if is_mirrored else resized
                views.append({**dataset_dict, "image": pixels, "transforms": transform})
        return views


def original_size(item: dict[str, Any]) -> Size:
    """(height, width) that results should have: those of the item, or of its image."""
    height, width = item["image"].shape[-2:]
    return int(item.get("height", height)), int(item.get("width", width))


def _size_of_view(size: Size, min_size: int, max_size: int) -> Size:
    """(height, width) after a resize to a shorter side of `min_size`, none above `max_size`."""
    short, long = sorted(size)
    # In this order of operations the rounding is that of the data's ResizeShortestEdge.
    sides = np.array([min_size, min_size / short * long])
    sides *= min(1.0, max_size / sides.max())
    new_short, new_long = (max(int(side + 0.5), 1) for side in sides)
    return (new_short, new_long) if size[0] < size[1] else (new_long, new_short)


def _resize(image: Tensor, size: Size) -> Tensor:
    """(C, H, W) to a size; as in the data's transforms, only uint8 is smoothed to shrink."""
    if tuple(image.shape[-2:]) == size:
        return image
    return resize_image(image, list(size), antialias=image.dtype == torch.uint8)


def read_upright(file_name: str, input_format: str | None) -> Tensor:
    """(C, H, W) uint8 of a file, upright, in the channel order of a model."""
    if input_format not in ("RGB", "BGR", "L", None):
        raise ConfigError(
            f"Test-time augmentation cannot read {file_name!r} as INPUT.FORMAT={input_format!r}. "
            "Give it 'image'; a test loader reads it."
        )
    with PathManager.open(file_name, "rb") as file, Image.open(file) as image:
        upright = ImageOps.exif_transpose(image).convert("L" if input_format == "L" else "RGB")
    pixels = torch.from_numpy(np.array(upright)).reshape(upright.height, upright.width, -1)
    pixels = pixels.permute(2, 0, 1)
    return pixels.flip(0) if input_format == "BGR" else pixels
