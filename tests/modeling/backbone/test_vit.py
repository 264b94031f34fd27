"""ViT and its simple pyramid: shapes, names, windows, positions, and the numbers of timm's."""

from functools import partial

import pytest
import torch
from torch import nn

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling.backbone import (
    SimpleFeaturePyramid,
    ViT,
    build_backbone,
    get_vit_lr_decay_rate,
)
from d2lite.modeling.backbone.fpn import LastLevelMaxPool
from d2lite.modeling.backbone.utils import (
    add_decomposed_rel_pos,
    get_abs_pos,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from d2lite.modeling.backbone.vit import Attention, ResBottleneckBlock
from d2lite.utils.errors import ConfigError

from .checks import (
    check_batch_equals_single,
    check_gradient_reaches_all,
    check_shapes,
    images,
    randomised,
)


def small_vit(**options):
    sizes = {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 3,
        "num_heads": 2,
        "use_rel_pos": True,
        "window_size": 3,
        "window_block_indexes": (0, 2),
        "pretrain_img_size": 24,
    }
    return randomised(ViT(**{**sizes, **options}))


def small_pyramid(net=None, **options):
    settings = {"out_channels": 8, "scale_factors": (4.0, 2.0, 1.0, 0.5)}
    return SimpleFeaturePyramid(net or small_vit(), "last_feat", **{**settings, **options})


@pytest.mark.parametrize("size", [(32, 32), (64, 40), (16, 56)])
def test_map_has_the_announced_size_for_any_number_of_patches(size):
    check_shapes(small_vit(), *size)


def test_batch_equals_one_by_one():
    check_batch_equals_single(small_pyramid(), 48, 32)


@pytest.mark.parametrize(
    "options",
    [
        {"residual_block_indexes": (1, 2)},
        {"use_act_checkpoint": True, "pretrain_use_cls_token": False},
        {"use_rel_pos": False, "use_abs_pos": False, "window_size": 0},
    ],
)
def test_gradient_reaches_all_parameters(options):
    check_gradient_reaches_all(small_vit(**options), 48, 32)


def test_pyramid_has_levels_named_by_stride_and_one_more_on_top():
    pyramid = small_pyramid(
        small_vit(patch_size=16, img_size=64, pretrain_img_size=48),
        top_block=LastLevelMaxPool(),
        square_pad=64,
    )
    assert list(pyramid.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert pyramid.output_shape()["p6"] == ShapeSpec(channels=8, stride=64)
    assert pyramid.size_divisibility == 32
    assert pyramid.padding_constraints == {"size_divisibility": 32, "square_size": 64}
    check_shapes(pyramid, 64, 32)
    check_gradient_reaches_all(pyramid, 64, 64)


def test_pyramid_without_norm_has_biases_and_the_same_layer_numbers():
    with_norm, without = small_pyramid(), small_pyramid(norm="")
    names = {n for n in without.state_dict() if n.startswith("simfp_1")}
    assert names == {f"simfp_1.{i}.{k}" for i in (0, 3, 4, 5) for k in ("weight", "bias")}
    assert names & set(with_norm.state_dict()) == {
        *(f"simfp_1.{i}.weight" for i in (0, 3, 4, 5)),
        *(f"simfp_1.{i}.bias" for i in (0, 3)),
    }


def test_names_and_shapes_are_those_of_published_vitdet_b():
    """ViTDet's base model; facts of the published files."""
    with torch.device("meta"):
        net = ViT(
            use_rel_pos=True,
            window_size=14,
            window_block_indexes=(0, 1, 3, 4, 6, 7, 9, 10),
            residual_block_indexes=(11,),
        )
        pyramid = SimpleFeaturePyramid(net, "last_feat", 256, (4.0, 2.0, 1.0, 0.5))
    shapes = {k: tuple(v.shape) for k, v in pyramid.state_dict().items()}
    expected = {
        "net.pos_embed": (1, 197, 768),
        "net.patch_embed.proj.weight": (768, 3, 16, 16),
        "net.patch_embed.proj.bias": (768,),
        "net.blocks.0.norm1.weight": (768,),
        "net.blocks.0.attn.qkv.weight": (2304, 768),
        "net.blocks.0.attn.qkv.bias": (2304,),
        "net.blocks.0.attn.proj.weight": (768, 768),
        "net.blocks.0.attn.rel_pos_h": (27, 64),
        "net.blocks.2.attn.rel_pos_w": (127, 64),
        "net.blocks.11.norm2.bias": (768,),
        "net.blocks.11.mlp.fc1.weight": (3072, 768),
        "net.blocks.11.mlp.fc2.weight": (768, 3072),
        "net.blocks.11.residual.conv2.weight": (384, 384, 3, 3),
        "net.blocks.11.residual.norm3.weight": (768,),
        "simfp_2.0.weight": (768, 384, 2, 2),
        "simfp_2.1.weight": (384,),
        "simfp_2.3.weight": (384, 192, 2, 2),
        "simfp_2.4.weight": (256, 192, 1, 1),
        "simfp_2.4.norm.bias": (256,),
        "simfp_2.5.weight": (256, 256, 3, 3),
        "simfp_3.0.bias": (384,),
        "simfp_3.1.weight": (256, 384, 1, 1),
        "simfp_4.0.weight": (256, 768, 1, 1),
        "simfp_4.1.norm.weight": (256,),
        "simfp_5.1.weight": (256, 768, 1, 1),
        "simfp_5.2.norm.weight": (256,),
    }
    assert expected.items() <= shapes.items()
    assert len([name for name in shapes if name.startswith("net.")]) == 3 + 12 * 14 + 9
    assert not any("conv1.bias" in name or "net.norm" in name for name in shapes)


def test_numbers_are_those_of_timm():
    timm = pytest.importorskip("timm")
    ours = small_vit(
        use_rel_pos=False,
        window_size=0,
        pretrain_use_cls_token=False,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    ).eval()
    theirs = timm.models.vision_transformer.VisionTransformer(
        img_size=24,
        patch_size=8,
        embed_dim=16,
        depth=3,
        num_heads=2,
        num_classes=0,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
        final_norm=False,
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    x = images(2, 3, 24, 24)
    with torch.no_grad():
        expected = theirs.forward_features(x).unflatten(1, (3, 3)).permute(0, 3, 1, 2)
        torch.testing.assert_close(ours(x)["last_feat"], expected, rtol=1e-4, atol=1e-5)


def test_attention_with_relative_positions_equals_its_definition():
    layer = randomised(Attention(8, 2, use_rel_pos=True, input_size=(2, 3)))
    x = images(2, 2, 3, 8)
    q, k, v = layer.qkv(x).view(2, 6, 3, 2, 4).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) / 2
    for i in range(6):
        for j in range(6):
            term = layer.rel_pos_h[i // 3 - j // 3 + 1] + layer.rel_pos_w[i % 3 - j % 3 + 2]
            scores[:, :, i, j] += q[:, :, i] @ term
    expected = layer.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 2, 3, 8))
    torch.testing.assert_close(layer(x), expected)


def test_adding_relative_positions_works_for_fewer_keys_than_queries():
    """Keys of half the resolution stand at every second query."""
    q = images(3, 8, 5)
    table_h, table_w = images(7, 5), images(3, 5)
    attn = add_decomposed_rel_pos(torch.zeros(3, 8, 4), q, table_h, table_w, (4, 2), (2, 2))
    for query in range(8):
        for key in range(4):
            down = query // 2 - 2 * (key // 2) + 2
            right = query % 2 - key % 2 + 1
            expected = q[:, query] @ (table_h[down] + table_w[right])
            torch.testing.assert_close(attn[:, query, key], expected)


def test_table_of_relative_positions_is_stretched_to_the_size():
    table = torch.arange(5.0)[:, None]
    assert get_rel_pos(3, 3, table)[..., 0].tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]
    stretched = get_rel_pos(5, 5, table)[..., 0]
    assert stretched.shape == (5, 5)
    assert stretched.diagonal().tolist() == pytest.approx([2] * 5)
    assert (stretched.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("size", [(6, 9), (7, 8), (1, 2)])
def test_windows_put_together_again_are_the_map(size):
    x = images(2, *size, 4)
    windows, padded = window_partition(x, 3)
    assert padded == (-(-size[0] // 3) * 3, -(-size[1] // 3) * 3)
    assert windows.shape == (2 * padded[0] * padded[1] // 9, 3, 3, 4)
    assert torch.equal(window_unpartition(windows, 3, padded, size), x)
    assert windows.sum() == pytest.approx(x.sum().item(), abs=1e-4)


def test_absolute_positions_keep_their_size_or_are_resized():
    positions = images(1, 10, 4)
    same = get_abs_pos(positions, True, (3, 3))
    assert torch.equal(same, positions[:, 1:].view(1, 3, 3, 4))
    assert get_abs_pos(positions, True, (4, 7)).shape == (1, 4, 7, 4)
    with pytest.raises(ValueError, match="10 positions are not a square"):
        get_abs_pos(positions, False, (3, 3))


def test_a_new_residual_block_changes_nothing():
    x = images(1, 8, 4, 5)
    assert torch.equal(ResBottleneckBlock(8, 8, 4)(x), x)


@pytest.mark.parametrize(
    ("name", "exponent"),
    [
        ("backbone.net.pos_embed", 13),
        ("backbone.net.patch_embed.proj.weight", 13),
        ("backbone.net.blocks.0.attn.qkv.weight", 12),
        ("backbone.net.blocks.11.norm1.bias", 1),
        ("backbone.net.blocks.3.residual.conv1.weight", 0),
        ("backbone.simfp_2.0.weight", 0),
        ("roi_heads.blocks.3.weight", 0),
    ],
)
def test_rates_fall_towards_the_image(name, exponent):
    assert get_vit_lr_decay_rate(name, 0.7, 12) == pytest.approx(0.7**exponent)


def config(name="build_vit_fpn_backbone", **vit):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    small = {"EMBED_DIM": 16, "DEPTH": 3, "NUM_HEADS": 2, "IMG_SIZE": 64, "GLOBAL_BLOCKS": [1]}
    for key, value in {**small, **vit}.items():
        cfg.MODEL.VIT[key] = value
    return cfg


def test_builder_reads_the_configuration():
    cfg = config(
        DROP_PATH_RATE=0.3,
        WINDOW_SIZE=2,
        RESIDUAL_BLOCKS=[2],
        USE_ACT_CHECKPOINT=True,
        PYRAMID_NORM="BN",
        SQUARE_PAD=96,
    )
    pyramid = build_backbone(cfg)
    assert list(pyramid.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert pyramid.padding_constraints["square_size"] == 96
    assert isinstance(pyramid.simfp_4[0].norm, nn.BatchNorm2d)
    blocks = pyramid.net.blocks
    assert [block.window_size for block in blocks] == [2, 0, 2]
    assert [block.residual is not None for block in blocks] == [False, False, True]
    assert blocks[2].drop_path.drop_prob == pytest.approx(0.3)
    assert blocks[1].attn.rel_pos_h.shape == (7, 8)
    assert blocks[0].norm1.eps == 1e-6
    assert list(build_backbone(config("build_vit_backbone")).output_shape()) == ["last_feat"]


def test_dense_detectors_get_two_more_levels():
    cfg = config()
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    pyramid = build_backbone(cfg)
    assert list(pyramid.output_shape())[-2:] == ["p6", "p7"]
    check_shapes(pyramid, 64, 96)


def test_patches_and_positions_can_be_frozen_and_more_than_everything_is_refused():
    cfg = config("build_vit_backbone")
    cfg.MODEL.BACKBONE.FREEZE_AT = 1
    frozen = {n for n, p in build_backbone(cfg).named_parameters() if not p.requires_grad}
    assert frozen == {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    cfg.MODEL.BACKBONE.FREEZE_AT = 15
    with pytest.raises(ConfigError, match=r"FREEZE_AT=15, but this transformer has \d+ blocks"):
        build_backbone(cfg)


def test_wrong_choices_are_refused():
    with pytest.raises(ConfigError, match="simple pyramid asks ViT for the maps \\['res5'\\]"):
        SimpleFeaturePyramid(small_vit(), "res5", 8, (1.0,))
    with pytest.raises(ConfigError, match=r"no scale 3\.0"):
        small_pyramid(scale_factors=(3.0,))
    with pytest.raises(ValueError, match="16 channels do not divide over 3 heads"):
        small_vit(num_heads=3)
    with pytest.raises(ValueError, match="needs input_size"):
        Attention(8, 2, use_rel_pos=True)
