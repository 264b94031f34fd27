"""Deformable convolution: torchvision's operator, or sampling and a convolution.

N images, C and O channels, K taps, G groups of offsets, H x W cells in and P x Q out.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision import ops

from ..utils.tracing import is_tracing

__all__ = ["deform_conv2d", "deform_conv_by_sampling"]


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    mask: Tensor | None,
) -> Tensor:
    """Convolve at moved places, see `deform_conv_by_sampling` for the arguments.

    On a CPU by sampling, which takes a third of the time of torchvision's operator.

    Returns:
        (N, O, P, Q), of the dtype of `x`. NaN where an offset is NaN.
    """
    given = x.dtype
    # The operator does not know bfloat16.
    dtype = torch.float32 if given == torch.bfloat16 else given
    x, offset, weight = x.to(dtype), offset.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    mask = None if mask is None else mask.to(dtype)
    if is_tracing():
        # Exported files have an operator of their own, or sampling that checks each place.
        return ops.deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask).to(given)
    # At a place that is NaN the operator would read anywhere, and the process would end.
    is_lost = offset.isnan()
    offset = offset.masked_fill(is_lost, 0.0)
    if x.device.type == "cpu":
        groups = x.shape[1] // weight.shape[1]
        moved_groups = offset.shape[1] // (2 * weight.shape[2] * weight.shape[3])
        with torch.autocast("cpu", enabled=False):
            # What was sampled is K times the map: it is made again in the backward pass.
            y = checkpoint(
                deform_conv_by_sampling,
                x,
                weight,
                offset,
                x.new_zeros(0) if mask is None else mask,
                bias,
                *(*stride, *padding, *dilation, groups, moved_groups, mask is not None),
                use_reentrant=False,
                preserve_rng_state=False,
            )
    else:
        y = ops.deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)
    return y.masked_fill(is_lost.any(dim=1, keepdim=True), torch.nan).to(given)


def deform_conv_by_sampling(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor | None,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Tensor:
    """The operator `torchvision::deform_conv2d`, with its arguments.

    Args:
        x: (N, C, H, W) float.
        weight: (O, C / groups, kernel height, kernel width).
        offset: (N, 2 * G * K, P, Q) in cells, y before x for each tap.
        mask: (N, G * K, P, Q) weight of each tap; read with `use_mask`.
        bias: (O,) or None.
        stride_h: input cells per output cell.
        stride_w: likewise.
        pad_h: zeros around the input.
        pad_w: likewise.
        dilation_h: cells between taps before they are moved.
        dilation_w: likewise.
        groups: of channels that are convolved separately.
        offset_groups: G.
        use_mask: whether taps are weighted.

    Returns:
        (N, O, P, Q).
    """
    (count, channels, height, width), (rows, columns) = x.shape, offset.shape[2:]
    taps = weight.shape[2] * weight.shape[3]
    moved = offset.reshape(count, offset_groups, taps, 2, rows, columns)
    tap = torch.arange(taps, device=x.device)[:, None, None]
    row = torch.arange(rows, device=x.device)[:, None] * stride_h - pad_h
    column = torch.arange(columns, device=x.device) * stride_w - pad_w
    y = moved[:, :, :, 0] + (tap // weight.shape[3] * dilation_h + row)
    across = moved[:, :, :, 1] + (tap % weight.shape[3] * dilation_w + column)
    # Beyond one cell outside all is 0; a number that no cell has would not fit an integer.
    y, across = y.clamp(-2, height + 1), across.clamp(-2, width + 1)
    # From -1 at the outer edge of the first cell to 1 at that of the last.
    grid = torch.stack([(2 * across + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    sampled = F.grid_sample(
        x.reshape(count * offset_groups, channels // offset_groups, height, width),
        grid.reshape(count * offset_groups, taps * rows, columns, 2),
        padding_mode="zeros",
        align_corners=False,
    ).reshape(count, offset_groups, -1, taps, rows, columns)
    if use_mask:
        sampled = sampled * mask.reshape(count, offset_groups, 1, taps, rows, columns)
    flat = sampled.reshape(count, channels * taps, rows, columns)
    return F.conv2d(flat, weight.flatten(1)[..., None, None], bias, groups=groups)
