"""Files of torchvision's and timm's own classifiers, loaded into our models: the same maps."""

import pytest
import torch
import torchvision
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling import SimpleFeaturePyramid, ViT, build_backbone

MAPS = ["res2", "res3", "res4", "res5"]


def _randomised(net):
    """Norms with statistics of their own, as trained ones have."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight.data, module.running_var):
                value.uniform_(0.5, 1.5, generator=generator)
            for value in (module.bias.data, module.running_mean):
                value.normal_(0, 0.1, generator=generator)
    return net.eval()


def _images():
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def _load(backbone, weights, path):
    torch.save(weights, path)
    model = nn.Module()
    model.backbone = backbone.eval()
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(path))
    assert checkpointer.report.missing == []
    return backbone


def _close(found, expected):
    """To 1e-5 of the largest number of the map."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def _stages(net, x):
    """The maps of torchvision's ResNet, by its own modules."""
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    maps = []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = stage(x)
        maps.append(x)
    return maps


@torch.no_grad()
@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_resnet50_of_torchvision_gives_the_same_maps(tmp_path, norm):
    theirs = _randomised(torchvision.models.resnet50(weights=None))
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = MAPS
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.NORM = norm
    ours = _load(build_backbone(cfg), theirs.state_dict(), tmp_path / "r50.pth")
    found = ours(_images())
    for name, expected in zip(MAPS, _stages(theirs, _images()), strict=True):
        _close(found[name], expected)


def _adapter_config(name):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.FPN.IN_FEATURES = MAPS
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    return cfg


@torch.no_grad()
def test_resnet_of_torchvision_by_name_keeps_the_names_of_its_file(tmp_path):
    """Translating them, as for our own ResNet, would fit nothing there."""
    theirs = _randomised(torchvision.models.resnet18(weights=None))
    cfg = _adapter_config("torchvision:resnet18")
    cfg.MODEL.FPN.IN_FEATURES = []
    ours = _load(build_backbone(cfg), theirs.state_dict(), tmp_path / "r18.pth")
    found = ours(_images())
    for name, expected in zip(MAPS, _stages(theirs, _images()), strict=True):
        _close(found[name], expected)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_file_of_timm_gives_the_same_maps_under_a_pyramid(tmp_path, name):
    timm = pytest.importorskip("timm")
    theirs = _randomised(timm.create_model(name, pretrained=False))
    backbone = build_backbone(_adapter_config(f"timm:{name}"), ShapeSpec(channels=3)).eval()
    model = nn.Module()
    model.backbone = backbone
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(tmp_path / "timm.pth"))
    # The pyramid is new; nothing of the network below it may be missing.
    assert all("fpn_" in missing for missing in checkpointer.report.missing)
    found = backbone.bottom_up(_images())
    intermediates = theirs.forward_intermediates(_images(), intermediates_only=True)
    by_size = {map_.shape[-1]: map_ for map_ in intermediates}
    for map_ in found.values():
        _close(map_, by_size[map_.shape[-1]])


@pytest.mark.parametrize("from_pyramid", [True, False])
def test_a_model_takes_the_backbone_of_one_with_or_without_a_feature_pyramid(
    tmp_path, from_pyramid
):
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = MAPS
    cfg.MODEL.FPN.IN_FEATURES = MAPS
    nets = {}
    for name in ("build_resnet_backbone", "build_resnet_fpn_backbone"):
        cfg.MODEL.BACKBONE.NAME = name
        nets[name] = nn.Module()
        nets[name].backbone = build_backbone(cfg)
    theirs, ours = list(nets.values())[:: -1 if from_pyramid else 1]
    torch.save({**theirs.state_dict(), "head.weight": torch.ones(1)}, tmp_path / "other.pth")
    checkpointer = DetectionCheckpointer(ours)
    checkpointer.load(str(tmp_path / "other.pth"))
    plain = nets["build_resnet_backbone"].backbone.state_dict()
    for name, value in nets["build_resnet_fpn_backbone"].backbone.bottom_up.state_dict().items():
        assert torch.equal(value, plain[name]), name
    assert all("fpn" in name for name in checkpointer.report.missing)


@pytest.mark.parametrize("from_pyramid", [True, False])
def test_a_plain_transformer_takes_the_weights_of_one_under_the_simple_pyramid(
    tmp_path, from_pyramid
):
    def vit():
        return ViT(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)

    plain, pyramid = nn.Module(), nn.Module()
    plain.backbone = vit()
    pyramid.backbone = SimpleFeaturePyramid(vit(), "last_feat", 8, scale_factors=(1.0,))
    theirs, ours = (pyramid, plain) if from_pyramid else (plain, pyramid)
    torch.save({**theirs.state_dict(), "head.weight": torch.ones(1)}, tmp_path / "other.pth")
    checkpointer = DetectionCheckpointer(ours)
    checkpointer.load(str(tmp_path / "other.pth"))
    for name, value in pyramid.backbone.net.state_dict().items():
        assert torch.equal(value, plain.backbone.state_dict()[name]), name
    assert all("simfp" in name for name in checkpointer.report.missing)
