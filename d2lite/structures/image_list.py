"""ImageList: images of several sizes as one padded batch, with their true sizes."""

from typing import Any

import torch
from torch import Tensor
from torch._jit_internal import is_scripting

from d2lite.utils.errors import ArgumentError

__all__ = ["ImageList"]

# TorchScript does not find `torch.device` in the annotation of a property.
Device = torch.device


class ImageList:
    """A batch of images, each in the top left corner of its padded frame.

    Attributes:
        tensor: (N, H, W) or (N, C, H, W), the padded images.
        image_sizes: the N true sizes, (height, width) in pixels; (2,) tensors in a trace.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        """Wrap a batch that is padded already."""
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> Tensor:
        """One image without its padding, a view of (C, H_i, W_i).

        Raises:
            TypeError: for a slice, since images of several sizes cannot be one tensor.
        """
        if not isinstance(idx, int):
            raise TypeError(f"ImageList takes one index, not {idx}; use .tensor for several.")
        size = self.image_sizes[idx]
        return self.tensor[idx, ..., : size[0], : size[1]]

    @torch.jit.unused
    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """The batch after `Tensor.to` with the same arguments."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> Device:
        """The device of the tensor."""
        return self.tensor.device

    @staticmethod
    def from_tensors(
        tensors: list[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: dict[str, int] | None = None,
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
            ArgumentError: if there is no image or they differ in more than height and width.
        """
        if len(tensors) == 0:
            raise ArgumentError("ImageList.from_tensors got no image; give at least one.")
        first = tensors[0]
        for image in tensors:
            if image.dim() < 2 or image.shape[:-2] != first.shape[:-2]:
                shapes = ", ".join([str(list(each.shape)) for each in tensors])
                raise ArgumentError(
                    f"Images of shapes {shapes} cannot be batched; only the last two axes may "
                    "differ."
                )
        sizes = [(image.shape[-2], image.shape[-1]) for image in tensors]
        height = max([size[0] for size in sizes])
        width = max([size[1] for size in sizes])
        if not is_scripting() and isinstance(height, Tensor):
            sizes, (height, width) = _traced_sizes(sizes)
        multiple = size_divisibility
        if padding_constraints is not None:
            wanted = padding_constraints.get("size_divisibility", 0)
            multiple = wanted if wanted > 0 else multiple
            square = padding_constraints.get("square_size", 0)
            if square > 0:
                height = width = max(square, height, width)
        if multiple > 1:
            height, width = -(-height // multiple) * multiple, -(-width // multiple) * multiple
        shape = [len(tensors)]
        shape.extend(first.shape[:-2])
        shape.extend([height, width])
        batch = first.new_full(shape, pad_value)
        for index, image in enumerate(tensors):
            batch[index, ..., : sizes[index][0], : sizes[index][1]].copy_(image)
        return ImageList(batch, sizes)


def _traced_sizes(sizes: Any) -> Any:
    """As tensors, and the greatest; max() would make a constant of them in a trace."""
    stacked = torch.stack([torch.stack(size) for size in sizes])
    return list(stacked.unbind()), stacked.amax(0).unbind()
