"""Conv2d with norm and activation, and the small tensor functions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lite.layers import (
    Conv2d,
    FrozenBatchNorm2d,
    ShapeSpec,
    cat,
    cross_entropy,
    get_norm,
    move_device_like,
    nonzero_tuple,
    shapes_to_tensor,
)
from d2lite.layers.wrappers import check_if_dynamo_compiling, disable_torch_compiler
from d2lite.utils.errors import ConfigError


def frozen_norm(channels: int, *, seed: int = 0) -> FrozenBatchNorm2d:
    generator = torch.Generator().manual_seed(seed)
    norm = FrozenBatchNorm2d(channels)
    for name, low in (("weight", 0.5), ("bias", -1), ("running_mean", -1), ("running_var", 0.2)):
        getattr(norm, name).copy_(torch.rand(channels, generator=generator) * 2 + low)
    return norm


def unfolded(conv: Conv2d, x: torch.Tensor) -> torch.Tensor:
    plain = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, groups=conv.groups)
    norm = conv.norm
    return F.batch_norm(
        plain, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )


@pytest.mark.parametrize("size", [2, 40])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_conv_with_frozen_norm_equals_conv_then_batch_norm(size, bias, stride):
    """Size 2 takes the pass over the map, size 40 the folded weight."""
    torch.manual_seed(0)
    conv = Conv2d(6, 8, 3, stride, 1, groups=2, bias=bias, norm=frozen_norm(8))
    x = torch.randn(2, 6, size, size, requires_grad=True)
    conv(x).square().sum().backward()
    found = [conv.weight.grad.clone(), x.grad.clone()]
    conv.weight.grad = x.grad = None
    expected = unfolded(conv, x)
    torch.testing.assert_close(conv(x), expected, rtol=1e-5, atol=1e-5)
    expected.square().sum().backward()
    torch.testing.assert_close(found, [conv.weight.grad, x.grad], rtol=1e-4, atol=1e-4)


def test_hook_on_a_frozen_norm_still_sees_the_map():
    seen = []
    conv = Conv2d(3, 4, 1, norm=frozen_norm(4))
    conv.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.randn(1, 3, 30, 30)
    result = conv(x)
    assert len(seen) == 1
    torch.testing.assert_close(result, seen[0])


def test_subclass_of_frozen_norm_is_called_and_not_folded():
    class Doubled(FrozenBatchNorm2d):
        def forward(self, x):
            return super().forward(x) * 2

    conv = Conv2d(3, 4, 1, norm=Doubled(4), bias=False)
    x = torch.randn(1, 3, 30, 30)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight) * 2, rtol=1e-4, atol=1e-5)


def test_conv_applies_norm_then_activation():
    conv = Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4), activation=F.relu)
    x = torch.randn(2, 3, 5, 5)
    plain = F.conv2d(x, conv.weight, conv.bias)
    torch.testing.assert_close(conv(x), F.relu(F.batch_norm(plain, None, None, training=True)))


def test_conv_names_in_the_state_dict_are_those_of_checkpoints():
    names = list(Conv2d(3, 4, 1, bias=False, norm=FrozenBatchNorm2d(4)).state_dict())
    expected = ["weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"]
    assert names == expected


@pytest.mark.parametrize("norm", [None, FrozenBatchNorm2d(4)])
def test_conv_takes_an_empty_batch_and_reaches_its_weight(norm):
    conv = Conv2d(3, 4, 3, stride=2, padding=1, norm=norm, activation=F.relu)
    y = conv(torch.zeros(0, 3, 9, 9))
    assert y.shape == (0, 4, 5, 5)
    y.sum().backward()
    assert conv.weight.grad is not None


def test_conv_under_bfloat16_autocast_is_close_to_float32():
    conv = Conv2d(3, 4, 1, norm=frozen_norm(4))
    x = torch.rand(1, 3, 20, 20)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), conv(x), rtol=0.05, atol=0.05)


def test_cat_of_one_tensor_makes_no_copy():
    x = torch.ones(2)
    assert cat([x]) is x
    assert cat([x, x], dim=0).shape == (4,)


def test_cat_refuses_nothing_and_what_is_no_list():
    with pytest.raises(ValueError, match="give at least one"):
        cat([])
    with pytest.raises(TypeError, match="got a Tensor; give a list"):
        cat(torch.ones(2))


def test_nonzero_tuple_has_one_entry_per_axis():
    x = torch.tensor([[0, 1], [1, 0]])
    rows, columns = nonzero_tuple(x)
    assert rows.tolist() == [0, 1]
    assert columns.tolist() == [1, 0]
    assert nonzero_tuple(torch.tensor(5))[0].tolist() == [0]


def test_cross_entropy_of_nothing_is_zero_with_a_gradient():
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == (0, 3)


def test_cross_entropy_otherwise_is_that_of_torch():
    logits, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    weight = torch.tensor([1.0, 2.0, 3.0])
    for reduction in ("mean", "sum", "none"):
        found = cross_entropy(logits, target, reduction=reduction, weight=weight)
        torch.testing.assert_close(
            found, F.cross_entropy(logits, target, reduction=reduction, weight=weight)
        )


def test_shapes_to_tensor_takes_numbers_and_scalars():
    assert shapes_to_tensor([3, 4]).dtype == torch.int64
    assert shapes_to_tensor([torch.tensor(3), 4]).tolist() == [3, 4]
    assert shapes_to_tensor([]).shape == (0,)


def test_move_device_like_follows_the_second_tensor():
    assert move_device_like(torch.ones(1), torch.ones(1, device="meta")).device.type == "meta"


def test_compiler_helpers_leave_eager_code_alone():
    assert not check_if_dynamo_compiling()
    assert disable_torch_compiler(lambda x: x + 1)(1) == 2


def test_shape_spec_holds_four_optional_facts():
    assert ShapeSpec(channels=3, stride=4) == ShapeSpec(3, None, None, 4)


def test_conv_with_frozen_norm_compiles_into_one_graph():
    """The same code for small and large maps, whose norms are folded or not without a compiler."""
    conv = Conv2d(64, 4, 3, norm=frozen_norm(4), activation=F.relu)
    compiled = torch.compile(conv, backend="eager", fullgraph=True, dynamic=True)
    torch._dynamo.utils.counters.clear()
    for height, width in ((18, 20), (32, 30)):
        x = torch.randn(1, 64, height, width)
        torch.testing.assert_close(compiled(x), conv(x))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_conv_takes_one_image_without_a_batch_axis():
    x = torch.randn(3, 9, 9)
    assert Conv2d(3, 4, 3, padding="same", activation=F.relu)(x).shape == (4, 9, 9)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_weight_of_a_norm_that_asks_for_it_is_standardised():
    """Each output channel's weight has the mean 0 and the deviation 1 (Qiao 2019)."""
    conv, x = Conv2d(3, 32, 3, bias=False, norm=get_norm("GN_WS", 32)), torch.randn(2, 3, 9, 9)
    conv.weight.data += 5
    rows = conv.weight.detach().flatten(1).double().numpy()
    rows = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, ddof=1, keepdims=True)
    weight = torch.from_numpy(rows).float().view_as(conv.weight)
    expected = F.group_norm(F.conv2d(x, weight), 32, conv.norm.weight, conv.norm.bias)
    torch.testing.assert_close(conv(x), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(torch.jit.script(conv)(x), conv(x))


def test_a_norm_for_standardised_weights_is_refused_behind_another_layer():
    with pytest.raises(ConfigError, match='use "GN" here'):
        get_norm("GN_WS", 32)(torch.randn(2, 32, 4, 4))
