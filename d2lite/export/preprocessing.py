"""Resizing, padding and normalising as tensor operations that fit images of any size.

Along one axis a resized image is a product with a matrix of weights, and each image of a batch has
its own. So images of several sizes are resized and padded at once, and rows beyond an image get
no weight.

N images, C channels, H x W pixels given, P x Q pixels of the network's input.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from d2lite.data.transforms import Augmentation, ResizeScale, ResizeShortestEdge
from d2lite.data.transforms import Resize as ResizeStep
from d2lite.utils.errors import ExportError

__all__ = ["Preprocessing", "Resize", "axis_weights", "padding_of", "resize_of"]

# So many pixels a side at most: a limit for the shapes of a graph.
MOST_PIXELS = 16384


class Resize(NamedTuple):
    """How images are resized.

    Attributes:
        kind: "none"; "shortest_edge", as INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST say; "shape", to a
            height and a width; or "within", as large as fits into a height and a width.
        first: the shorter side, or the height.
        second: the longer side, or the width.
    """

    kind: str = "none"
    first: int = 0
    second: int = 0


def resize_of(steps: Sequence[Augmentation]) -> Resize:
    """What the augmentation of evaluation does to an image.

    Args:
        steps: of `build_augmentation`.

    Raises:
        ExportError: for steps that have no counterpart here.
    """
    if not steps:
        return Resize()
    step: Any = steps[0]
    if len(steps) == 1 and getattr(step, "interp", None) == Image.Resampling.BILINEAR:
        if type(step) is ResizeShortestEdge:
            return Resize("shortest_edge", int(step.short_edge_length[0]), int(step.max_size))
        if type(step) is ResizeStep:
            return Resize("shape", *map(int, step.shape))
        if type(step) is ResizeScale and step.min_scale == step.max_scale == 1:
            return Resize("within", int(step.target_height), int(step.target_width))
    names = ", ".join(type(step).__name__ for step in steps)
    raise ExportError(
        f"Images of this model are prepared by {names}; ResizeShortestEdge, Resize and "
        "ResizeScale(1, 1, ...) alone and bilinear can be exported, and no resizing."
    )


def resized(sizes: Tensor, resize: Resize) -> Tensor:
    """Sizes after resizing.

    Args:
        sizes: (N, 2) int64.
        resize: how.

    Returns:
        (N, 2) int64.
    """
    if resize.kind == "none":
        return sizes
    # In float64 and in this order the rounding is that of the augmentation.
    exact = sizes.double()
    wanted = torch.full_like(exact, 1.0) * torch.tensor(resize[1:], device=exact.device)
    if resize.kind == "shape":
        return wanted.long()
    if resize.kind == "within":
        scale = (wanted / exact).amin(dim=1, keepdim=True)
        return (exact * scale).round().long().clamp(min=1)
    short, long = exact.amin(dim=1), exact.amax(dim=1)
    new_short, limit = wanted.unbind(1)
    # A number divided by a tensor would be rounded twice.
    new_long = new_short / short * long
    shrink = torch.where(new_long > limit, limit / torch.maximum(new_short, new_long), 1.0)
    new_short, new_long = ((x * shrink + 0.5).long().clamp(min=1) for x in (new_short, new_long))
    is_wide = sizes[:, 0] < sizes[:, 1]
    height = torch.where(is_wide, new_short, new_long)
    return torch.stack([height, torch.where(is_wide, new_long, new_short)], dim=1)


# To resize 8-bit images torch multiplies the weights of an axis by the largest power of two, of
# this exponent at most, with which they stay below this limit as integers.
_MOST_DIGITS, _WEIGHT_LIMIT = 22, 2**15


def axis_weights(
    num_in: Any, size_in: Tensor, num_out: Any, size_out: Tensor, *, antialias: bool
) -> Tensor:
    """The matrices that resize one axis of each image bilinearly.

    Args:
        num_in: cells of the axis with padding.
        size_in: (N,) int64 cells without padding.
        num_out: cells of the resized axis with padding.
        size_out: (N,) int64 cells without padding.
        antialias: average over all cells that a result covers, as Pillow does, with weights
            rounded as torch rounds them for images of 8 bits. Products with such images are exact
            in float32 down to a quarter of the size; with other weights one pixel in a hundred
            would differ by a level, and by that the scores of some models by hundredths.

    Returns:
        (N, num_out, num_in) float32; rows and columns of the padding are 0.
    """
    device = size_in.device
    cell_in = torch.arange(num_in, device=device)
    cell_out = torch.arange(num_out, device=device)
    scale = size_in.double() / size_out.double()
    centres = (cell_out + 0.5) * scale[:, None]
    reach = scale.clamp(min=1.0) if antialias else torch.ones_like(scale)
    if not antialias:
        centres = torch.minimum(centres.clamp(min=0.5), size_in[:, None] - 0.5)
    distance = (cell_in + 0.5 - centres[..., None]).abs() / reach[:, None, None]
    is_real = (cell_in < size_in[:, None])[:, None] & (cell_out < size_out[:, None])[..., None]
    weights = torch.where(is_real, (1 - distance).clamp(min=0), 0.0)
    weights = weights / weights.sum(dim=2, keepdim=True).clamp(min=1e-9)
    if antialias:
        tries = 2.0 ** torch.arange(1, _MOST_DIGITS + 1, device=device)
        rounded = (weights.amax(dim=(1, 2))[:, None] * tries + 0.5).floor()
        one = 2.0 ** (rounded < _WEIGHT_LIMIT).sum(dim=1)[:, None, None]
        weights = (weights * one + 0.5).floor() / one
    return weights.float()


def padding_of(detector: Any) -> tuple[int, int]:
    """What sides of padded images are multiples of, and the side of a square; 0 for any shape."""
    constraints = detector.backbone.padding_constraints or {}
    multiple = int(constraints.get("size_divisibility", 0) or detector.backbone.size_divisibility)
    square = int(constraints.get("square_size", 0))
    return max(multiple, int(detector.size_divisibility), 1), square


class Preprocessing(nn.Module):
    """(N, C, H, W) uint8 images and their sizes -> the input of the network.

    Args:
        detector: whose pixel statistics and padding count.
        resize: see `Resize`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, detector: Any, resize: Resize) -> None:
        super().__init__()
        self.resize = resize
        self.register_buffer("mean", detector.pixel_mean.clone())
        self.register_buffer("std", detector.pixel_std.clone())
        self.multiple, self.square = padding_of(detector)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Prepare a batch.

        Args:
            images: (N, C, H, W) uint8; pixels beyond `sizes` have no influence.
            sizes: (N, 2) int64 height and width of each image.

        Returns:
            (N, C, P, Q) float32, and (N, 2) int64 the sizes in it.
        """
        new_sizes = resized(sizes, self.resize)
        height, width = self._canvas(new_sizes)
        pixels = images.float()
        if self.resize.kind != "none":
            # Rounded in between, as the 8-bit resizing of evaluation does.
            across = axis_weights(
                images.shape[3], sizes[:, 1], width, new_sizes[:, 1], antialias=True
            )
            down = axis_weights(
                images.shape[2], sizes[:, 0], height, new_sizes[:, 0], antialias=True
            )
            pixels = (pixels @ across[:, None].mT + 0.5).floor()
            pixels = (down[:, None] @ pixels + 0.5).floor()
        else:
            pixels = _grown(pixels, height, width)
        rows = torch.arange(height, device=images.device) < new_sizes[:, :1]
        columns = torch.arange(width, device=images.device) < new_sizes[:, 1:]
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        return ((pixels - self.mean) / self.std).masked_fill(~inside, 0.0), new_sizes

    def _canvas(self, sizes: Tensor) -> tuple[Any, Any]:
        if self.resize.kind == "shape":
            height, width = (-(-side // self.multiple) * self.multiple for side in self.resize[1:])
            return height, width
        if self.square:
            return self.square, self.square
        count = (sizes.amax(dim=0) + self.multiple - 1) // self.multiple
        sides = []
        for number in count.unbind():
            side = number.item()
            torch._check(side >= 1)
            torch._check(side <= MOST_PIXELS // self.multiple)
            sides.append(side * self.multiple)
        return sides[0], sides[1]


def _grown(pixels: Tensor, height: Any, width: Any) -> Tensor:
    """Cut or pad with zeros to a size; one gather an axis fits both."""
    for axis, side in ((2, height), (3, width)):
        cell = torch.arange(side, device=pixels.device)
        pixels = pixels.index_select(axis, cell.clamp(max=pixels.shape[axis] - 1))
    return pixels
