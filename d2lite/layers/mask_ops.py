"""Paste the M x M probabilities of a box into an image-sized bitmap.

N masks, M x M cells a mask, H x W pixels of the image.
"""

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch._jit_internal import is_scripting
from torch.nn import functional as F

from ..utils.errors import ArgumentError
from ..utils.tracing import is_tracing

__all__ = [
    "BYTES_PER_FLOAT",
    "GPU_MEM_LIMIT",
    "cell_weights",
    "pad_masks",
    "paste_mask_in_image_old",
    "paste_masks_in_image",
    "scale_boxes",
]

BYTES_PER_FLOAT = 4
# Bytes of image-sized float maps that exist at one time on an accelerator.
GPU_MEM_LIMIT = 1024**3
# Masks whose weights are computed together on a CPU.
_MASKS_AT_ONCE = 64


if TYPE_CHECKING:

    class _BoxesLike(Protocol):
        # layers may not import structures, so Boxes are described by the attribute that is read.
        tensor: Tensor

    TensorOrBoxes = Tensor | _BoxesLike
else:
    # TorchScript, which knows no such unions, is given tensors.
    TensorOrBoxes = Tensor


def paste_masks_in_image(
    masks: Tensor,
    boxes: TensorOrBoxes,
    image_shape: tuple[int, int],
    threshold: float = 0.5,
) -> Tensor:
    """Stretch each mask over its box, on a canvas of the image's size.

    Each mask is a map of M x M cells that fills its box; the value at the centre of a pixel is
    interpolated linearly between the centres of cells, with 0 beyond the mask.

    Args:
        masks: (N, M, M) float in [0, 1].
        boxes: (N, 4) xyxy in pixels, or `Boxes`; they may reach beyond the image.
        image_shape: (H, W).
        threshold: pixels of at least this probability are set; < 0 asks for the probabilities.

    Returns:
        (N, H, W) bool, or uint8 in [0, 255] for a negative threshold.

    Raises:
        ArgumentError: if masks are not square or not as many as boxes.
    """
    corners = boxes if isinstance(boxes, Tensor) else boxes.tensor
    if masks.dim() != 3 or masks.shape[1] != masks.shape[2]:
        raise ArgumentError(f"masks have shape {list(masks.shape)}; only (N, M, M) can be pasted.")
    if list(corners.shape) != [len(masks), 4]:
        raise ArgumentError(
            f"{len(masks)} masks came with boxes of shape {list(corners.shape)}; "
            f"give ({len(masks)}, 4)."
        )
    height, width = int(image_shape[0]), int(image_shape[1])
    dtype = torch.bool if threshold >= 0 else torch.uint8
    # Far from its box a mask is 0, which only reaches a threshold of 0.
    # A number, since tracing cannot record a bool here.
    everywhere = int(threshold == 0)
    pasted = torch.full((len(masks), height, width), everywhere, dtype=dtype, device=masks.device)
    masks, corners = masks.float(), corners.float()
    if is_scripting():
        return _levels(_stretch(masks, corners, (0, height, 0, width)), threshold)
    if is_tracing():
        # A trace would hold the number and the places of these boxes for ever.
        return _levels(_stretch(masks, corners, (0, height, 0, width)), threshold)
    # Automatic mixed precision would do the products below in half precision.
    with torch.autocast(masks.device.type, enabled=False):
        if masks.device.type == "cpu":
            _paste_regions(masks, corners, threshold, pasted)
        else:
            _paste_full_size(masks, corners, threshold, pasted)
    return pasted


def _paste_regions(masks: Tensor, corners: Tensor, threshold: float, pasted: Tensor) -> None:
    """Fill `pasted` box by box: a core computes the few pixels of a box faster than whole images.

    100 masks on 800 x 1333 pixels, one core: 117 ms, and 737 ms as full images.
    """
    cells, (height, width) = masks.shape[1], pasted.shape[1:]
    for start in range(0, len(masks), _MASKS_AT_ONCE):
        part = slice(start, start + _MASKS_AT_ONCE)
        x0, y0, x1, y1 = corners[part].T
        # Half a cell beyond the box the interpolation towards 0 ends.
        columns = [
            _reach(*ends, cells, width) for ends in zip(x0.tolist(), x1.tolist(), strict=True)
        ]
        rows = [_reach(*ends, cells, height) for ends in zip(y0.tolist(), y1.tolist(), strict=True)]
        across = _weights_of_spans(x0, x1, columns, cells)
        down = _weights_of_spans(y0, y1, rows, cells)
        regions = zip(pasted[part], rows, columns, masks[part], down, across, strict=True)
        for canvas, ys, xs, mask, left, right in regions:
            if len(ys) and len(xs):
                values = left @ mask @ right.T
                canvas[ys.start : ys.stop, xs.start : xs.stop] = _levels(values, threshold)


def _weights_of_spans(
    low: Tensor, high: Tensor, spans: list[range], cells: int
) -> tuple[Tensor, ...]:
    """`cell_weights` of boxes with a span of pixels each, computed together."""
    sizes = [len(span) for span in spans]
    pixels = torch.from_numpy(np.concatenate([np.arange(s.start, s.stop) for s in spans]))
    counts = torch.tensor(sizes)
    ends = low.repeat_interleave(counts), high.repeat_interleave(counts)
    return _weights_at(pixels.float() + 0.5, *ends, cells).split(sizes)


def _paste_full_size(masks: Tensor, corners: Tensor, threshold: float, pasted: Tensor) -> None:
    """Fill `pasted` in batches whose float maps stay within `GPU_MEM_LIMIT`."""
    height, width = pasted.shape[1], pasted.shape[2]
    at_once = max(1, GPU_MEM_LIMIT // max(1, height * width * BYTES_PER_FLOAT))
    for start in range(0, len(masks), at_once):
        stop = start + at_once
        values = _stretch(masks[start:stop], corners[start:stop], (0, height, 0, width))
        pasted[start:stop] = _levels(values, threshold)


def _reach(low: float, high: float, cells: int, size: int) -> range:
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return range(0)
    margin = (high - low) / (2 * cells) + 1
    return range(max(0, math.floor(low - margin)), min(size, math.ceil(high + margin)))


def _stretch(masks: Tensor, corners: Tensor, spans: tuple[int, int, int, int]) -> Tensor:
    """(N, rows, columns) probabilities; bilinear interpolation is one product for each axis.

    The spans are the first row, the end of the rows, the first column, the end of the columns.
    """
    rows, columns = masks.shape[1], masks.shape[2]
    across = cell_weights(corners[:, 0], corners[:, 2], spans[2], spans[3], columns)
    down = cell_weights(corners[:, 1], corners[:, 3], spans[0], spans[1], rows)
    return down @ masks @ across.mT


def cell_weights(low: Tensor, high: Tensor, start: int, stop: int, cells: int) -> Tensor:
    """How much each cell of a mask counts at the centre of each pixel, along one axis.

    Args:
        low: (N,) float, where the boxes begin.
        high: (N,) float, where they end.
        start: the first pixel.
        stop: the pixel after the last one.
        cells: of a mask.

    Returns:
        (N, stop - start, cells) float32.
    """
    centres = torch.arange(start, stop, device=low.device, dtype=torch.float32) + 0.5
    return _weights_at(centres, low[:, None], high[:, None], cells)


def _weights_at(centres: Tensor, low: Tensor, high: Tensor, cells: int) -> Tensor:
    places = (centres - low) / (high - low) * cells - 0.5
    distance = places[..., None] - torch.arange(cells, device=low.device)
    # A box without width has no place: its weights are NaN, and nothing is pasted.
    return (1 - distance.abs()).clamp(min=0).nan_to_num(nan=0.0)


def _levels(values: Tensor, threshold: float) -> Tensor:
    return values >= threshold if threshold >= 0 else (values * 255).to(torch.uint8)


def _do_paste_mask(
    masks: Tensor, boxes: Tensor, img_h: int, img_w: int, skip_empty: bool = True
) -> tuple[Tensor, tuple[slice, ...]]:
    """The probabilities that `paste_masks_in_image` compares, for code that calls detectron2's.

    Args:
        masks: (N, 1, M, M) float in [0, 1].
        boxes: (N, 4) xyxy in pixels.
        img_h: height of the image.
        img_w: width of the image.
        skip_empty: compute only the rectangle that holds all boxes.

    Returns:
        (N, h, w) float, and the slices of rows and columns of the image that they are for; with
        `skip_empty` False (N, img_h, img_w) and ().
    """
    if not skip_empty or len(boxes) == 0:
        return _stretch(masks[:, 0], boxes, (0, img_h, 0, img_w)), ()
    low = (boxes[:, :2].amin(dim=0).floor() - 1).long().clamp(min=0).tolist()
    high = (boxes[:, 2:].amax(dim=0).ceil() + 1).long().tolist()
    right, bottom = min(high[0], img_w), min(high[1], img_h)
    values = _stretch(masks[:, 0], boxes, (low[1], bottom, low[0], right))
    return values, (slice(low[1], bottom), slice(low[0], right))


def paste_mask_in_image_old(
    mask: Tensor, box: Tensor, img_h: int, img_w: int, threshold: float
) -> Tensor:
    """Paste one mask by the integer box convention of the first Mask R-CNN code.

    The box is cut down to whole pixels and spans both its first and its last one.

    Args:
        mask: (M, M) float in [0, 1].
        box: (4,) xyxy in pixels.
        img_h: height of the image.
        img_w: width of the image.
        threshold: pixels above this probability are set; < 0 asks for the probabilities.

    Returns:
        (img_h, img_w) uint8: 0 and 1, or up to 255 for a negative threshold.
    """
    x0, y0, x1, y1 = (int(v) for v in box.tolist())
    size = (max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1))
    values = F.interpolate(mask[None, None].float(), size, mode="bilinear", antialias=True)[0, 0]
    levels = (values > threshold if threshold >= 0 else values * 255).to(torch.uint8)
    canvas = torch.zeros((img_h, img_w), dtype=torch.uint8, device=mask.device)
    top, left = max(y0, 0), max(x0, 0)
    bottom, right = min(y0 + size[0], img_h), min(x0 + size[1], img_w)
    if bottom > top and right > left:
        canvas[top:bottom, left:right] = levels[top - y0 : bottom - y0, left - x0 : right - x0]
    return canvas


def pad_masks(masks: Tensor, padding: int) -> tuple[Tensor, float]:
    """Surround masks with zeros.

    Args:
        masks: (N, M, M).
        padding: cells on every side.

    Returns:
        The (N, M + 2 * padding, M + 2 * padding) masks and by how much a side has grown.
    """
    return F.pad(masks, (padding,) * 4), (masks.shape[-1] + 2 * padding) / masks.shape[-1]


def scale_boxes(boxes: Tensor, scale: float) -> Tensor:
    """Boxes with the same centres and sides `scale` times as long.

    Args:
        boxes: (N, 4) xyxy.
        scale: >= 0.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    centre, half = (low + high) / 2, (high - low) / 2 * scale
    return torch.cat([centre - half, centre + half], dim=1)
