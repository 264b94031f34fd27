"""Vision transformers of timm as plain backbones: numbers of timm, windows, freezing, messages."""

import copy

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling.backbone import ViT, build_backbone
from d2lite.utils.errors import ConfigError, UnknownNameError

from .checks import (
    check_batch_equals_single,
    check_gradient_reaches_all,
    check_shapes,
    images,
    randomised,
)

timm = pytest.importorskip("timm")

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 2}
# A network of each kind, and the side of its patches.
KINDS = {
    "vit_small_patch14_dinov2": 14,
    "vit_small_patch14_reg4_dinov2": 14,
    "vit_small_patch16_dinov3": 16,
    "eva02_tiny_patch14_336": 14,
    "samvit_base_patch16": 16,
    "vit_base_patch16_224.mae": 16,
    "vit_base_patch32_clip_224": 32,
    "vit_small_patch16_rope_mixed_224": 16,
    "vit_base_patch8_224": 8,
    # Patches of the map of a convolutional network, of stride 4.
    "vit_tiny_r_s16_p8_224": 32,
    "vitamin_small_224": 16,
}


def small(name):
    # The width of ViTamin is that of its convolutions.
    return {"depth": 2} if "vitamin" in name else SMALL


def config(name, freeze_at=0, **keys):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    cfg.MODEL.ADAPTER.OPTIONS.update(small(name))
    for key, value in keys.items():
        cfg.MODEL.TIMM_VIT[key] = value
    return cfg


def backbone(name, **options):
    return build_backbone(config(name, **options))


@pytest.mark.parametrize("name", KINDS)
def test_map_is_that_of_timms_own_pass_with_its_weights(name):
    net = randomised(backbone(f"timm_vit:{name}")).eval()
    theirs = timm.create_model(name, pretrained=False, num_classes=0, **small(name)).eval()
    own = net.net.state_dict()
    assert theirs.load_state_dict(own, strict=False).unexpected_keys == []
    side = theirs.pretrained_cfg["input_size"][-1] if "sam" not in name else 224
    side = side if side <= 224 else theirs.patch_embed.img_size[0]
    x = images(1, 3, side, side)
    with torch.no_grad():
        expected = theirs.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)
        found = net(x)["last_feat"]
    torch.testing.assert_close(found, expected[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_any_size_gives_the_announced_maps_and_reaches_all_parameters(name):
    plain = backbone(f"timm_vit:{name}")
    side = KINDS[name]
    assert plain.output_shape()["last_feat"].stride == plain.size_divisibility == side
    check_shapes(plain, 3 * side, 5 * side)
    pyramid = randomised(backbone(f"timm_vit_fpn:{name}"))
    assert list(pyramid.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    check_shapes(pyramid, 64, 96)
    check_gradient_reaches_all(pyramid, 64, 96)


def test_maps_that_the_architecture_does_not_use_are_not_made():
    cfg = config("timm_vit_fpn:vit_small_patch14_dinov2")
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    assert list(build_backbone(cfg).output_shape()) == ["p3", "p4", "p5", "p6", "p7"]
    cfg.MODEL.ADAPTER.OUT_FEATURES = ["p3", "p4"]
    net = build_backbone(cfg)
    assert list(net.output_shape()) == ["p3", "p4"]
    check_gradient_reaches_all(randomised(net), 64, 64)


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"])
@pytest.mark.parametrize("window", [0, 3])
def test_batch_equals_one_by_one(name, window):
    net = randomised(backbone(f"timm_vit:{name}", WINDOW_SIZE=window, GLOBAL_BLOCKS=[1]))
    check_batch_equals_single(net, 5 * KINDS[name], 4 * KINDS[name])


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch14_reg4_dinov2",
        "vit_small_patch16_dinov3",
        "vit_small_patch16_rope_mixed_224",
    ],
)
def test_a_window_as_large_as_the_map_changes_nothing(name):
    """Padding up to the window is not attended to either."""
    whole = randomised(backbone(f"timm_vit:{name}")).eval()
    side = KINDS[name]
    x = images(2, 3, 4 * side, 3 * side)
    for window in (4, 6):
        windowed = backbone(f"timm_vit:{name}", WINDOW_SIZE=window).eval()
        windowed.load_state_dict(whole.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(
                windowed(x)["last_feat"], whole(x)["last_feat"], rtol=1e-4, atol=1e-5
            )


def test_cells_of_other_windows_are_not_seen_but_by_global_blocks():
    side = 14
    x = images(1, 3, 4 * side, 4 * side)
    changed = x.clone()
    changed[..., -side:, -side:] += 1.0
    for global_blocks, far_is_equal in (([], True), ([0], False)):
        # Without tokens that all windows share.
        cfg = config(
            "timm_vit:vit_small_patch14_dinov2", WINDOW_SIZE=2, GLOBAL_BLOCKS=global_blocks
        )
        cfg.MODEL.ADAPTER.OPTIONS.update({"class_token": False, "global_pool": "avg"})
        net = randomised(build_backbone(cfg)).eval()
        with torch.no_grad():
            before, after = (net(image)["last_feat"][..., :2, :2] for image in (x, changed))
        assert torch.equal(before, after) == far_is_equal


@pytest.mark.parametrize("window", [0, 2])
def test_recomputed_blocks_give_the_same_gradients(window):
    name = "timm_vit:vit_small_patch16_dinov3"
    keys = {"WINDOW_SIZE": window, "GLOBAL_BLOCKS": [1]}
    plain = randomised(backbone(name, **keys))
    again = backbone(name, USE_ACT_CHECKPOINT=True, **keys)
    again.load_state_dict(plain.state_dict())
    x = images(2, 3, 48, 80)
    for net in (plain, again):
        net(x)["last_feat"].square().mean().backward()
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_a_copy_with_windows_works_by_itself():
    """Averaged weights are a deep copy; hooks that point to the original would mix the two."""
    net = backbone("timm_vit:vit_small_patch14_dinov2", WINDOW_SIZE=2)
    copied = copy.deepcopy(net)
    net(images(1, 3, 28, 28))
    expected = net.eval()(images(1, 3, 56, 42))["last_feat"]
    torch.testing.assert_close(copied.eval()(images(1, 3, 56, 42))["last_feat"], expected)


def vit(freeze_at):
    return ViT(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, drop_path_rate=0.5,
        pretrain_img_size=32, freeze_at=freeze_at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("freeze_at", "learning"),
    [
        (0, {"pos_embed", "patch_embed", "blocks.0", "blocks.1"}),
        (1, {"blocks.0", "blocks.1"}),
        (2, {"blocks.1"}),
        (3, set()),
    ],
)
def test_freeze_at_counts_patches_and_then_blocks(freeze_at, learning):
    ours = vit(freeze_at)
    theirs = backbone("timm_vit:vit_small_patch14_dinov2", freeze_at=freeze_at).net
    for net in (ours, theirs):
        names = {
            name if name.startswith("blocks") else name.split(".")[0]
            for full, p in net.named_parameters()
            if p.requires_grad
            for name in [".".join(full.split(".")[:2])]
        }
        more = {"cls_token"} if freeze_at == 0 and net is theirs else set()
        after = {"norm"} if freeze_at < 3 and net is theirs else set()
        assert names == learning | more | after
    frozen = [block for block in ours.train().blocks if not block.training]
    assert len(frozen) == max(freeze_at - 1, 0)


def test_channels_of_the_image_and_options_reach_the_network():
    net = build_backbone(config("timm_vit:vit_small_patch14_dinov2"), ShapeSpec(channels=5))
    assert net(images(1, 5, 28, 28))["last_feat"].shape == (1, 48, 2, 2)


@pytest.mark.parametrize(("stem", "stride"), [("resnet18d", 8), ("convnext_atto", 16)])
def test_a_stem_puts_the_map_of_a_network_in_place_of_patches(stem, stride):
    options = {"STEM": stem, "STEM_STRIDE": stride}
    net = backbone("timm_vit:vit_small_patch14_reg4_dinov2", **options)
    assert net.output_shape()["last_feat"].stride == net.size_divisibility == stride
    check_shapes(net, 3 * stride, 5 * stride)
    theirs = timm.create_model(stem, features_only=True, pretrained=False).eval()
    ours = net.eval().net.patch_embed.backbone
    # What comes after this map is not made.
    assert not theirs.load_state_dict(ours.state_dict(), strict=False).unexpected_keys
    assert len(ours.state_dict()) < len(theirs.state_dict())
    x = images(1, 3, 64, 96)
    index = theirs.feature_info.reduction().index(stride)
    torch.testing.assert_close(ours(x)[0], theirs(x)[index])
    pyramid = randomised(backbone("timm_vit_fpn:vit_small_patch14_reg4_dinov2", **options))
    check_gradient_reaches_all(pyramid, 64, 96)


def test_a_frozen_stem_keeps_its_weights_and_statistics():
    net = backbone("timm_vit:vit_small_patch16_224", freeze_at=1, STEM="resnet18d").train()
    before = copy.deepcopy(net.net.patch_embed.state_dict())
    net(images(2, 3, 32, 32))["last_feat"].sum().backward()
    assert all(p.grad is None for p in net.net.patch_embed.parameters())
    torch.testing.assert_close(net.net.patch_embed.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "keys", "error", "message"),
    [
        ("timm_vit", {}, ConfigError, "does not name a network; write for instance"),
        ("timm_vit:vit_smal", {}, UnknownNameError, "no network 'vit_smal'"),
        ("timm_vit:resnet18", {}, ConfigError, "cannot be made"),
        ("timm_vit_fpn:hiera_tiny_224", {}, ConfigError, "a Hiera as a plain vision transformer"),
        ("timm_vit:beit_base_patch16_224", {}, ConfigError, "does not take an image of 64 x 64"),
        ("timm_vit:samvit_base_patch16", {"WINDOW_SIZE": 7}, ConfigError, "windows of its own"),
        ("timm_vit:vit_small_patch14_dinov2", {"freeze_at": 4}, ConfigError, "has 2 blocks"),
        ("timm_vit_fpn:vit_small_patch14_dinov2", {"OUT": ["res4"]}, ConfigError, "has the maps"),
        ("timm_vit:vit_small_patch16_224", {"STEM": "resnet18x"}, UnknownNameError, "'resnet18x'"),
        (
            *("timm_vit:vit_small_patch16_224", {"STEM": "resnet18d", "STEM_STRIDE": 6}),
            *(ConfigError, r"STEM_STRIDE is 6; .* strides \[2, 4, 8, 16, 32\]"),
        ),
        (
            *("timm_vit:vit_small_patch16_dinov3", {"STEM": "resnet18d"}),
            *(ConfigError, "cannot begin with convolutions"),
        ),
    ],
)
def test_wrong_choices_are_refused(name, keys, error, message):
    out = keys.pop("OUT", [])
    cfg = config(name, **keys)
    cfg.MODEL.ADAPTER.OUT_FEATURES = out
    if "hiera" in name:
        cfg.MODEL.ADAPTER.OPTIONS.clear()
    with pytest.raises(error, match=message):
        build_backbone(cfg)
