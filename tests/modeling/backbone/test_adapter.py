"""Networks of timm and torchvision by name: maps, numbers, names, freezing, and what is refused."""

import sys

import pytest
import torch
import torchvision
from torch import nn

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling.backbone import FPN, build_backbone
from d2lite.modeling.backbone.adapter import FeatureNetwork
from d2lite.utils.errors import ConfigError, UnknownNameError

from .checks import (
    check_batch_equals_single,
    check_gradient_reaches_all,
    check_shapes,
    images,
    randomised,
)


def config(name, features=(), freeze_at=0, **adapter):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    cfg.MODEL.FPN.IN_FEATURES = list(features)
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    for key, value in adapter.items():
        if isinstance(value, dict):
            cfg.MODEL.ADAPTER[key].update(value)
        else:
            cfg.MODEL.ADAPTER[key] = value
    return cfg


ALL_FEATURES = ["res2", "res3", "res4", "res5"]


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_name_alone_is_the_network_and_all_its_maps(name):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    net = build_backbone(config(name))
    assert isinstance(net, FeatureNetwork)
    assert {n: (s.channels, s.stride) for n, s in net.output_shape().items()} == {
        "res1": (64, 2),
        "res2": (64, 4),
        "res3": (128, 8),
        "res4": (256, 16),
        "res5": (512, 32),
    }
    assert net.size_divisibility == 32
    check_shapes(net, 64, 96)


@pytest.mark.parametrize(
    ("name", "arch", "features", "levels"),
    [
        ("torchvision:resnet18", "GeneralizedRCNN", ALL_FEATURES, "p2 p3 p4 p5 p6"),
        ("torchvision:resnet18", "RetinaNet", ALL_FEATURES[1:], "p3 p4 p5 p6 p7"),
        ("timm:resnet10t", "GeneralizedRCNN", ALL_FEATURES[:2], "p2 p3"),
    ],
)
def test_pyramid_is_put_on_when_its_features_are_named(name, arch, features, levels):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    cfg = config(name, features)
    cfg.MODEL.META_ARCHITECTURE = arch
    net = build_backbone(cfg)
    assert isinstance(net, FPN)
    assert list(net.output_shape()) == levels.split()
    assert list(net.bottom_up.output_shape()) == features
    check_shapes(net, 64, 32)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5", "regnet_x_400mf"],
)
def test_maps_are_those_inside_torchvisions_own_pass(name):
    """The chain of modules is read from the class; a step left out would show here."""
    net = build_backbone(config(f"torchvision:{name}")).eval()
    randomised(net)
    theirs = torchvision.models.get_model(name, weights=None).eval()
    theirs.load_state_dict(net.net.model.state_dict(), strict=False)
    seen = {}

    def note(module, inputs, output):
        seen[output.shape] = output.clone()

    for step in net.net._steps:
        theirs.get_submodule(step).register_forward_hook(note)
    x = images(1, 3, 64, 64)
    with torch.no_grad():
        theirs(x)
        out = net(x)
    assert len(out) >= 4
    for map_ in out.values():
        torch.testing.assert_close(map_, seen[map_.shape], rtol=1e-4, atol=1e-5)


def test_weights_of_torchvision_fit_by_their_names():
    net = build_backbone(config("torchvision:resnet18"))
    theirs = torchvision.models.resnet18(weights=None)
    report = net.net.model.load_state_dict(theirs.state_dict(), strict=False)
    assert report.missing_keys == []
    assert report.unexpected_keys == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_weights_of_timm_fit_by_their_names_and_give_its_maps(name):
    timm = pytest.importorskip("timm")
    net = build_backbone(config(f"timm:{name}")).eval()
    theirs = randomised(timm.create_model(name, pretrained=False)).eval()
    assert net.net.model.load_state_dict(theirs.state_dict(), strict=False).missing_keys == []
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.forward_intermediates(x, intermediates_only=True)
        out = net(x)
    for map_ in out.values():
        (same,) = [raw for raw in expected if raw.shape == map_.shape]
        torch.testing.assert_close(map_, same, rtol=1e-5, atol=1e-5)


def test_batch_equals_one_by_one_and_gradient_reaches_all():
    pytest.importorskip("timm")
    net = randomised(build_backbone(config("timm:convnext_atto", OUT_FEATURES=["res2", "res4"])))
    check_batch_equals_single(net, 64, 32)
    net.train()
    check_gradient_reaches_all(net, 64, 64)


def test_a_transformer_with_one_stride_has_one_map():
    pytest.importorskip("timm")
    options = {"dynamic_img_size": True, "depth": 3, "embed_dim": 48, "num_heads": 2}
    net = build_backbone(config("timm:vit_tiny_patch16_224", OPTIONS=options))
    assert net.output_shape() == {"res4": ShapeSpec(48, stride=16)}
    check_shapes(net, 96, 64)


def test_stages_behind_the_wanted_maps_are_not_kept():
    pytest.importorskip("timm")
    for name in ("timm:resnet10t", "torchvision:resnet18"):
        net = build_backbone(config(name, OUT_FEATURES=["res3"]))
        assert list(net(images(1, 3, 64, 64))) == ["res3"]
        assert not any("layer3" in key or "fc" in key for key in net.state_dict())
        assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_freeze_at_fixes_what_the_map_of_that_stride_comes_from(name):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    net = build_backbone(config(name, freeze_at=2)).train()
    frozen = {n.split(".")[2] for n, p in net.named_parameters() if not p.requires_grad}
    learning = {n.split(".")[2] for n, p in net.named_parameters() if p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    assert learning == {"layer2", "layer3", "layer4"}
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net(images(2, 3, 64, 64))
    moved = {k.split(".")[2] for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == learning


def test_freeze_norm_fixes_all_batch_norms_and_nothing_else():
    net = build_backbone(config("torchvision:resnet18", FREEZE_NORM=True)).train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 20
    assert not any(m.training or m.weight.requires_grad for m in norms)
    assert all(m.weight.requires_grad for m in net.modules() if isinstance(m, nn.Conv2d))
    assert net.training


def test_options_and_channels_reach_the_network():
    pytest.importorskip("timm")
    cfg = config("timm:convnext_atto")
    cfg.merge_from_list(["MODEL.ADAPTER.OPTIONS.drop_path_rate", "0.5"])
    net = build_backbone(cfg, ShapeSpec(channels=4))
    assert net.net.model.stages[3].blocks[1].drop_path.drop_prob == pytest.approx(0.5)
    assert net.net.model.stem[0].in_channels == 4


def test_missing_timm_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="pip install timm"):
        build_backbone(config("timm:resnet18"))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": "torchvision"}, ConfigError, "does not name a network; write for instance"),
        ({"name": "torchvision:resnet999"}, UnknownNameError, "no classifier 'resnet999'"),
        ({"name": "torchvison:resnet18"}, UnknownNameError, "torchvision"),
        (
            {"name": "torchvision:resnet18", "features": ["res2", "p3"]},
            ConfigError,
            r"FPN.IN_FEATURES asks the network for the maps \['p3'\]; it has \['res1'",
        ),
        ({"name": "torchvision:convnext_tiny", "freeze_at": 1}, ConfigError, "FREEZE_AT=1 fixes"),
        ({"name": "torchvision:alexnet"}, ConfigError, "stride that is a power of two"),
        ({"name": "torchvision:vit_b_16"}, ConfigError, "does not take an image of"),
        (
            {"name": "torchvision:resnet18", "OPTIONS": {"weights": "DEFAULT"}},
            ConfigError,
            r"OPTIONS sets \['weights'\]",
        ),
        (
            {"name": "torchvision:resnet18", "OPTIONS": {"depths": 3}},
            ConfigError,
            "cannot be made with MODEL.ADAPTER.OPTIONS=",
        ),
    ],
)
def test_wrong_choices_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        build_backbone(config(**settings))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("timm:resnet9000", UnknownNameError, "no network 'resnet9000'"),
        ("timm:vit_tiny_patch16_224", ConfigError, "dynamic_img_size"),
    ],
)
def test_wrong_networks_of_timm_are_refused(name, error, message):
    pytest.importorskip("timm")
    with pytest.raises(error, match=message):
        build_backbone(config(name))


def test_networks_of_torchvision_refuse_other_channels():
    with pytest.raises(ConfigError, match="take 3 channels, not 1"):
        build_backbone(config("torchvision:resnet18"), ShapeSpec(channels=1))
