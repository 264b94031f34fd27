"""The mask branch brings every level to the finest one's size and adds."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from d2lite.projects.solov2.coords import append_coords
from d2lite.projects.solov2.mask_head import MaskHead


def _head(num_levels: int) -> MaskHead:
    torch.manual_seed(num_levels)
    return MaskHead(
        num_levels=num_levels, in_channels=8, channels=32, num_masks=32, norm="GN", init="kaiming"
    )


def _pyramid(num_levels: int) -> list[Tensor]:
    return [torch.randn(2, 8, 48 >> i, 32 >> i, requires_grad=True) for i in range(num_levels)]


def _as_defined(head: MaskHead, levels: list[Tensor]) -> Tensor:
    """Every convolution of a coarser level is followed by a doubling; then all are added."""
    total = torch.zeros(())
    for i, (x, path) in enumerate(zip(levels, head.convs_all_levels, strict=True)):
        if i == len(levels) - 1:
            x = append_coords(x)
        for conv in path.values():
            x = conv(x)
            if i > 0:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    return head.conv_pred(total)


@pytest.mark.parametrize("num_levels", [1, 2, 3, 4, 5])
def test_the_last_doubling_may_be_shared_by_all_levels(num_levels: int) -> None:
    head, levels = _head(num_levels), _pyramid(num_levels)
    found, defined = head(levels), _as_defined(head, levels)
    assert found.shape == (2, 32, 48, 32)
    torch.testing.assert_close(found, defined, rtol=1e-4, atol=1e-4)
    weights = torch.randn_like(found)
    ours = torch.autograd.grad((found * weights).sum(), levels)
    theirs = torch.autograd.grad((defined * weights).sum(), levels)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-3, atol=1e-3)
