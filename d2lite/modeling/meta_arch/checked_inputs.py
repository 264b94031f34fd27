"""The picture of one element of a batch, or what is wrong with the batch."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from d2lite.utils.errors import DataError


def image_of(item: Any, num_channels: int) -> Tensor:
    """The tensor under `image`.

    Args:
        item: an element of a batch.
        num_channels: C, of the model.

    Returns:
        (C, H, W).

    Raises:
        DataError: if the element is not a dict with a tensor, or it has another shape.
    """
    image = item.get("image") if isinstance(item, Mapping) else None
    if not isinstance(image, Tensor):
        found = (
            f"a dict whose 'image' is {type(image).__name__}"
            if isinstance(item, Mapping)
            else (type(item).__name__)
        )
        raise DataError(
            f"An element of a batch is {found}. A model takes a list with a dict for each image, "
            f"[{{'image': tensor of shape ({num_channels}, height, width)}}]; DefaultPredictor "
            "takes the array that cv2.imread gives."
        )
    if image.dim() != 3 or len(image) != num_channels:
        raise DataError(
            f"An image of shape {tuple(image.shape)} ({item.get('file_name', 'no name')}) "
            f"for a model of {num_channels} channels; expected ({num_channels}, height, width). "
            "MODEL.PIXEL_MEAN and PIXEL_STD need one number for each channel of INPUT.FORMAT."
        )
    return image
