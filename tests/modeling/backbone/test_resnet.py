"""ResNet: shapes, names, freezing, and what it refuses."""

import pytest
import torch
from torch import nn

from d2lite.config import get_cfg
from d2lite.layers import FrozenBatchNorm2d, ShapeSpec
from d2lite.modeling.backbone import (
    BACKBONE_REGISTRY,
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
    ResNet,
    build_backbone,
    make_stage,
)
from d2lite.utils.errors import ConfigError, UnknownNameError


def small_resnet(**options):
    stages = [
        ResNet.make_stage(BasicBlock, 2, in_channels=8, out_channels=8),
        ResNet.make_stage(BasicBlock, 2, in_channels=8, out_channels=16, stride_per_block=[2, 1]),
    ]
    return ResNet(BasicStem(3, 8), stages, **options)


def config(**resnets):
    cfg = get_cfg()
    for key, value in resnets.items():
        cfg.MODEL.RESNETS[key] = value
    return cfg


def narrow(depth=50, **resnets):
    """A deep network of few channels: fast, and of all the shapes of the real one."""
    widths = {"STEM_OUT_CHANNELS": 8, "RES2_OUT_CHANNELS": 16, "WIDTH_PER_GROUP": 4}
    if depth < 50:
        widths = {"RES2_OUT_CHANNELS": 64}
    return config(DEPTH=depth, **{**widths, **resnets})


@pytest.mark.parametrize("features", [["res2", "res3"], ["stem", "res3"], ["res3"], ["stem"]])
def test_maps_have_the_announced_channels_and_strides(features):
    net = small_resnet(out_features=features)
    out = net(torch.zeros(2, 3, 64, 32))
    shapes = net.output_shape()
    assert list(out) == list(shapes) == features
    for name, shape in shapes.items():
        assert out[name].shape == (2, shape.channels, 64 // shape.stride, 32 // shape.stride)


def test_stages_that_nobody_wants_are_not_built():
    assert not any("res3" in name for name in small_resnet(out_features=["res2"]).state_dict())


def test_a_classifier_returns_scores():
    net = small_resnet(num_classes=5)
    assert net(torch.zeros(2, 3, 32, 32))["linear"].shape == (2, 5)
    assert net.output_shape()["linear"].channels == 5


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_every_depth_has_its_number_of_layers(depth):
    cfg = narrow(depth, OUT_FEATURES=["res2", "res5"])
    with torch.device("meta"):
        net = build_backbone(cfg)
    convolutions = [
        name for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and "short" not in name
    ]
    # Counting the classifier, which a backbone lacks.
    assert len(convolutions) == depth - 1


def test_default_stages_are_those_of_the_configuration():
    with torch.device("meta"):
        stages = ResNet.make_default_stages(50, norm="FrozenBN", stride_in_1x1=True)
        net = ResNet(BasicStem(norm="FrozenBN"), stages, out_features=["res4"], freeze_at=2)
        built = build_backbone(get_cfg())
    shapes = {name: x.shape for name, x in net.state_dict().items()}
    assert shapes == {name: x.shape for name, x in built.state_dict().items()}
    assert [b.stride for b in net.res3] == [b.stride for b in built.res3]


def test_dilation_keeps_the_size_of_the_last_stage():
    net = build_backbone(narrow(RES5_DILATION=2, OUT_FEATURES=["res4", "res5"]))
    shapes = net.output_shape()
    assert shapes["res4"].stride == shapes["res5"].stride == 16
    out = net(torch.zeros(1, 3, 64, 64))
    assert out["res5"].shape[-2:] == out["res4"].shape[-2:] == (4, 4)
    assert net.res5[0].conv2.dilation == (2, 2)


@pytest.mark.parametrize("in_1x1", [True, False])
def test_the_stride_is_where_the_configuration_puts_it(in_1x1):
    block = build_backbone(narrow(STRIDE_IN_1X1=in_1x1)).res3[0]
    strides = (block.conv1.stride[0], block.conv2.stride[0])
    assert strides == ((2, 1) if in_1x1 else (1, 2))


def test_groups_make_a_resnext():
    net = build_backbone(narrow(NUM_GROUPS=4, WIDTH_PER_GROUP=2))
    assert net.res2[0].conv2.groups == 4
    assert net.res2[0].conv2.in_channels == 8


def test_frozen_layers_have_no_gradient_and_fixed_norms():
    net = build_backbone(narrow(NORM="BN"))
    for part, frozen in ((net.stem, True), (net.res2, True), (net.res3, False)):
        assert all(p.requires_grad is not frozen for p in part.parameters())
        norms = [m for m in part.modules() if isinstance(m, FrozenBatchNorm2d | nn.BatchNorm2d)]
        assert norms
        assert all(isinstance(m, FrozenBatchNorm2d) is frozen for m in norms)


def test_nothing_is_frozen_when_training_from_scratch():
    cfg = narrow(NORM="GN", STEM_OUT_CHANNELS=32, RES2_OUT_CHANNELS=32, WIDTH_PER_GROUP=32)
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    assert all(p.requires_grad for p in build_backbone(cfg).parameters())


@pytest.mark.parametrize("modulated", [False, True])
def test_a_new_deformable_block_looks_where_an_ordinary_one_does(modulated):
    torch.manual_seed(0)
    options = {"bottleneck_channels": 4, "stride": 2, "norm": ""}
    block = DeformBottleneckBlock(8, 16, deform_modulated=modulated, deform_num_groups=2, **options)
    plain = BottleneckBlock(8, 16, **options)
    plain.load_state_dict(block.state_dict(), strict=False)
    if modulated:
        with torch.no_grad():
            # The weights of the taps start at sigmoid(0).
            block.conv2.weight *= 2
    x = torch.randn(1, 8, 12, 10)
    torch.testing.assert_close(block(x), plain(x), rtol=1e-4, atol=1e-5)


def test_deformable_stages_follow_the_configuration():
    net = build_backbone(
        narrow(DEFORM_ON_PER_STAGE=[False, False, True, False], DEFORM_MODULATED=True)
    )
    assert isinstance(net.res4[0], DeformBottleneckBlock)
    assert not isinstance(net.res3[0], DeformBottleneckBlock)
    assert net.res4[0].conv2_offset.out_channels == 27


def test_each_block_gets_its_own_value():
    blocks = make_stage(
        BasicBlock, 3, in_channels=4, out_channels=8, stride_per_block=[2, 1, 1], norm=""
    )
    assert [b.stride for b in blocks] == [2, 1, 1]
    assert [b.in_channels for b in blocks] == [4, 8, 8]
    with pytest.raises(ValueError, match=r"stride_per_block.*2 blocks"):
        make_stage(BasicBlock, 2, in_channels=4, out_channels=8, stride_per_block=[1])


def test_values_that_do_not_go_together_are_refused_all_at_once():
    with pytest.raises(ConfigError) as caught:
        build_backbone(config(DEPTH=18, NUM_GROUPS=2, RES5_DILATION=2))
    for part in ("RES2_OUT_CHANNELS=256: ResNet-18 needs 64", "NUM_GROUPS=2", "RES5_DILATION=2"):
        assert part in str(caught.value)


def test_wrong_depth_map_and_dilation_are_refused():
    with pytest.raises(ConfigError, match=r"depth 19 .* known: \[18, 34, 50, 101, 152\]"):
        build_backbone(config(DEPTH=19))
    with pytest.raises(
        ConfigError, match=r"OUT_FEATURES asks a ResNet for the maps \['res9'\]; .*'res5'"
    ):
        build_backbone(narrow(OUT_FEATURES=["res9"]))
    with pytest.raises(ConfigError, match="RES5_DILATION=3"):
        build_backbone(narrow(RES5_DILATION=3))


def test_an_image_without_batch_axis_is_refused():
    with pytest.raises(ValueError, match="N, C, H, W"):
        small_resnet()(torch.zeros(3, 32, 32))


def test_the_number_of_channels_follows_the_pixel_means():
    cfg = narrow()
    cfg.MODEL.PIXEL_MEAN = [0.0]
    assert build_backbone(cfg).stem.conv1.in_channels == 1
    assert build_backbone(cfg, ShapeSpec(channels=2)).stem.conv1.in_channels == 2


def test_an_unknown_name_lists_the_known_ones():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_resnet"
    with pytest.raises(UnknownNameError, match="build_resnet_backbone"):
        build_backbone(cfg)


def test_a_function_that_makes_no_backbone_is_refused():
    name = "makes_a_plain_module_for_this_test"

    def maker(cfg, input_shape):
        return nn.Identity()

    maker.__name__ = name
    BACKBONE_REGISTRY.register(maker)
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    with pytest.raises(ConfigError, match="Identity, which is not a Backbone"):
        build_backbone(cfg)


@pytest.mark.parametrize("depth", [18, 50])
def test_d_variant_has_a_deep_stem_and_averages_in_its_shortcuts(depth):
    """The numbers of weights of both are known: 18 has a projection in res2 as well."""
    cfg = narrow(depth, DEEP_STEM=True, AVG_DOWN=True, OUT_FEATURES=["res2", "res5"], NORM="BN")
    net = build_backbone(cfg)
    names = [name for name, _ in net.stem.named_children()]
    assert names == ["conv1", "conv2", "conv3"]
    assert net.res2[0].shortcut.stride == (1, 1)
    assert net.res3[0].shortcut.stride == (1, 1)
    maps = net(torch.randn(1, 3, 72, 40))
    assert maps["res5"].shape[-2:] == (3, 2)


def test_an_averaging_shortcut_sees_all_cells_that_it_joins():
    """A strided projection looks at one of four."""
    block = BasicBlock(2, 4, stride=2, norm="", avg_down=True)
    for conv in (block.conv1, block.conv2):
        nn.init.zeros_(conv.weight)
    nn.init.ones_(block.shortcut.weight)
    x = torch.rand(1, 2, 4, 4)
    expected = nn.functional.avg_pool2d(x, 2).sum(dim=1, keepdim=True).expand(-1, 4, -1, -1)
    torch.testing.assert_close(block(x), expected)


def test_averaging_shortcuts_of_deformable_blocks_are_refused():
    with pytest.raises(ConfigError, match="AVG_DOWN=True: deformable blocks need False"):
        build_backbone(narrow(AVG_DOWN=True, DEFORM_ON_PER_STAGE=[False, False, False, True]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        {"NORM": "BN"},
        {"NORM": "naiveSyncBN"},
        {"NORM": "FrozenBN", "DEEP_STEM": True, "AVG_DOWN": True},
        {"NORM": "GN", "RES2_OUT_CHANNELS": 64, "WIDTH_PER_GROUP": 32, "STEM_OUT_CHANNELS": 32},
    ],
)
def test_recomputed_blocks_give_the_same_maps_gradients_and_statistics(options, dtype):
    """Bit for bit; a batch norm that saw the second pass too would average it in twice."""
    nets = []
    for recompute in (False, True):
        torch.manual_seed(0)
        cfg = narrow(**options, OUT_FEATURES=["res3", "res5"], USE_ACT_CHECKPOINT=recompute)
        nets.append(build_backbone(cfg).to(dtype).train())
    plain, again = nets
    for _ in range(2):
        found = []
        for net in nets:
            maps = net(
                torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1)).to(dtype)
            )
            sum(map_.square().mean() for map_ in maps.values()).backward()
            found.append(maps)
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.equal(one.grad, other.grad)
    assert plain.state_dict().keys() == again.state_dict().keys()
    for one, other in zip(plain.buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other)


def test_recomputed_blocks_zero_the_same_squares_in_both_passes():
    """Else gradients are those of another network than the one whose loss was computed."""
    keys = {"PLUGIN": "drop_block", "PLUGIN_ON_PER_STAGE": [False, True, False, False]}
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        net = build_backbone(narrow(**keys, NORM="FrozenBN", USE_ACT_CHECKPOINT=recompute)).train()
        sum(map_.square().sum() for map_ in net(torch.rand(2, 3, 96, 96)).values()).backward()
        gradients.append([p.grad for p in net.parameters() if p.grad is not None])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_recomputed_blocks_keep_little_for_the_backward_pass():
    kept = []
    for recompute in (False, True):
        net = build_backbone(narrow(NORM="BN", USE_ACT_CHECKPOINT=recompute))
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.nbytes) or tensor, lambda tensor: tensor
        ):
            net(torch.zeros(2, 3, 64, 64))
        kept.append(sum(sizes))
    assert kept[1] < 0.4 * kept[0]


def test_the_first_stride_of_a_stage_can_be_given_as_in_old_code():
    blocks = make_stage(BasicBlock, 2, first_stride=2, in_channels=4, out_channels=8)
    assert [block.stride for block in blocks] == [2, 1]


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize(
    "name", ["non_local", "global_context", "eca", "cbam", "rfb", "spp", "drop_block"]
)
def test_plugins_are_on_what_the_blocks_of_their_stages_add(name, depth):
    cfg = get_cfg()
    node = cfg.MODEL.RESNETS
    node.DEPTH, node.STEM_OUT_CHANNELS, node.RES2_OUT_CHANNELS = depth, 8, 16
    node.WIDTH_PER_GROUP, node.OUT_FEATURES = 4, ["res2", "res3", "res4", "res5"]
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    plain = build_backbone(cfg)
    node.PLUGIN, node.PLUGIN_ON_PER_STAGE = name, [False, True, False, True]
    net = build_backbone(cfg)
    for stage, has_plugin in zip(net.stages, node.PLUGIN_ON_PER_STAGE, strict=True):
        assert all((block.plugin is not None) is has_plugin for block in stage)
    net.load_state_dict(plain.state_dict(), strict=False)
    block, x = net.res3[1], torch.randn(2, 32, 8, 8)
    wanted = (block.plugin(block.residual(x)) + x).relu()
    torch.testing.assert_close(
        block.eval()(x), wanted if name != "drop_block" else plain.res3[1](x)
    )
    sum(map_.sum() for map_ in net.train()(torch.randn(2, 3, 64, 64)).values()).backward()
    assert all(p.grad is not None for p in net.res5.parameters())


def test_unknown_plugins_are_refused():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.PLUGIN = "se"
    cfg.MODEL.RESNETS.PLUGIN_ON_PER_STAGE = [True]
    with pytest.raises(ConfigError, match=r"PLUGIN='se': use one of \['non_local'.*PLUGIN_ON_PER"):
        build_backbone(cfg)
