"""Swin: shapes, names, windows, freezing, and the numbers of timm's."""

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling.backbone import SwinTransformer, build_backbone
from d2lite.modeling.backbone.swin import (
    BasicLayer,
    PatchMerging,
    SwinTransformerBlock,
    WindowAttention,
    window_partition,
    window_reverse,
)
from d2lite.modeling.backbone.transformer_layers import DropPath
from d2lite.modeling.backbone.window_attention import shifted_window_mask
from d2lite.utils.errors import ConfigError

from .checks import (
    check_batch_equals_single,
    check_gradient_reaches_all,
    check_shapes,
    images,
    randomised,
)


def small_swin(**options):
    sizes = {
        "embed_dim": 8,
        "depths": (2, 2, 2, 1),
        "num_heads": (1, 2, 2, 4),
        "window_size": 4,
        "drop_path_rate": 0.0,
    }
    return randomised(SwinTransformer(**{**sizes, **options}))


@pytest.mark.parametrize("size", [(64, 64), (65, 47), (33, 100)])
def test_maps_have_the_announced_sizes_for_any_image(size):
    check_shapes(small_swin(), *size)


def test_batch_equals_one_by_one():
    check_batch_equals_single(small_swin(), 48, 40)


@pytest.mark.parametrize("options", [{"ape": True}, {"use_checkpoint": True}])
def test_gradient_reaches_all_parameters(options):
    check_gradient_reaches_all(small_swin(pretrain_img_size=32, **options), 64, 72)


def test_recomputing_blocks_changes_no_number():
    x = images(1, 3, 32, 32)
    net, recomputing = small_swin(), small_swin(use_checkpoint=True)
    recomputing.load_state_dict(net.state_dict())
    plain, recomputed = net(x), recomputing(x)
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)


def test_only_wanted_maps_are_normed_and_returned():
    net = small_swin(out_indices=(1, 3))
    assert list(net(images(1, 3, 32, 32))) == ["p1", "p3"]
    assert [n for n, _ in net.named_children() if n.startswith("norm")] == ["norm1", "norm3"]
    assert net.size_divisibility == 32


def test_names_and_shapes_are_those_of_published_swin_t():
    """Weights of Swin-T as converted for detectron2; facts of the published files."""
    shapes = {k: tuple(v.shape) for k, v in SwinTransformer().state_dict().items()}
    expected = {
        "patch_embed.proj.weight": (96, 3, 4, 4),
        "patch_embed.proj.bias": (96,),
        "patch_embed.norm.weight": (96,),
        "layers.0.blocks.1.norm1.weight": (96,),
        "layers.0.blocks.0.attn.relative_position_bias_table": (169, 3),
        "layers.0.blocks.0.attn.relative_position_index": (49, 49),
        "layers.0.blocks.0.attn.qkv.weight": (288, 96),
        "layers.0.blocks.0.attn.qkv.bias": (288,),
        "layers.0.blocks.0.attn.proj.weight": (96, 96),
        "layers.0.blocks.0.mlp.fc1.weight": (384, 96),
        "layers.0.blocks.0.mlp.fc2.bias": (96,),
        "layers.0.downsample.reduction.weight": (192, 384),
        "layers.0.downsample.norm.weight": (384,),
        "layers.2.blocks.5.norm2.bias": (384,),
        "layers.3.blocks.1.attn.relative_position_bias_table": (169, 24),
        "norm0.weight": (96,),
        "norm3.bias": (768,),
    }
    assert expected.items() <= shapes.items()
    # 12 blocks of 14, 3 mergings of 3, 4 of the patches, 4 norms of 2.
    assert len(shapes) == 12 * 14 + 3 * 3 + 4 + 4 * 2
    # The published classifier has 28,288,354; its last layer goes, three norms come.
    expected_size = 28_288_354 - (768 + 1) * 1000 + 2 * (96 + 192 + 384)
    assert sum(p.numel() for p in SwinTransformer().parameters()) == expected_size


def test_numbers_are_those_of_timm():
    timm = pytest.importorskip("timm")
    ours = randomised(
        SwinTransformer(embed_dim=12, depths=(2, 2, 3, 1), num_heads=(1, 2, 3, 4), window_size=2)
    ).eval()
    theirs = timm.models.swin_transformer.SwinTransformer(
        img_size=64,
        embed_dim=12,
        depths=(2, 2, 3, 1),
        num_heads=(1, 2, 3, 4),
        window_size=2,
        num_classes=0,
    ).eval()
    weights = {}
    for name, value in ours.state_dict().items():
        # timm merges patches at the start of a stage, we at the end of the one before.
        if ".downsample." in name:
            stage = int(name.split(".")[1])
            name = name.replace(f"layers.{stage}.", f"layers.{stage + 1}.")
        if not name.endswith("relative_position_index") and not name.startswith(
            ("norm0", "norm1", "norm2")
        ):
            weights[name.replace("norm3.", "norm.") if name.startswith("norm3") else name] = value
    theirs.load_state_dict(weights)
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        out = ours(x)
        expected = theirs.forward_intermediates(x)[1]
        torch.testing.assert_close(
            out["p3"], theirs.forward_features(x).permute(0, 3, 1, 2), rtol=1e-4, atol=1e-5
        )
    for i, raw in enumerate(expected):
        norm = getattr(ours, f"norm{i}")
        normed = norm(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(out[f"p{i}"], normed, rtol=1e-4, atol=1e-5)


def test_windows_put_together_again_are_the_map():
    x = images(2, 8, 12, 5)
    windows = window_partition(x, 4)
    assert windows.shape == (12, 4, 4, 5)
    assert torch.equal(windows[1], x[0, :4, 4:8])
    assert torch.equal(window_reverse(windows, 4, 8, 12), x)


def test_shifted_windows_keep_cells_of_far_sides_apart():
    """After the roll the last window holds both borders; a cell attends only to its own side."""
    height, size, shift = 8, 4, 2
    mask = shifted_window_mask(height, height, size, shift)
    at = (torch.arange(height) + shift) % height
    where = torch.stack(torch.meshgrid(at, at, indexing="ij"), -1)[None]
    windows = window_partition(where, size).flatten(1, 2)
    distance = (windows[:, :, None] - windows[:, None]).abs().amax(-1)
    assert torch.equal(mask == 0, distance < size)


def test_attention_without_mask_equals_its_definition():
    layer = randomised(WindowAttention(6, (2, 3), 2))
    x = images(4, 6, 6)
    q, k, v = layer.qkv(x).view(4, 6, 3, 2, 3).permute(2, 0, 3, 1, 4)
    bias = torch.empty(2, 6, 6)
    for i in range(6):
        for j in range(6):
            down, right = i // 3 - j // 3 + 1, i % 3 - j % 3 + 2
            bias[:, i, j] = layer.relative_position_bias_table[down * 5 + right]
    weights = (q @ k.transpose(-2, -1) * 3**-0.5 + bias).softmax(-1)
    expected = layer.proj((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x), expected)


def test_merging_joins_neighbours_column_by_column():
    layer = PatchMerging(1, norm_layer=lambda _: torch.nn.Identity())
    layer.reduction = torch.nn.Identity()
    x = torch.arange(1.0, 7.0).view(1, 6, 1)  # 2 rows of 3
    assert layer(x, 2, 3)[0].tolist() == [[1, 4, 2, 5], [3, 6, 0, 0]]


def test_stage_returns_its_map_and_the_next_input():
    stage = BasicLayer(8, depth=2, num_heads=2, window_size=4, downsample=PatchMerging)
    out, height, width, halved, next_height, next_width = stage(images(2, 15, 8), 3, 5)
    assert out.shape == (2, 15, 8)
    assert halved.shape == (2, 6, 16)
    assert (height, width, next_height, next_width) == (3, 5, 2, 3)


@pytest.mark.parametrize(
    ("frozen_stages", "expected"),
    [
        (-1, set()),
        (0, {"patch_embed"}),
        (1, {"patch_embed", "absolute_pos_embed"}),
        (2, {"patch_embed", "absolute_pos_embed", "layers.0"}),
        (3, {"patch_embed", "absolute_pos_embed", "layers.0", "layers.1"}),
    ],
)
def test_frozen_stages_get_no_gradient_and_stay_in_evaluation(frozen_stages, expected):
    net = small_swin(frozen_stages=frozen_stages, ape=True).train()
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    parts = {".".join(n.split(".")[: 2 if n.startswith("layers") else 1]) for n in frozen}
    assert parts == expected
    assert net.layers[0].training == (frozen_stages < 2)
    assert net.layers[3].training


def test_dropped_branches_keep_the_expected_value():
    layer = DropPath(0.25)
    x = torch.ones(4000, 1, 1)
    torch.manual_seed(0)
    out = layer.train()(x)
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert abs(out.mean().item() - 1) < 0.05
    assert layer.eval()(x) is x


def config(name, **swin):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.SWIN.EMBED_DIM = 6
    cfg.MODEL.SWIN.NUM_HEADS = [1, 1, 2, 2]
    for key, value in swin.items():
        cfg.MODEL.SWIN[key] = value
    return cfg


def test_builder_reads_the_configuration():
    cfg = config(
        "build_swin_backbone", DEPTHS=[1, 2, 1, 1], WINDOW_SIZE=3, OUT_FEATURES=["p1", "p2"]
    )
    cfg.MODEL.SWIN.DROP_PATH_RATE = 0.4
    cfg.MODEL.SWIN.USE_CHECKPOINT = True
    net = build_backbone(cfg, ShapeSpec(channels=4))
    assert net.output_shape() == {"p1": ShapeSpec(12, stride=8), "p2": ShapeSpec(24, stride=16)}
    assert [layer.depth for layer in net.layers] == [1, 2, 1, 1]
    assert net.layers[0].window_size == 3
    assert net.layers[0].use_checkpoint
    assert net.layers[3].blocks[0].drop_path.drop_prob == pytest.approx(0.4)
    assert net.patch_embed.proj.in_channels == 4
    assert not net.layers[0].blocks[0].norm1.weight.requires_grad  # FREEZE_AT is 2
    assert net.layers[1].blocks[0].norm1.weight.requires_grad


@pytest.mark.parametrize(
    ("arch", "levels"),
    [("GeneralizedRCNN", "p2 p3 p4 p5 p6"), ("RetinaNet", "p3 p4 p5 p6 p7")],
)
def test_pyramid_ends_as_the_detector_asks(arch, levels):
    cfg = config("build_swin_fpn_backbone")
    cfg.MODEL.META_ARCHITECTURE = arch
    features = ["p0", "p1", "p2", "p3"]
    cfg.MODEL.FPN.IN_FEATURES = features[1:] if arch == "RetinaNet" else features
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    net = build_backbone(cfg)
    assert list(net.output_shape()) == levels.split()
    check_shapes(net, 64, 96)


def test_wrong_choices_are_refused():
    with pytest.raises(ConfigError, match=r"OUT_FEATURES asks a Swin for the maps \['res2'\]"):
        build_backbone(config("build_swin_backbone", OUT_FEATURES=["res2"]))
    with pytest.raises(ConfigError, match=r"depths \[1, 1\] has heads \[.*NUM_HEADS"):
        build_backbone(config("build_swin_backbone", DEPTHS=[1, 1], OUT_FEATURES=["p0"]))
    with pytest.raises(ConfigError, match=r"cannot return the maps \[4\]\. Choose among 0 to"):
        small_swin(out_indices=(4,))
    with pytest.raises(ValueError, match="7 channels do not divide over 2 heads"):
        WindowAttention(7, (2, 2), 2)
    with pytest.raises(ValueError, match="shift_size=4 must be in 0 to 3"):
        SwinTransformerBlock(8, 2, window_size=4, shift_size=4)
    with pytest.raises(ValueError, match=r"rate 1\.0"):
        DropPath(1.0)
    with pytest.raises(
        ConfigError, match=r"MODEL.FPN.IN_FEATURES asks SwinTransformer for the maps \[\]"
    ):
        build_backbone(config("build_swin_fpn_backbone"))
