"""Deformable convolution as sampling and a convolution, for formats that have no such operator.

N images, C and O channels, K taps, G groups of offsets, H x W cells in and P x Q out.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["deform_conv_by_sampling"]


def deform_conv_by_sampling(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
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
        bias: (O,).
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
