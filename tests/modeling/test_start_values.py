"""Start values: one seed gives the network that it gives in detectron2.

There a block first makes its layers, each of which draws values of its own, and then fills them.
"""

import pytest
import torch
from torch import nn

from d2lite.layers import ASPP, ShapeSpec
from d2lite.modeling.backbone import FPN, ViT
from d2lite.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet
from d2lite.modeling.backbone.resnet_blocks import DeepStem
from d2lite.modeling.backbone.swin import WindowAttention
from d2lite.modeling.deeplab.parts import double_conv
from d2lite.modeling.roi_heads.box_head import FastRCNNConvFCHead
from d2lite.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from d2lite.projects.point_rend import StandardPointHead
from d2lite.projects.point_rend.coarse_head import ConvFCHead

CONVS = ["conv1", "conv2", "conv3"]
SHAPE = ShapeSpec(channels=2, height=3, width=3)


def _msra(layer):
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def _xavier(layer):
    nn.init.kaiming_uniform_(layer.weight, a=1)


def _small(layer):
    nn.init.normal_(layer.weight, std=0.001)


def _pyramid():
    stages = ResNet.make_default_stages(18)
    bottom_up = ResNet(BasicStem(), stages, out_features=["res2", "res3"])
    torch.manual_seed(5)
    return FPN(bottom_up, ["res2", "res3"], 4)


# What makes the block, the layers in the order in which they are made, and what fills which of
# them in which order, group by group.
CASES = {
    "box head": (
        lambda: FastRCNNConvFCHead(SHAPE, conv_dims=[4], fc_dims=[5, 6]),
        [(["conv1", "fc1", "fc2"], [("conv1", _msra), ("fc1", _xavier), ("fc2", _xavier)])],
    ),
    "mask head": (
        lambda: MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[4, 5]),
        [
            (
                ["mask_fcn1", "deconv", "predictor"],
                [("mask_fcn1", _msra), ("deconv", _msra), ("predictor", _small)],
            )
        ],
    ),
    "basic block": (
        lambda: BasicBlock(2, 4),
        [
            (
                ["shortcut", "conv1", "conv2"],
                [("conv1", _msra), ("conv2", _msra), ("shortcut", _msra)],
            )
        ],
    ),
    "bottleneck block": (
        lambda: BottleneckBlock(2, 4, bottleneck_channels=3),
        [
            (
                ["shortcut", "conv1", "conv2", "conv3"],
                [("conv1", _msra), ("conv2", _msra), ("conv3", _msra), ("shortcut", _msra)],
            )
        ],
    ),
    "deep stem": (
        lambda: DeepStem(3, 8),
        [(CONVS, [(name, _msra) for name in CONVS])],
    ),
    "decoder of DeepLab": (
        lambda: double_conv(2, 3, 4, norm="BN", separable=False),
        [(["0", "1"], [("0", _xavier), ("1", _xavier)])],
    ),
    "pooling of DeepLab": (
        lambda: ASPP(2, 3, [1, 2, 3], norm="BN", activation=nn.ReLU()),
        [([name], [(name, _xavier)]) for name in [f"convs.{i}" for i in (0, 1, 2, 3)]]
        + [([name], [(name, _xavier)]) for name in ("convs.4.1", "project")],
    ),
    "coarse head of PointRend": (
        lambda: ConvFCHead(
            ShapeSpec(channels=5, height=4, width=4),
            conv_dim=3,
            fc_dims=[6],
            output_shape=(2, 7, 7),
        ),
        [
            (
                ["reduce_channel_dim_conv", "reduce_spatial_dim_conv", "fc1", "prediction"],
                [
                    ("prediction", _small),
                    ("reduce_channel_dim_conv", _msra),
                    ("reduce_spatial_dim_conv", _msra),
                    ("fc1", _xavier),
                ],
            )
        ],
    ),
    "point head of PointRend": (
        lambda: StandardPointHead(ShapeSpec(channels=3), num_classes=2, fc_dims=[4, 5]),
        [
            (
                ["fc1", "fc2", "predictor"],
                [("fc1", _msra), ("fc2", _msra), ("predictor", _small)],
            )
        ],
    ),
    "pyramid": (
        _pyramid,
        [
            (
                [f"fpn_lateral{i}", f"fpn_output{i}"],
                [(f"fpn_lateral{i}", _xavier), (f"fpn_output{i}", _xavier)],
            )
            for i in (2, 3)
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_are_made_first_and_filled_then(name):
    make, groups = CASES[name]
    torch.manual_seed(5)
    block = make()
    found = {n: p.clone() for n, p in block.named_parameters() if n.endswith("weight")}
    torch.manual_seed(5)
    for made, filled in groups:
        for layer in made:
            block.get_submodule(layer).reset_parameters()
        for layer, fill in filled:
            fill(block.get_submodule(layer))
            assert torch.equal(block.get_submodule(layer).weight, found[f"{layer}.weight"]), layer


def test_positions_of_a_transformer_are_drawn_after_its_layers():
    small = {"embed_dim": 4, "depth": 1, "num_heads": 2, "img_size": 32, "patch_size": 16}
    torch.manual_seed(5)
    net = ViT(**small, pretrain_img_size=32, residual_block_indexes=[0])
    found = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(5)
    block = "blocks.0."
    linear = [block + name for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
    residual = [f"{block}residual.{name}" for name in CONVS]
    for layer in ("patch_embed.proj", *linear, *residual):
        net.get_submodule(layer).reset_parameters()
    for layer in residual:
        _msra(net.get_submodule(layer))
    nn.init.trunc_normal_(net.pos_embed, std=0.02)
    for layer in linear:
        nn.init.trunc_normal_(net.get_submodule(layer).weight, std=0.02)
    for name in ("pos_embed", *(f"{layer}.weight" for layer in [*linear, *residual])):
        assert torch.equal(net.get_parameter(name), found[name]), name


def test_bias_table_of_a_window_is_drawn_after_its_layers():
    torch.manual_seed(5)
    attention = WindowAttention(4, (2, 2), 2)
    found = attention.relative_position_bias_table.clone()
    torch.manual_seed(5)
    attention.qkv.reset_parameters()
    attention.proj.reset_parameters()
    nn.init.trunc_normal_(attention.relative_position_bias_table, std=0.02)
    assert torch.equal(attention.relative_position_bias_table, found)


def test_seed_gives_the_recorded_values_of_detectron2():
    """Recorded from detectron2 0.6."""
    torch.manual_seed(31)
    head = FastRCNNConvFCHead(SHAPE, conv_dims=[4], fc_dims=[5, 6])
    first = [
        float(layer.weight[(0,) * layer.weight.dim()].detach())
        for layer in (head.conv1, head.fc1, head.fc2)
    ]
    assert first == pytest.approx([-0.08883, -0.21039, 0.49958], abs=1e-4)
