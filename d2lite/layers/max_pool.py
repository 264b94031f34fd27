"""The max pooling of a ResNet's stem: along one axis after the other, where that is faster."""

import torch
from torch import Tensor
from torch._jit_internal import is_scripting
from torch.nn import functional as F

from d2lite.utils.tracing import is_recording

__all__ = ["max_pool_3x3_stride_2"]


def max_pool_3x3_stride_2(x: Tensor) -> Tensor:
    """The maximum of windows of 3 x 3 cells at every second cell.

    Args:
        x: (N, C, H, W).

    Returns:
        (N, C, ceil(H / 2), ceil(W / 2)), the same as `max_pool2d` gives.
    """
    # Nested, since TorchScript leaves out what depends on `is_scripting` alone.
    if not is_scripting():  # noqa: SIM102
        if x.device.type == "cpu" and not x.requires_grad and not is_recording():
            # torch's kernel looks at windows one by one: 192 ms for a batch of 2 x 64 x 240 x 320
            # on one core, 34 ms in this way. With a gradient it would halve that of equal cells.
            return _pool_rows(_pool_rows(x).transpose(2, 3)).transpose(2, 3)
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


def _pool_rows(x: Tensor) -> Tensor:
    """Maximum of the rows 2i - 1, 2i and 2i + 1 of (N, C, H, W)."""
    even, odd = x[:, :, ::2], x[:, :, 1::2]
    pooled = even.clone()
    below = pooled[:, :, : odd.shape[2]]
    torch.maximum(below, odd, out=below)
    above = pooled[:, :, 1:]
    torch.maximum(above, odd[:, :, : above.shape[2]], out=above)
    return pooled
