"""The stem's max pooling equals torch's, of every size, with and without a gradient."""

import pytest
import torch
from torch.nn import functional as F

from d2lite.layers.max_pool import max_pool_3x3_stride_2


@pytest.mark.parametrize(
    "shape", [(2, 3, 8, 8), (1, 2, 7, 6), (1, 1, 6, 9), (1, 2, 1, 1), (1, 2, 2, 1), (0, 2, 4, 4)]
)
def test_each_size_gives_torchs_numbers(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = max_pool_3x3_stride_2(x)
    assert torch.equal(found, F.max_pool2d(x, 3, 2, 1))
    assert found.is_contiguous()


def test_what_is_not_a_number_stays_so():
    """Or a diverged network would go on unnoticed."""
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = float("nan")
    x[0, 0, 0, 0] = float("-inf")
    torch.testing.assert_close(
        max_pool_3x3_stride_2(x), F.max_pool2d(x, 3, 2, 1), rtol=0, atol=0, equal_nan=True
    )


def test_equal_cells_do_not_share_a_gradient():
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    max_pool_3x3_stride_2(x).sum().backward()
    assert x.grad.unique().tolist() == [0, 1]


@pytest.mark.filterwarnings("ignore:.*torch.jit:")
def test_a_script_and_a_trace_give_the_same():
    x = torch.randn(1, 2, 9, 8)
    expected = max_pool_3x3_stride_2(x)
    assert torch.equal(torch.jit.script(max_pool_3x3_stride_2)(x), expected)
    traced = torch.jit.trace(max_pool_3x3_stride_2, x)
    other = torch.randn(1, 2, 4, 5)
    assert torch.equal(traced(other), max_pool_3x3_stride_2(other))
