"""SOLVER.LAYER_DECAY and SOLVER.PARAM_GROUPS: which parameter gets which rate and decay."""

import re

import pytest
import torch
from torch import nn

from d2lite.config import get_cfg
from d2lite.modeling.backbone import build_backbone, get_vit_lr_decay_rate
from d2lite.solver import build_optimizer
from d2lite.solver.parameter_rules import layer_decay_rates
from d2lite.utils.errors import ConfigError


class Detector(nn.Module):
    """A backbone as it is named in every model, and a head."""

    def __init__(self, cfg):
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.backbone = build_backbone(cfg)


def config(name, *keys, **options):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.FPN.OUT_CHANNELS = 4
    cfg.MODEL.ADAPTER.OPTIONS.update(options)
    cfg.merge_from_list(["SOLVER.BASE_LR", 1.0, "SOLVER.WEIGHT_DECAY", 0.05, *keys])
    return cfg


def vit_keys():
    return [
        "MODEL.VIT.DEPTH", 3, "MODEL.VIT.EMBED_DIM", 16, "MODEL.VIT.NUM_HEADS", 2,
        "MODEL.VIT.IMG_SIZE", 64, "MODEL.VIT.WINDOW_SIZE", 2, "MODEL.VIT.RESIDUAL_BLOCKS", [2],
        "MODEL.VIT.GLOBAL_BLOCKS", [2],
    ]  # fmt: skip


def by_block(rates, net):
    """The rates of one network by the names of its blocks, and of other parameters."""
    found = {}
    for name, rate in rates.items():
        short = re.sub(r"(blocks\.\d+)\..*", r"\1", name.removeprefix(net))
        assert found.setdefault(short, rate) == rate or ".residual." in name
    return found


def rates_of(cfg, decay=0.5):
    with torch.device("meta"):
        model = Detector(cfg)
    return layer_decay_rates([name for name, _ in model.named_parameters()], decay)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("build_vit_fpn_backbone", vit_keys()),
        ("build_mvit_fpn_backbone", ["MODEL.FPN.IN_FEATURES", ["scale2", "scale5"]]),
    ],
)
def test_rates_are_those_of_the_published_function_where_that_is_defined(name, keys):
    cfg = config(name, *keys)
    if "mvit" in name:
        cfg.MODEL.FPN.IN_FEATURES = ["scale2", "scale3", "scale4", "scale5"]
    depth = 3 if "build_vit" in name else cfg.MODEL.MVIT.DEPTH
    rates = rates_of(cfg, 0.7)
    expected = {n: get_vit_lr_decay_rate(n, lr_decay_rate=0.7, num_layers=depth) for n in rates}
    assert rates == expected
    assert len(set(rates.values())) == depth + 2


def test_vit_of_timm_falls_from_block_to_block_down_to_its_tokens():
    pytest.importorskip("timm")
    cfg = config("timm_vit_fpn:vit_small_patch14_reg4_dinov2", depth=2, embed_dim=48, num_heads=2)
    found = by_block(rates_of(cfg), "backbone.net.net.")
    assert {k: v for k, v in found.items() if v < 1} == {
        "cls_token": 0.125,
        "reg_token": 0.125,
        "pos_embed": 0.125,
        "patch_embed.proj.weight": 0.125,
        "patch_embed.proj.bias": 0.125,
        "blocks.0": 0.25,
        "blocks.1": 0.5,
    }
    assert {"norm.weight", "head.weight", "backbone.simfp_2.0.weight"} <= set(found)


def test_swin_counts_the_blocks_of_all_stages():
    cfg = config(
        "build_swin_fpn_backbone",
        "MODEL.FPN.IN_FEATURES", ["p0", "p1", "p2", "p3"],
        "MODEL.SWIN.DEPTHS", [1, 1, 2, 1],
    )  # fmt: skip
    found = by_block(rates_of(cfg), "backbone.bottom_up.")
    patches = ("proj.weight", "proj.bias", "norm.weight", "norm.bias")
    merging = ("reduction.weight", "norm.weight", "norm.bias")
    assert {k: v for k, v in found.items() if v < 1} == {
        **{f"patch_embed.{name}": 2.0**-6 for name in patches},
        "layers.0.blocks.0": 2.0**-5,
        **{f"layers.0.downsample.{name}": 2.0**-5 for name in merging},
        "layers.1.blocks.0": 2.0**-4,
        **{f"layers.1.downsample.{name}": 2.0**-4 for name in merging},
        "layers.2.blocks.0": 2.0**-3,
        "layers.2.blocks.1": 2.0**-2,
        **{f"layers.2.downsample.{name}": 2.0**-2 for name in merging},
        "layers.3.blocks.0": 2.0**-1,
    }
    assert {"norm0.weight", "norm3.bias", "backbone.fpn_lateral2.weight"} <= set(found)


def test_convnext_gives_downsampling_the_rate_of_the_block_after_it():
    pytest.importorskip("timm")
    cfg = config("timm:convnext_atto", depths=(1, 1, 2, 1))
    found = by_block(rates_of(cfg), "backbone.net.model.")
    layers = [f"{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")]
    assert {k: v for k, v in found.items() if v < 1} == {
        **{f"stem.{name}": 2.0**-6 for name in layers},
        "stages.0.blocks.0": 2.0**-5,
        **{f"stages.1.downsample.{name}": 2.0**-4 for name in layers},
        "stages.1.blocks.0": 2.0**-4,
        **{f"stages.2.downsample.{name}": 2.0**-3 for name in layers},
        "stages.2.blocks.0": 2.0**-3,
        "stages.2.blocks.1": 2.0**-2,
        **{f"stages.3.downsample.{name}": 2.0**-1 for name in layers},
        "stages.3.blocks.0": 2.0**-1,
    }


def groups_of(cfg):
    model = Detector(cfg)
    optimizer = build_optimizer(cfg, model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[p]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


def test_both_keys_reach_the_optimizer_and_the_log(caplog):
    caplog.set_level("INFO")
    cfg = config(
        "build_vit_fpn_backbone",
        *vit_keys(),
        "SOLVER.OPTIMIZER", "AdamW",
        "SOLVER.LAYER_DECAY", 0.5,
        "SOLVER.PARAM_GROUPS", [["^backbone", 0.1, None], ["pos_embed|bias$", 1.0, 0.0]],
    )  # fmt: skip
    found = groups_of(cfg)
    assert found["head.weight"] == (1.0, 0.05)
    assert found["head.bias"] == (1.0, 0.0)
    assert found["backbone.net.pos_embed"] == (pytest.approx(0.1 / 16), 0.0)
    assert found["backbone.net.blocks.2.attn.qkv.weight"] == (pytest.approx(0.05), 0.05)
    # Norms have no decay by SOLVER.WEIGHT_DECAY_NORM.
    assert found["backbone.net.blocks.2.norm1.weight"] == (pytest.approx(0.05), 0.0)
    assert "0.00625, weight decay 0: backbone.net.pos_embed and 1 more" in caplog.text
    assert "\n  1: head.weight" in caplog.text


def test_the_bias_factor_is_multiplied_and_not_replaced():
    cfg = config(
        "build_resnet_backbone",
        "MODEL.RESNETS.NORM", "BN",
        "SOLVER.BIAS_LR_FACTOR", 2.0,
        "SOLVER.PARAM_GROUPS", [["head", 0.1, None]],
    )  # fmt: skip
    assert groups_of(cfg)["head.bias"][0] == pytest.approx(0.2)


def test_without_the_keys_nothing_is_written(caplog):
    caplog.set_level("INFO")
    groups_of(config("build_vit_fpn_backbone", *vit_keys()))
    assert "Rates over" not in caplog.text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["SOLVER.LAYER_DECAY", 1.5], r"LAYER_DECAY is 1\.5"),
        (["SOLVER.LAYER_DECAY", 0.9], "needs a backbone whose parameters are named by blocks"),
        (["SOLVER.PARAM_GROUPS", [["bakbone", 0.1, None]]], "no parameter fits 'bakbone'"),
        (["SOLVER.PARAM_GROUPS", [["backbone", 0.1]]], "each entry is"),
        (["SOLVER.PARAM_GROUPS", [["backbone", "fast", None]]], "are numbers from 0"),
        (["SOLVER.PARAM_GROUPS", [["backbone", -1.0, None]]], "are numbers from 0"),
        (["SOLVER.PARAM_GROUPS", [["(", 1.0, None]]], "not a regular expression"),
    ],
)
def test_values_that_cannot_be_used_are_refused(keys, message):
    cfg = config("build_resnet_backbone", *keys)
    with pytest.raises(ConfigError, match=message):
        build_optimizer(cfg, Detector(cfg))
