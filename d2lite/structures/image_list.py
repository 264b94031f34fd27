"""ImageList: images of several sizes as one padded batch, with their true sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["ImageList"]


class ImageList:
    """A batch of images, each in the top left corner of its padded frame.

    Attributes:
        tensor: (N, H, W) or (N, C, H, W), the padded images.
        image_sizes: the N true sizes, (height, width) in pixels.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        """Wrap a batch that is padded already."""
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.image_sizes)

    def __getitem__(self, idx: int | slice) -> Tensor:
        """One image without its padding, a view of (C, H_i, W_i).

        Raises:
            TypeError: for a slice, since images of several sizes are no tensor.
        """
        if not isinstance(idx, int):
            raise TypeError(f"ImageList takes one index, not {idx!r}; use .tensor for several.")
        height, width = self.image_sizes[idx]
        return self.tensor[idx, ..., :height, :width]

    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """The batch after `Tensor.to` with the same arguments."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> torch.device:
        """Where the tensor lies."""
        return self.tensor.device

    @staticmethod
    def from_tensors(
        tensors: Sequence[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: Mapping[str, int] | None = None,
    ) -> "ImageList":
        """Pad images at the right and bottom to one common size.

        Args:
            tensors: (H_i, W_i) or (C, H_i, W_i) images of one dtype and device, at least one.
            size_divisibility: the padded sides are made multiples of this; 0 and 1 change nothing.
            pad_value: what the padding is filled with.
            padding_constraints: "size_divisibility" as above, which it overrides, and
                "square_size": pad to a square of at least this side.

        Returns:
            The batch, a new tensor.

        Raises:
            ValueError: if there is no image or they differ in more than height and width.
        """
        if not len(tensors):
            raise ValueError("ImageList.from_tensors got no image; give at least one.")
        leading = {tuple(image.shape[:-2]) for image in tensors}
        if len(leading) > 1 or any(image.dim() < 2 for image in tensors):
            shapes = ", ".join(str(tuple(image.shape)) for image in tensors)
            raise ValueError(
                f"Images of shapes {shapes} cannot be batched; only the last two axes may differ."
            )
        constraints = padding_constraints or {}
        multiple = constraints.get("size_divisibility", 0) or size_divisibility
        sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in tensors]
        frame = [max(sides) for sides in zip(*sizes, strict=True)]
        square = constraints.get("square_size", 0)
        if square > 0:
            frame = [max(square, *frame)] * 2
        if multiple > 1:
            frame = [-(-side // multiple) * multiple for side in frame]
        batch = tensors[0].new_full((len(tensors), *tensors[0].shape[:-2], *frame), pad_value)
        for target, image, (height, width) in zip(batch, tensors, sizes, strict=True):
            target[..., :height, :width].copy_(image)
        return ImageList(batch, sizes)
