"""RegNet: shapes, names, widths, freezing, and the numbers of torchvision's."""

from functools import partial

import pytest
import torch
import torchvision
from torch import nn

from d2lite.config import get_cfg
from d2lite.layers import FrozenBatchNorm2d, ShapeSpec
from d2lite.modeling.backbone import RegNet, build_backbone
from d2lite.modeling.backbone.regnet import (
    SE,
    AnyNet,
    ResBasicBlock,
    ResBottleneckBlock,
    ResStem,
    SimpleStem,
    VanillaBlock,
    adjust_block_compatibility,
    conv2d,
    generate_regnet_parameters,
    init_weights,
    pool2d,
)
from d2lite.utils.errors import ConfigError

from .checks import (
    check_batch_equals_single,
    check_gradient_reaches_all,
    check_shapes,
    images,
    randomised,
)


def small_net(**options):
    settings = {
        "stem_class": SimpleStem,
        "stem_width": 8,
        "block_class": ResBottleneckBlock,
        "depths": (1, 2, 1),
        "widths": (8, 16, 24),
        "group_widths": (4, 4, 8),
        "strides": (2, 2, 2),
        "bottleneck_ratios": (1.0, 0.5, 1.0),
        "se_ratio": 0.25,
        "activation_class": partial(nn.ReLU, inplace=True),
        "out_features": ["stem", "s1", "s3"],
    }
    return randomised(AnyNet(**{**settings, **options}))


@pytest.mark.parametrize("block", [ResBottleneckBlock, ResBasicBlock, VanillaBlock])
@pytest.mark.parametrize("stem", [SimpleStem, ResStem])
def test_maps_have_the_announced_sizes_for_any_image(block, stem):
    net = small_net(block_class=block, stem_class=stem)
    assert net.output_shape()["s1"].stride == 2 * net.stem.stride
    check_shapes(net, 64, 64)
    check_shapes(net, 45, 70)


@pytest.mark.parametrize("block", [ResBottleneckBlock, ResBasicBlock, VanillaBlock])
def test_gradient_reaches_all_parameters(block):
    check_gradient_reaches_all(small_net(block_class=block), 64, 64)


def test_batch_equals_one_by_one():
    check_batch_equals_single(small_net(), 40, 48)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("regnet_x_800mf", {"w_a": 35.73, "w_0": 56, "w_m": 2.28, "group_width": 16}),
        (
            "regnet_y_400mf",
            {"w_a": 27.89, "w_0": 48, "w_m": 2.09, "group_width": 8, "se_ratio": 0.25},
        ),
    ],
)
def test_numbers_are_those_of_torchvision(name, line):
    ours = RegNet(
        stem_class=SimpleStem,
        stem_width=32,
        block_class=ResBottleneckBlock,
        depth=16,
        out_features=["stem", "s1", "s2", "s3", "s4"],
        **line,
    )
    randomised(ours).eval()
    theirs = torchvision.models.get_model(name, weights=None).eval()
    weights = {}
    for key in theirs.state_dict():
        if key.startswith("fc."):
            continue
        ours_key = key.replace("stem.0.", "stem.conv.").replace("stem.1.", "stem.bn.")
        if key.startswith("trunk_output"):
            block, rest = key.split(".", 3)[2:]
            stage, number = block.removeprefix("block").split("-")
            for a, b in (("proj.0", "proj"), ("proj.1", "bn")):
                rest = rest.replace(a, b)
            for part in "abc":
                rest = rest.replace(f"f.{part}.0", f"f.{part}").replace(
                    f"f.{part}.1", f"f.{part}_bn"
                )
            rest = rest.replace("se.fc1", "se.f_ex.0").replace("se.fc2", "se.f_ex.2")
            ours_key = f"s{stage}.b{int(number) + 1}.{rest}"
        weights[key] = ours.state_dict()[ours_key]
    assert len(weights) == len(ours.state_dict())
    assert theirs.load_state_dict(weights, strict=False).unexpected_keys == []
    x = images(2, 3, 64, 96)
    with torch.no_grad():
        out = ours(x)
        expected = theirs.stem(x)
        torch.testing.assert_close(out["stem"], expected, rtol=1e-4, atol=1e-5)
        for i, stage in enumerate(theirs.trunk_output, start=1):
            expected = stage(expected)
            torch.testing.assert_close(out[f"s{i}"], expected, rtol=1e-4, atol=1e-4)


def test_names_and_shapes_are_those_of_published_regnety_4gf():
    """RegNetY-4GF; facts of the published files."""
    net = RegNet(
        stem_class=SimpleStem,
        stem_width=32,
        block_class=ResBottleneckBlock,
        depth=22,
        w_a=31.41,
        w_0=96,
        w_m=2.24,
        group_width=64,
        se_ratio=0.25,
    )
    shapes = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    expected = {
        "stem.conv.weight": (32, 3, 3, 3),
        "stem.bn.running_mean": (32,),
        "s1.b1.proj.weight": (128, 32, 1, 1),
        "s1.b1.bn.weight": (128,),
        "s1.b1.f.a.weight": (128, 32, 1, 1),
        "s1.b1.f.a_bn.bias": (128,),
        "s1.b1.f.b.weight": (128, 64, 3, 3),
        "s1.b1.f.b_bn.running_var": (128,),
        "s1.b1.f.se.f_ex.0.weight": (8, 128, 1, 1),
        "s1.b1.f.se.f_ex.2.bias": (128,),
        "s1.b1.f.c.weight": (128, 128, 1, 1),
        "s2.b6.f.c_bn.weight": (192,),
        "s3.b12.f.a.weight": (512, 512, 1, 1),
        "s4.b2.f.se.f_ex.0.bias": (272,),
    }
    assert expected.items() <= shapes.items()
    assert net.output_shape() == {"s4": ShapeSpec(1088, stride=32)}


def test_widths_are_those_of_the_paper():
    """RegNetX-400MF of the paper's table: widths 32, 64, 160, 384 and depths 1, 2, 7, 12."""
    widths, depths, stages, steps, per_block, line = generate_regnet_parameters(24.48, 24, 2.54, 22)
    widths = adjust_block_compatibility(widths, [1.0] * 4, [16] * 4)[0]
    assert (widths, depths, stages, steps) == ([32, 64, 160, 384], [1, 2, 7, 12], 4, 4)
    assert len(per_block) == len(line) == 22
    assert line[1] == pytest.approx(24 + 24.48)


def test_groups_divide_widths_in_the_middle():
    assert adjust_block_compatibility([30, 100], [1.0, 0.25], [16, 64]) == (
        [32, 100],
        [1.0, 0.25],
        [16, 25],
    )
    assert adjust_block_compatibility([10], [3.0], [8]) == ([8], [3.0], [8])


def test_squeeze_and_excitation_weighs_channels_by_the_whole_map():
    layer = randomised(SE(6, 3, nn.ReLU))
    x = images(2, 6, 4, 5)
    mean = x.mean((2, 3))
    first, second = layer.f_ex[0], layer.f_ex[2]
    hidden = (mean @ first.weight[:, :, 0, 0].T + first.bias).relu()
    weight = (hidden @ second.weight[:, :, 0, 0].T + second.bias).sigmoid()
    torch.testing.assert_close(layer(x), x * weight[:, :, None, None])


def test_starting_values():
    layer = conv2d(64, 64, 3, groups=16)
    init_weights(layer)
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)
    linear = nn.Linear(200, 200)
    init_weights(linear)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not linear.bias.any()


@pytest.mark.parametrize(("freeze_at", "frozen"), [(0, []), (1, ["stem"]), (2, ["stem", "s1"])])
def test_frozen_stages_do_not_learn_and_their_norms_are_fixed(freeze_at, frozen):
    net = small_net(freeze_at=freeze_at)
    for name in ("stem", *net.stage_names):
        part = getattr(net, name)
        assert all(p.requires_grad != (name in frozen) for p in part.parameters())
        has_fixed_norm = any(isinstance(m, FrozenBatchNorm2d) for m in part.modules())
        assert has_fixed_norm == (name in frozen)


def config(name="build_regnet_backbone", **regnet):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    small = {"DEPTH": 8, "W_A": 16.0, "W_0": 16, "W_M": 2.0, "GROUP_WIDTH": 8, "STEM_WIDTH": 8}
    for key, value in {**small, **regnet}.items():
        cfg.MODEL.REGNET[key] = value
    return cfg


def test_builder_reads_the_configuration():
    cfg = config(NORM="BN", SE_RATIO=0.5, OUT_FEATURES=["stem", "s4"])
    cfg.MODEL.BACKBONE.FREEZE_AT = 1
    net = build_backbone(cfg)
    assert net.output_shape() == {"stem": ShapeSpec(8, stride=2), "s4": ShapeSpec(128, stride=32)}
    assert isinstance(net.s1.b1.f.a_bn, nn.BatchNorm2d)
    assert isinstance(net.s1.b1.f.se, SE)
    assert net.s1.b1.f.b.weight.shape[1] == 8
    assert not net.stem.conv.weight.requires_grad
    assert net.s1.b1.proj.weight.requires_grad


def test_pyramid_is_put_on():
    cfg = config("build_regnet_fpn_backbone")
    cfg.MODEL.FPN.IN_FEATURES = ["s1", "s2", "s3", "s4"]
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    net = build_backbone(cfg)
    assert list(net.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    check_shapes(net, 64, 96)


def test_wrong_choices_are_refused():
    with pytest.raises(ConfigError, match=r"asks a RegNet for the maps \['res2'\]; it has "):
        build_backbone(config(OUT_FEATURES=["res2"]))
    with pytest.raises(ConfigError, match="w_0 a positive multiple of 8"):
        generate_regnet_parameters(1.0, 12, 2.0, 3)
    with pytest.raises(ConfigError, match="3 channels, not 1"):
        build_backbone(config(), ShapeSpec(channels=1))
    with pytest.raises(
        ConfigError, match=r"widths \[8, 16\], ratios \[1\.0\] and .* \[8, 8\]: give"
    ):
        adjust_block_compatibility([8, 16], [1.0], [8, 8])
    with pytest.raises(ValueError, match="use an odd number"):
        pool2d(2)
    with pytest.raises(ValueError, match=r"not a tensor of shape \[3, 8, 8\]"):
        small_net()(torch.zeros(3, 8, 8))
