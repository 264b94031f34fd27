"""ROIAlign as two matrix products: the same numbers, and on the CPU a much cheaper gradient.

Along one axis, the average of bilinear samples in a bin is a weighted sum of cells, and the two
axes do not mix. So the pooled map of a box is Wy @ F @ Wx', and its gradient the transpose of
that, while torchvision's CPU kernel adds up the gradient of every sample one by one in a single
thread. It pays on maps of up to some thousand cells, which is where the matrices are small.

R boxes, P x Q bins, C channels, H x W cells of the map.
"""

from typing import Any

import torch
from torch import Tensor

# Measured on 2 cores with 512 boxes, 7 x 7 bins and 128 channels, forward and backward, against
# torchvision: see docs/results.md. Above this size its own kernel is as fast.
_MAX_CELLS = 8192
# Boxes of which the half-pooled maps (R, P, W, C) are held at a time.
_BOXES_AT_A_TIME = 128


def separable_is_faster(features: Tensor) -> bool:
    """Whether the products beat torchvision's kernel for (N, C, H, W) features."""
    is_on_cpu = features.device.type == "cpu"
    needs_grad = torch.is_grad_enabled() and features.requires_grad
    return is_on_cpu and needs_grad and features[0, 0].numel() <= _MAX_CELLS


def separable_roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average of bilinear samples in each bin of each box.

    Args:
        features: (N, C, H, W) float32 or float64; the only input that gets a gradient.
        rois: (R, 5), each (index into N, x0, y0, x1, y1).
        output_size: (P, Q).
        spatial_scale: cells per unit of the box coordinates.
        sampling_ratio: samples per bin and axis; 0 takes as many as the bin has cells.
        aligned: whether values are at the middle of their cells.

    Returns:
        (R, C, P, Q), equal to `torchvision.ops.roi_align` but for rounding.
    """
    with torch.no_grad():
        corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
        start, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
        if not aligned:
            extent = extent.clamp(min=1)
        across, down = (
            _axis_weights(start[:, axis], extent[:, axis], bins, size, sampling_ratio)
            for axis, bins, size in zip(
                (0, 1), reversed(output_size), reversed(features.shape[2:]), strict=True
            )
        )
    return _Pooling.apply(features, rois[:, 0].long(), down, across)


def _axis_weights(
    start: Tensor, extent: Tensor, num_bins: int, num_cells: int, sampling_ratio: int
) -> Tensor:
    """(R, num_bins, num_cells): the share of every cell in every bin, along one axis."""
    bin_size = extent / num_bins
    if sampling_ratio > 0:
        count = torch.full_like(bin_size, sampling_ratio)
    else:
        count = bin_size.ceil().clamp(min=0)
    weights = start.new_zeros(len(start), num_bins, num_cells)
    most = int(count.max()) if len(count) else 0
    if most == 0:
        return weights
    sample = torch.arange(most, device=start.device)
    bins = torch.arange(num_bins, device=start.device)
    count_R11 = count[:, None, None]
    step = (sample + 0.5) / count_R11 + bins[:, None]
    position = start[:, None, None] + step * bin_size[:, None, None]  # (R, num_bins, most)
    # Up to one cell outside the map has the value of its border; further out it is 0.
    is_counted = (sample < count_R11) & (position >= -1) & (position <= num_cells)
    share = is_counted / count_R11.clamp(min=1)
    position = position.nan_to_num(0).clamp(0, num_cells - 1)
    cell = position.long()
    rest = position - cell
    weights.scatter_add_(2, cell, share * (1 - rest))
    return weights.scatter_add_(2, (cell + 1).clamp(max=num_cells - 1), share * rest)


class _Pooling(torch.autograd.Function):
    """Wy @ F @ Wx' of every box; the backward pass computes half-pooled maps again."""

    # Autocast would compute the products in half precision, in which box corners are off by pixels.
    @staticmethod
    # torch gives its decorators no types.
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, features: Tensor, image: Tensor, down: Tensor, across: Tensor) -> Tensor:
        ctx.save_for_backward(down, across)
        ctx.shape = features.shape
        channels = features.shape[1]
        pooled = features.new_empty(len(image), down.shape[1], across.shape[1], channels)
        ctx.groups = _groups(image, len(features))
        for i, rows in ctx.groups:
            plane = features[i].permute(1, 2, 0).flatten(1)  # (H, W * C)
            half = (down[rows].flatten(0, 1) @ plane).unflatten(1, (-1, channels))
            half = half.unflatten(0, (len(rows), -1))  # (r, P, W, C)
            pooled[rows] = across[rows][:, None] @ half
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        down, across = ctx.saved_tensors
        num_images, channels, height, width = ctx.shape
        grad = grad.permute(0, 2, 3, 1)
        total = grad.new_zeros(num_images, height, width * channels)
        for i, rows in ctx.groups:
            half = across[rows].transpose(1, 2)[:, None] @ grad[rows]  # (r, P, W, C)
            total[i].addmm_(down[rows].flatten(0, 1).T, half.flatten(0, 1).flatten(1))
        return total.view(num_images, height, width, channels).permute(0, 3, 1, 2), None, None, None


def _groups(image: Tensor, num_images: int) -> list[tuple[int, Tensor]]:
    """Boxes of the same image, a bounded number at a time: (image, (r,) box numbers)."""
    # One sort and one transfer of the counts, however many images there are.
    order = torch.argsort(image, stable=True)
    of_images = order.split(torch.bincount(image, minlength=num_images).tolist())
    return [
        (i, rows)
        for i, of_image in enumerate(of_images)
        if len(of_image)
        for rows in of_image.split(_BOXES_AT_A_TIME)
    ]
