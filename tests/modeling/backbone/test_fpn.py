"""FPN: shapes, mixing by hand, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling.backbone import (
    FPN,
    Backbone,
    LastLevelMaxPool,
    LastLevelP6P7,
    build_backbone,
)
from d2lite.modeling.backbone.fpn import _assert_strides_are_log2_contiguous
from d2lite.utils.errors import ConfigError


class Pyramid(Backbone):
    """Average pooled images, doubled in channels: as simple as a bottom-up network gets."""

    def __init__(self, strides=(4, 8, 16)):
        super().__init__()
        self._strides = {f"c{i}": stride for i, stride in enumerate(strides)}

    def output_shape(self):
        return {name: ShapeSpec(channels=6, stride=s) for name, s in self._strides.items()}

    def forward(self, x):
        return {n: F.avg_pool2d(x.repeat(1, 2, 1, 1), s) for n, s in self._strides.items()}


@pytest.mark.parametrize(
    ("top", "names"),
    [
        (None, ["p2", "p3", "p4"]),
        (LastLevelP6P7(6, 5, "c2"), ["p2", "p3", "p4", "p5", "p6"]),
    ],
)
def test_maps_have_the_announced_names_and_shapes(top, names):
    fpn = FPN(Pyramid(), ["c0", "c1", "c2"], 5, top_block=top)
    out = fpn(torch.randn(2, 3, 64, 128))
    assert list(out) == list(fpn.output_shape()) == names
    for name, shape in fpn.output_shape().items():
        assert shape.channels == 5
        assert out[name].shape == (2, 5, 64 // shape.stride, 128 // shape.stride)


@pytest.mark.parametrize("fuse", ["sum", "avg"])
def test_levels_are_mixed_from_coarse_to_fine(fuse):
    fpn = FPN(Pyramid((4, 8)), ["c0", "c1"], 5, fuse_type=fuse)
    x = torch.randn(1, 3, 16, 24)
    below = fpn.bottom_up(x)
    coarse = fpn.fpn_lateral3(below["c1"])
    fine = fpn.fpn_lateral2(below["c0"]) + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    if fuse == "avg":
        fine = fine / 2
    out = fpn(x)
    torch.testing.assert_close(out["p2"], fpn.fpn_output2(fine))
    torch.testing.assert_close(out["p3"], fpn.fpn_output3(coarse))


def test_the_last_level_takes_every_second_cell():
    x = torch.arange(30.0).view(1, 1, 5, 6)
    (out,) = LastLevelMaxPool()(x)
    assert out.flatten().tolist() == x[0, 0, ::2, ::2].flatten().tolist()


def test_norm_takes_the_place_of_the_bias():
    fpn = FPN(Pyramid(), ["c0", "c1", "c2"], 32, norm="GN")
    assert fpn.fpn_output2.bias is None
    assert fpn.fpn_output2.norm is not None


def test_wishes_about_the_size_are_announced():
    fpn = FPN(Pyramid(), ["c0", "c1", "c2"], 4, square_pad=128)
    assert fpn.size_divisibility == 16
    assert fpn.padding_constraints == {"square_size": 128}


def test_resnet_pyramids_have_the_published_levels():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    with torch.device("meta"):
        cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
        fpn = build_backbone(cfg)
        cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
        cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
        retina = build_backbone(cfg)
    assert list(fpn.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert list(retina.output_shape()) == ["p3", "p4", "p5", "p6", "p7"]
    assert retina.top_block.p6.in_channels == 2048


def test_convolutions_are_listed_coarse_to_fine_and_are_the_ones_that_run():
    """Pyramids derived from this one run these lists in a forward of their own."""
    fpn = FPN(Pyramid((4, 8)), ["c0", "c1"], 5)
    assert fpn.lateral_convs == [fpn.fpn_lateral3, fpn.fpn_lateral2]
    assert fpn.output_convs == [fpn.fpn_output3, fpn.fpn_output2]
    fpn.output_convs[1] = torch.zeros_like
    assert not fpn(torch.randn(1, 3, 16, 24))["p2"].any()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("name", ["resnet", "retinanet_resnet"])
def test_pyramids_are_scripted_and_keep_their_names(name):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = f"build_{name}_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 16
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    fpn = build_backbone(cfg).eval().requires_grad_(False)
    names, x = list(fpn.state_dict()), torch.randn(1, 3, 64, 96)
    scripted = torch.jit.script(fpn)(x)
    assert list(scripted) == list(fpn(x))
    for key, ours in fpn(x).items():
        torch.testing.assert_close(scripted[key], ours, atol=1e-4, rtol=1e-4)
    assert list(fpn.state_dict()) == names
    around = nn.Sequential(fpn)
    torch.jit.script(around)
    assert around.state_dict().keys() >= {f"0.{name}" for name in names}


def test_strides_of_a_pyramid_double():
    _assert_strides_are_log2_contiguous([4, 8, 16])
    with pytest.raises(AssertionError, match=r"strides \[8, 8\]"):
        _assert_strides_are_log2_contiguous([8, 8])


def test_missing_maps_and_odd_strides_are_refused():
    with pytest.raises(
        ConfigError,
        match=r"IN_FEATURES asks Pyramid for the maps \['c9'\]; it has \['c0', 'c1', 'c2'\]",
    ):
        FPN(Pyramid(), ["c9"], 4)
    with pytest.raises(ConfigError, match=r"strides \[4, 16\]"):
        FPN(Pyramid(), ["c0", "c2"], 4)
    with pytest.raises(ConfigError, match="wants 'p5'"):
        FPN(Pyramid(), ["c0", "c1"], 4, top_block=LastLevelMaxPool())
    with pytest.raises(ConfigError, match="FUSE_TYPE='max'"):
        FPN(Pyramid(), ["c0"], 4, fuse_type="max")


def test_retinanet_without_res5_is_refused():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match=r"OUT_FEATURES=\['res4'\] lacks 'res5'"),
    ):
        build_backbone(cfg)


@pytest.mark.parametrize("has_relu", [True, False])
def test_the_coarsest_map_is_made_with_or_without_a_relu(has_relu):
    """RetinaNet has one here and in torchvision, none in MMDetection."""
    top = LastLevelP6P7(3, 4, has_relu=has_relu)
    p6, p7 = top(torch.randn(1, 3, 8, 8))
    torch.testing.assert_close(p7, top.p7(p6.relu() if has_relu else p6))
    assert (p6 < 0).any()
