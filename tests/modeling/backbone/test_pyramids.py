"""Pyramids that mix their maps otherwise than from coarse to fine, against their definitions."""

import pytest
import torch
import torch.nn.functional as F

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling.backbone import FPN, Backbone, LastLevelMaxPool, build_backbone
from d2lite.modeling.backbone.fpn_additions import BalancedMaps
from d2lite.modeling.backbone.high_resolution_pyramid import HighResolutionPyramid
from d2lite.modeling.backbone.stacked_pyramid import NASFPN, BiFPN
from d2lite.utils.errors import ConfigError

from .checks import check_batch_equals_single, check_gradient_reaches_all, check_shapes, randomised

KINDS = {
    "nas": {"FUSION": "nas", "NUM_STAGES": 2},
    "bifpn": {"FUSION": "bifpn", "NUM_STAGES": 2},
    "high_resolution": {"FUSION": "high_resolution"},
    "path": {"BOTTOM_UP_PATH": True},
    "balanced": {"BALANCE": "non_local"},
    "balanced by convolution": {"BALANCE": "conv", "BOTTOM_UP_PATH": True},
}


class Pooled(Backbone):
    """Average pooled images, doubled in channels."""

    def output_shape(self):
        return {f"c{i}": ShapeSpec(channels=6, stride=4 * 2**i) for i in range(3)}

    def forward(self, x):
        return {f"c{i}": F.avg_pool2d(x.repeat(1, 2, 1, 1), 4 * 2**i) for i in range(3)}


NAMES, SHAPES = list(Pooled().output_shape()), list(Pooled().output_shape().values())


def _built(name, options):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = name, 0
    resnets, fpn = cfg.MODEL.RESNETS, cfg.MODEL.FPN
    resnets.DEPTH, resnets.STEM_OUT_CHANNELS, resnets.RES2_OUT_CHANNELS = 18, 8, 8
    first = 2 if name == "build_resnet_fpn_backbone" else 3
    resnets.OUT_FEATURES = fpn.IN_FEATURES = [f"res{i}" for i in range(first, 6)]
    fpn.OUT_CHANNELS = 8
    for key, value in options.items():
        fpn[key] = value
    torch.manual_seed(0)
    return build_backbone(cfg)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["build_resnet_fpn_backbone", "build_fcos_resnet_fpn_backbone"])
def test_each_pyramid_keeps_the_contract_of_a_backbone(kind, name):
    net = randomised(_built(name, KINDS[kind]))
    for key, weights in net.named_parameters():
        if key.endswith("_weights"):
            # Of the sums of BiFPN; below 0 they have no gradient.
            weights.data.abs_()
    first = 2 if name == "build_resnet_fpn_backbone" else 3
    assert list(net.output_shape()) == [f"p{i}" for i in range(first, first + 5)]
    check_shapes(net, 128, 256)
    check_batch_equals_single(net, 128, 128)
    check_gradient_reaches_all(net, 128, 128)


def test_swin_can_have_them_too():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_swin_fpn_backbone"
    cfg.MODEL.SWIN.EMBED_DIM, cfg.MODEL.SWIN.DEPTHS = 12, [1, 1, 1, 1]
    cfg.MODEL.SWIN.NUM_HEADS = [1, 1, 1, 1]
    cfg.MODEL.FPN.IN_FEATURES = ["p0", "p1", "p2", "p3"]
    cfg.MODEL.FPN.FUSION, cfg.MODEL.FPN.NUM_STAGES, cfg.MODEL.FPN.OUT_CHANNELS = "bifpn", 1, 8
    check_shapes(build_backbone(cfg), 64, 128)


def test_the_path_from_fine_to_coarse_adds_what_was_mixed_below():
    fpn = randomised(
        FPN(Pooled(), NAMES, 5, top_block=LastLevelMaxPool("p4"), has_bottom_up_path=True)
    )
    x = torch.randn(1, 3, 32, 64)
    plain = FPN(Pooled(), NAMES, 5)
    plain.load_state_dict(fpn.state_dict(), strict=False)
    before, path = plain(x), fpn.bottom_up_path
    second = before["p3"] + path.downsample[0](before["p2"])
    third = before["p4"] + path.downsample[1](second)
    found = fpn(x)
    assert torch.equal(found["p2"], before["p2"])
    torch.testing.assert_close(found["p3"], path.output[0](second))
    torch.testing.assert_close(found["p4"], path.output[1](third))
    assert torch.equal(found["p5"], found["p4"][..., ::2, ::2])


def test_balancing_adds_the_mean_of_all_maps():
    maps = {f"p{i}": torch.randn(1, 4, 16 // 2**i, 32 // 2**i) for i in range(4)}
    found = BalancedMaps(4, "mean")(maps)
    third = maps["p2"]
    sized = [F.max_pool2d(maps["p0"], 4), F.max_pool2d(maps["p1"], 2), third]
    sized.append(maps["p3"].repeat_interleave(2, 2).repeat_interleave(2, 3))
    mean = sum(sized) / 4
    torch.testing.assert_close(found["p2"], third + mean)
    torch.testing.assert_close(found["p3"], maps["p3"] + F.max_pool2d(mean, 2))
    large = mean.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(found["p0"], maps["p0"] + large)


def test_the_mean_has_the_size_of_the_chosen_map():
    maps = {f"p{i}": torch.randn(1, 4, 16 // 2**i, 16 // 2**i) for i in range(3)}
    found = BalancedMaps(4, "mean", level=1)(maps)
    mean = found["p1"] - maps["p1"]
    grown = maps["p2"].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(mean, (F.max_pool2d(maps["p0"], 2) + maps["p1"] + grown) / 3)
    torch.testing.assert_close(found["p2"], maps["p2"] + F.max_pool2d(mean, 2))


def test_balancing_shares_cells_where_sides_were_rounded_up():
    """Sides of 7 and 5 cells are 4 and 3, 2 and 2 above: that is adaptive pooling."""
    sides = [(28, 20), (14, 10), (7, 5), (4, 3), (2, 2)]
    maps = {f"p{i}": torch.randn(1, 4, *side) for i, side in enumerate(sides)}
    found = BalancedMaps(4, "mean")(maps)
    mean = found["p2"] - maps["p2"]
    for name in ("p3", "p4"):
        wanted = maps[name] + F.adaptive_max_pool2d(mean, maps[name].shape[2:])
        torch.testing.assert_close(found[name], wanted)


def test_a_new_balanced_pyramid_with_attention_adds_the_plain_mean():
    """The attention starts with nothing, so that the first steps see the pyramid as it was."""
    maps = {f"p{i}": torch.randn(1, 4, 16 // 2**i, 16 // 2**i) for i in range(3)}
    found, plain = BalancedMaps(4)(maps), BalancedMaps(4, "mean")(maps)
    for name in maps:
        torch.testing.assert_close(found[name], plain[name] + 0)


def test_high_resolution_maps_are_averages_of_the_joined_one():
    net = randomised(HighResolutionPyramid(Pooled(), NAMES, SHAPES, 5, 4))
    x = torch.randn(1, 3, 64, 32)
    below = net.bottom_up(x)
    grown = [F.interpolate(below[n], size=(16, 8), mode="bilinear") for n in NAMES]
    joined = net.join(torch.cat(grown, dim=1))
    found = net(x)
    torch.testing.assert_close(found["p2"], net.output[0](joined))
    torch.testing.assert_close(found["p5"], net.output[3](F.avg_pool2d(joined, 8)))


# Source: arXiv:1904.07392, figure 6: how (G global pooling, S sum), of what, at which level, and
# whether a convolution follows. Numbers above 7 are the results so far, in order.
NAS = [
    ("G", 6, 4, 4, True),  # 8
    ("S", 8, 4, 4, True),  # 9
    ("S", 9, 3, 3, True),  # 10, p3
    ("S", 10, 9, 4, True),  # 11, p4
    ("G", 11, 10, 5, False),  # 12
    ("S", 5, 12, 5, True),  # 13, p5
    ("G", 13, 9, 7, False),  # 14
    ("S", 7, 14, 7, True),  # 15, p7
    ("G", 15, 13, 6, True),  # 16, p6
]


def test_nas_fpn_has_the_connections_of_its_paper():
    net = NASFPN(Pooled(), NAMES, SHAPES, 4, 5, num_stages=1)
    maps = [torch.randn(2, 4, 64 // 2**i, 32 // 2**i) for i in range(5)]
    known = dict(zip(range(3, 8), maps, strict=True))
    convs = iter(net.stages[0].convs)
    for number, (how, one, other, level, has_conv) in enumerate(NAS, start=8):
        height = 64 // 2 ** (level - 3)
        a, b = (
            F.max_pool2d(m, m.shape[2] // height)
            if m.shape[2] > height
            else m.repeat_interleave(height // m.shape[2], 2).repeat_interleave(
                height // m.shape[2], 3
            )
            for m in (known[one], known[other])
        )
        mixed = a + b if how == "S" else b + a * b.mean(dim=(2, 3), keepdim=True).sigmoid()
        known[number] = next(convs)(mixed.clamp(min=0)) if has_conv else mixed
    for found, wanted in zip(net.stages[0](maps), (10, 11, 13, 16, 15), strict=True):
        torch.testing.assert_close(found, known[wanted])


def test_nas_fpn_is_of_five_maps():
    with pytest.raises(ConfigError, match=r'FUSION="nas" connects 5 maps; .* make 4'):
        NASFPN(Pooled(), NAMES, SHAPES, 4, 4)


def test_bifpn_sums_with_shares_of_its_weights():
    """One stage of two maps, by hand; a weight below 0 counts as 0."""
    net = BiFPN(Pooled(), NAMES[:2], SHAPES[:2], 4, 2, num_stages=1)
    stage = net.stages[0]
    with torch.no_grad():
        stage.down_weights.copy_(torch.tensor([[3.0, 1.0]]))
        stage.up_weights.copy_(torch.tensor([[1.0, -5.0, 1.0]]))
    fine, coarse = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)
    grown = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    first = stage.down[0](F.silu((3 * fine + grown) / 4.0001))
    second = stage.up[0](F.silu((coarse + F.max_pool2d(first, 2)) / 2.0001))
    found = stage([fine, coarse])
    torch.testing.assert_close(found[0], first)
    torch.testing.assert_close(found[1], second)


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"FUSION='nasfpn': use one of \['top_down', 'nas'"):
        _built("build_resnet_fpn_backbone", {"FUSION": "nasfpn"})
    with pytest.raises(ConfigError, match=r"BALANCE='gaussian': use \"non_local\""):
        _built("build_resnet_fpn_backbone", {"BALANCE": "gaussian"})
