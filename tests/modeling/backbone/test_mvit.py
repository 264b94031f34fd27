"""MViT: shapes, names, the plan of its blocks, and the numbers of timm's."""

from functools import partial

import pytest
import torch
from torch import nn

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling.backbone import MViT, build_backbone
from d2lite.modeling.backbone.mvit import MultiScaleAttention, MultiScaleBlock
from d2lite.utils.errors import ConfigError

from .checks import (
    check_batch_equals_single,
    check_gradient_reaches_all,
    check_shapes,
    images,
    randomised,
)


def small_mvit(**options):
    sizes = {
        "img_size": 64,
        "embed_dim": 8,
        "depth": 6,
        "last_block_indexes": (0, 2, 4, 5),
        "adaptive_window_size": 8,
    }
    return randomised(MViT(**{**sizes, **options}))


@pytest.mark.parametrize("size", [(64, 64), (65, 47), (33, 100)])
def test_maps_have_the_announced_sizes_for_any_image(size):
    check_shapes(small_mvit(), *size)


def test_batch_equals_one_by_one():
    check_batch_equals_single(small_mvit(), 72, 40)


@pytest.mark.parametrize(
    "options",
    [
        {"use_act_checkpoint": True, "use_abs_pos": True},
        {"residual_pooling": False, "use_rel_pos": False},
    ],
)
def test_gradient_reaches_all_parameters(options):
    check_gradient_reaches_all(small_mvit(**options), 64, 96)


def test_names_and_shapes_are_those_of_published_mvitv2_t():
    """MViTv2-T as a backbone; facts of the published files."""
    net = MViT(depth=10, last_block_indexes=(0, 2, 7, 9))
    shapes = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    expected = {
        "patch_embed.proj.weight": (96, 3, 7, 7),
        "blocks.0.norm1.weight": (96,),
        "blocks.0.attn.qkv.weight": (288, 96),
        "blocks.0.attn.proj.bias": (96,),
        "blocks.0.attn.pool_q.weight": (96, 1, 3, 3),
        "blocks.0.attn.norm_k.bias": (96,),
        "blocks.0.attn.rel_pos_h": (111, 96),
        "blocks.1.proj.weight": (192, 96),
        "blocks.1.norm1.weight": (96,),
        "blocks.1.norm2.weight": (192,),
        "blocks.1.attn.qkv.weight": (576, 96),
        "blocks.1.attn.rel_pos_w": (55, 96),
        "blocks.2.attn.rel_pos_w": (55, 96),
        "blocks.3.attn.rel_pos_h": (55, 96),  # keys are not halved where queries are
        "blocks.4.attn.rel_pos_h": (27, 96),
        "blocks.8.proj.weight": (768, 384),
        "blocks.9.attn.rel_pos_h": (13, 96),
        "blocks.9.mlp.fc1.weight": (3072, 768),
        "scale2_norm.weight": (96,),
        "scale5_norm.bias": (768,),
    }
    assert expected.items() <= shapes.items()
    # 10 blocks of 23 values but 3 with a projection of the shortcut, the patches, 4 norms.
    per_block = 4 + 4 + 3 * 3 + 2 + 4
    assert len(shapes) == 10 * per_block + 3 * 2 + 2 + 4 * 2


def test_blocks_follow_the_plan():
    """Strides of keys and values are doubled in two of the blocks that see the whole map."""
    net = MViT(depth=10, last_block_indexes=(0, 2, 7, 9))
    attention = [block.attn for block in net.blocks]
    assert [a.q_window for a in attention] == [56, 28, 0, 14, 14, 14, 14, 0, 7, 0]
    assert [a.kv_window for a in attention] == [14, 28, 0, 28, 14, 14, 14, 0, 14, 0]
    assert [a.pool_q.stride[0] for a in attention] == [1, 2, 1, 2, 1, 1, 1, 1, 2, 1]
    assert [a.pool_k.stride[0] for a in attention] == [4, 2, 4, 1, 1, 1, 1, 2, 1, 1]
    assert [a.num_heads for a in attention] == [1, 2, 2, 4, 4, 4, 4, 4, 8, 8]


def test_numbers_are_those_of_timm():
    """Windows as large as the map and one block a stage: then there is nothing timm lacks."""
    mvitv2 = pytest.importorskip("timm").models.mvitv2
    ours = small_mvit(
        depth=4,
        last_block_indexes=(0, 1, 2, 3),
        adaptive_window_size=16,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    ).eval()
    settings = mvitv2.MultiScaleVitCfg(
        depths=(1, 1, 1, 1),
        embed_dim=8,
        stride_kv=((4, 4), (4, 4), (2, 2), (1, 1)),
        stride_kv_adaptive=None,
    )
    theirs = mvitv2.MultiScaleVit(settings, img_size=(64, 64), num_classes=0).eval()
    weights = {}
    for name, value in ours.state_dict().items():
        if name.startswith("blocks."):
            number, rest = name.split(".", 2)[1:]
            rest = f"shortcut_proj_attn.{rest[5:]}" if rest.startswith("proj.") else rest
            name = f"stages.{number}.blocks.0.{rest}"
        name = name.replace("scale5_norm", "norm")
        if not name.startswith("scale"):
            weights[name] = value
    theirs.load_state_dict(weights)
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        out = ours(x)
        expected = theirs.forward_intermediates(x, intermediates_only=True)
    for i, raw in enumerate(expected, start=2):
        normed = getattr(ours, f"scale{i}_norm")(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(out[f"scale{i}"], normed, rtol=1e-4, atol=1e-5)


def test_windows_as_large_as_the_map_change_nothing():
    options = {"stride_q": 2, "stride_kv": 4, "use_rel_pos": True, "input_size": (8, 8)}
    whole = randomised(MultiScaleAttention(6, 8, 2, **options))
    windowed = MultiScaleAttention(6, 8, 2, window_size=8, **options)
    windowed.load_state_dict(whole.state_dict())
    x = images(2, 8, 8, 6)
    assert whole(x).shape == (2, 4, 4, 8)
    torch.testing.assert_close(whole(x), windowed(x))


def test_shortcut_is_pooled_like_the_queries():
    block = MultiScaleBlock(4, 4, 2, stride_q=2)
    assert isinstance(block.pool_skip, nn.MaxPool2d)
    assert block(images(1, 5, 7, 4)).shape == (1, 3, 4, 4)
    assert MultiScaleBlock(4, 4, 2).pool_skip is None


def config(name="build_mvit_backbone", **mvit):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    small = {"EMBED_DIM": 8, "DEPTH": 5, "LAST_BLOCK_INDEXES": [0, 1, 3, 4], "WINDOW_SIZE": 8}
    for key, value in {**small, **mvit}.items():
        cfg.MODEL.MVIT[key] = value
    return cfg


def test_builder_reads_the_configuration():
    cfg = config(
        NUM_HEADS=2,
        DROP_PATH_RATE=0.4,
        IMG_SIZE=32,
        OUT_FEATURES=["scale3", "scale5"],
        USE_ACT_CHECKPOINT=True,
    )
    net = build_backbone(cfg, ShapeSpec(channels=4))
    assert net.output_shape() == {
        "scale3": ShapeSpec(16, stride=8),
        "scale5": ShapeSpec(64, stride=32),
    }
    assert net.blocks[0].attn.num_heads == 2
    assert net.blocks[0].attn.q_window == 8
    assert net.blocks[4].drop_path.drop_prob == pytest.approx(0.4)
    assert net.blocks[0].attn.rel_pos_h.shape == (15, 4)
    assert net.patch_embed.proj.in_channels == 4


@pytest.mark.parametrize(("freeze_at", "first"), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_first_stages_can_be_frozen(freeze_at, first):
    cfg = config()
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    net = build_backbone(cfg)
    assert net.patch_embed.proj.weight.requires_grad == (freeze_at == 0)
    learns = [all(p.requires_grad for p in block.parameters()) for block in net.blocks]
    assert learns == [i >= first for i in range(5)]
    # What is frozen drops no branches.
    assert [block.training for block in net.train().blocks] == learns
    check_gradient_reaches_all(randomised(net), 64, 64)


def test_pyramid_is_put_on():
    cfg = config("build_mvit_fpn_backbone", SQUARE_PAD=128)
    cfg.MODEL.FPN.IN_FEATURES = ["scale2", "scale3", "scale4", "scale5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    net = build_backbone(cfg)
    assert list(net.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert net.padding_constraints["square_size"] == 128
    check_shapes(net, 64, 96)


def test_wrong_choices_are_refused():
    with pytest.raises(ConfigError, match=r"end at blocks \[0, 2, 4, 4\]\. .* must rise, up to 5"):
        small_mvit(last_block_indexes=(0, 2, 4, 4))
    with pytest.raises(ConfigError, match=r"asks an MViT for the maps \['res2'\]; it has "):
        small_mvit(out_features=["res2"])
    with pytest.raises(ValueError, match="window of 6 cells is not a multiple"):
        MultiScaleAttention(8, 8, 2, window_size=6, stride_kv=4)
    with pytest.raises(ValueError, match="square input_size"):
        MultiScaleAttention(8, 8, 2, use_rel_pos=True, input_size=(4, 8))
    with pytest.raises(ValueError, match="8 channels do not divide over 3 heads"):
        MultiScaleAttention(8, 8, 3)
