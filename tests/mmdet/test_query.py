"""SOLOv2, Mask2Former and the DETR family of MMDetection: settings become keys, weights ours.

The figures were recorded from MMDetection 3.3.0 as in tests/projects/dense; deformable attention
was computed by its definition with `grid_sample`.
"""

import itertools
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.foreign.mmdet_query_names import rename_mmdet_query
from d2lite.engine import setup_cfg
from d2lite.mmdet import convert_mmdet_config, parse_mmdet_config
from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError

from ..projects.dense.small import drawn

BODY = """
backbone = dict(
    type='ResNet', depth=18, base_channels=16, frozen_stages=1, norm_eval=True,
    norm_cfg=dict(type='BN', requires_grad=False), style='pytorch', out_indices=MAPS)
ffn = dict(feedforward_channels=64, ffn_drop=0.0)
layer = dict(self_attn_cfg=dict(num_heads=8), cross_attn_cfg=dict(), ffn_cfg=ffn)
costs = [dict(type='FocalLossCost', weight=2.0), dict(type='BBoxL1Cost', weight=4.0),
         dict(type='IoUCost', iou_mode='giou', weight=3.0)]
detr = dict(
    num_queries=12, encoder=dict(num_layers=2, layer_cfg=layer),
    decoder=dict(num_layers=2, layer_cfg=layer), test_cfg=dict(max_per_img=10),
    train_cfg=dict(assigner=dict(type='HungarianAssigner', match_costs=costs)))
gn = dict(type='GN', num_groups=32)
"""
MODELS = {
    "SOLOv2": (
        "(0, 1, 2, 3)",
        """
        neck=dict(type='FPN', out_channels=32, start_level=0, num_outs=5),
        mask_head=dict(
            type='SOLOV2Head', num_classes=3, feat_channels=32, stacked_convs=4,
            strides=[8, 8, 16, 32, 32], num_grids=[8, 7, 6, 5, 4], pos_scale=0.2,
            scale_ranges=((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
            mask_feature_head=dict(feat_channels=32, out_channels=32, norm_cfg=gn)),
        test_cfg=dict(nms_pre=500, score_thr=0.3, mask_thr=0.5, filter_thr=0.05, max_per_img=100)
        """,
    ),
    "Mask2Former": (
        "(0, 1, 2, 3)",
        """
        panoptic_head=dict(
            type='Mask2FormerHead', feat_channels=32, out_channels=32, num_things_classes=3,
            num_stuff_classes=0, num_queries=12, loss_cls=dict(loss_weight=2.5),
            pixel_decoder=dict(type='MSDeformAttnPixelDecoder', encoder=dict(num_layers=2)),
            transformer_decoder=dict(num_layers=2, layer_cfg=layer)),
        train_cfg=dict(num_points=100)
        """,
    ),
    "DETR": (
        "(3, )",
        """
        **detr, neck=dict(type='ChannelMapper', out_channels=32, num_outs=1, norm_cfg=None),
        positional_encoding=dict(num_feats=16, normalize=True),
        bbox_head=dict(num_classes=3, loss_cls=dict(bg_cls_weight=0.2))
        """,
    ),
    "DeformableDETR": (
        "(1, 2, 3)",
        """
        **detr, neck=dict(type='ChannelMapper', out_channels=256, num_outs=4, norm_cfg=gn),
        positional_encoding=dict(num_feats=128, normalize=True, offset=-0.5),
        bbox_head=dict(num_classes=3, loss_cls=dict(loss_weight=2.0)), **stages
        """,
    ),
    "DINO": (
        "(1, 2, 3)",
        """
        **detr, neck=dict(type='ChannelMapper', out_channels=256, num_outs=4, norm_cfg=gn),
        positional_encoding=dict(num_feats=128, normalize=True, offset=0.0, temperature=20),
        bbox_head=dict(num_classes=3), dn_cfg=dict(label_noise_scale=0.4)
        """,
    ),
}


def _converted(kind, *changes, two_stage=False):
    maps, text = MODELS[kind]
    stages = f"stages = dict(with_box_refine={two_stage}, as_two_stage={two_stage})\n"
    text = (
        stages
        + BODY.replace("MAPS", maps)
        + (f"model = dict(type='{kind}', backbone=backbone, {text.strip()})")
    )
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return convert_mmdet_config(parse_mmdet_config(text))


def _expanded(*patterns):
    """The names of patterns such as "norms.{0,1}.{weight,bias}"."""
    for pattern in patterns:
        parts = re.split(r"\{(.*?)\}", pattern)
        choices = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
        yield from map("".join, itertools.product(*choices))


_WB = "{weight,bias}"
_BN = "{weight,bias,running_mean,running_var}"
_ATTENTION = "{in_proj_weight,in_proj_bias,out_proj.weight,out_proj.bias}"
_DEFORMED = "{sampling_offsets,attention_weights,value_proj,output_proj}." + _WB
BACKBONE = [
    "backbone.conv1.weight",
    f"backbone.bn1.{_BN}",
    "backbone.layer{1,2,3,4}.{0,1}.conv{1,2}.weight",
    f"backbone.layer{{1,2,3,4}}.{{0,1}}.bn{{1,2}}.{_BN}",
    "backbone.layer{2,3,4}.0.downsample.0.weight",
    f"backbone.layer{{2,3,4}}.0.downsample.1.{_BN}",
]
_FEED = f"ffn.layers.{{0.0,1}}.{_WB}"
_DEFORMABLE = [
    *BACKBONE,
    "level_embed",
    "neck.{convs.0,convs.1,convs.2,extra_convs.0}.{conv.weight,gn.weight,gn.bias}",
    f"encoder.layers.{{0,1}}.self_attn.{_DEFORMED}",
    f"{{encoder,decoder}}.layers.{{0,1}}.{{norms.0,norms.1,ffn.layers.0.0,ffn.layers.1}}.{_WB}",
    f"decoder.layers.{{0,1}}.self_attn.attn.{_ATTENTION}",
    f"decoder.layers.{{0,1}}.cross_attn.{_DEFORMED}",
    f"decoder.layers.{{0,1}}.norms.2.{_WB}",
]
NAMES = {
    "SOLOv2": [
        *BACKBONE,
        f"neck.{{lateral,fpn}}_convs.{{0,1,2,3}}.conv.{_WB}",
        "mask_head.{cls,kernel}_convs.{0,1,2,3}.{conv.weight,gn.weight,gn.bias}",
        f"mask_head.conv_{{cls,kernel}}.{_WB}",
        "mask_head.mask_feature_head.convs_all_levels.{0.conv0,1.conv0,2.conv0,2.conv1,3.conv0,"
        "3.conv1,3.conv2}.{conv.weight,gn.weight,gn.bias}",
        "mask_head.mask_feature_head.conv_pred.{conv.weight,gn.weight,gn.bias}",
    ],
    "Mask2Former": [
        *BACKBONE,
        f"panoptic_head.pixel_decoder.input_convs.{{0,1,2}}.{{conv,gn}}.{_WB}",
        f"panoptic_head.pixel_decoder.encoder.layers.{{0,1}}.self_attn.{_DEFORMED}",
        f"panoptic_head.pixel_decoder.encoder.layers.{{0,1}}.{{norms.0,norms.1}}.{_WB}",
        f"panoptic_head.pixel_decoder.encoder.layers.{{0,1}}.{_FEED}",
        "panoptic_head.pixel_decoder.level_encoding.weight",
        "panoptic_head.pixel_decoder.{lateral,output}_convs.0.{conv.weight,gn.weight,gn.bias}",
        f"panoptic_head.pixel_decoder.mask_feature.{_WB}",
        f"panoptic_head.transformer_decoder.layers.{{0,1}}.{{self,cross}}_attn.attn.{_ATTENTION}",
        f"panoptic_head.transformer_decoder.layers.{{0,1}}.{{norms.0,norms.1,norms.2}}.{_WB}",
        f"panoptic_head.transformer_decoder.layers.{{0,1}}.{_FEED}",
        f"panoptic_head.transformer_decoder.post_norm.{_WB}",
        "panoptic_head.{query_embed,query_feat,level_embed}.weight",
        f"panoptic_head.{{cls_embed,mask_embed.0,mask_embed.2,mask_embed.4}}.{_WB}",
    ],
    "DETR": [
        *BACKBONE,
        f"neck.convs.0.conv.{_WB}",
        f"{{encoder,decoder}}.layers.{{0,1}}.self_attn.attn.{_ATTENTION}",
        f"{{encoder,decoder}}.layers.{{0,1}}.{{norms.0,norms.1,ffn.layers.0.0,ffn.layers.1}}.{_WB}",
        f"decoder.layers.{{0,1}}.cross_attn.attn.{_ATTENTION}",
        f"decoder.{{layers.0.norms.2,layers.1.norms.2,post_norm}}.{_WB}",
        "query_embedding.weight",
        f"bbox_head.{{fc_cls,fc_reg,reg_ffn.layers.0.0,reg_ffn.layers.1}}.{_WB}",
    ],
    "DeformableDETR": [
        *_DEFORMABLE,
        f"bbox_head.{{cls_branches.0,reg_branches.0.0,reg_branches.0.2,reg_branches.0.4}}.{_WB}",
        f"bbox_head.{{cls_branches.1,reg_branches.1.0,reg_branches.1.2,reg_branches.1.4}}.{_WB}",
    ],
    "DINO": [
        *_DEFORMABLE,
        f"bbox_head.cls_branches.{{0,1,2}}.{_WB}",
        f"bbox_head.reg_branches.{{0,1,2}}.{{0,2,4}}.{_WB}",
        f"decoder.{{norm,ref_point_head.layers.0,ref_point_head.layers.1}}.{_WB}",
        f"{{memory_trans_fc,memory_trans_norm}}.{_WB}",
        "query_embedding.weight",
        "dn_query_generator.label_embedding.weight",
    ],
}
_ONE_STAGE = ["query_embedding.weight", f"reference_points_fc.{_WB}"]
_TWO_STAGE = [
    f"{{memory_trans_fc,memory_trans_norm,pos_trans_fc,pos_trans_norm}}.{_WB}",
    f"bbox_head.{{cls_branches.2,reg_branches.2.0,reg_branches.2.2,reg_branches.2.4}}.{_WB}",
]


SWIN = [
    f"backbone.patch_embed.{{projection,norm}}.{_WB}",
    f"backbone.stages.{{0,1,2,3}}.blocks.0.{{norm1,norm2,ffn.layers.0.0,ffn.layers.1}}.{_WB}",
    f"backbone.stages.2.blocks.1.{{norm1,norm2,ffn.layers.0.0,ffn.layers.1}}.{_WB}",
    f"backbone.stages.{{0,1,2,3}}.blocks.0.attn.w_msa.{{qkv,proj}}.{_WB}",
    f"backbone.stages.2.blocks.1.attn.w_msa.{{qkv,proj}}.{_WB}",
    "backbone.stages.{0,1,2,3}.blocks.0.attn.w_msa.relative_position_bias_table",
    "backbone.stages.2.blocks.1.attn.w_msa.relative_position_bias_table",
    "backbone.stages.{0,1,2}.downsample.{norm.weight,norm.bias,reduction.weight}",
    f"backbone.norm{{0,1,2,3}}.{_WB}",
]
_SWIN_CONFIG = (
    BODY[BODY.index("backbone = dict") : BODY.index("ffn = ")],
    "backbone = dict(type='SwinTransformer', embed_dims=16, depths=[1, 1, 2, 1], "
    "num_heads=[1, 2, 4, 8], window_size=7, drop_path_rate=0.3)\n",
)


def _loaded(kind, folder, *, two_stage=False, has_swin=False):
    """A model with drawn weights, by way of a file with MMDetection's names."""
    maps = MODELS[kind][0]
    changes = [(_SWIN_CONFIG[0].replace("MAPS", maps), _SWIN_CONFIG[1])] if has_swin else []
    converted = _converted(kind, *changes, two_stage=two_stage)
    opts = [item for pair in converted.keys.items() for item in pair]
    pixels = ["MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0], "MODEL.PIXEL_STD", [1.0, 1.0, 1.0]]
    cfg = setup_cfg(converted.base, [*opts, *pixels, "MODEL.DEVICE", "cpu"])
    model = build_model(cfg).eval()
    patterns = list(NAMES[kind])
    if kind == "DeformableDETR":
        patterns += _TWO_STAGE if two_stage else _ONE_STAGE
    if has_swin:
        patterns = [*SWIN, *(pattern for pattern in patterns if pattern not in BACKBONE)]
    names = list(_expanded(*patterns))
    numbered = {name: torch.full((12,), float(i)) for i, name in enumerate(names, start=1)}
    shapes, weights = model.state_dict(), {}
    for ours, numbers in rename_mmdet_query(numbered).items():
        # Biases of 0 are added, which MMDetection does not have.
        if numbers[0] > 0:
            theirs = names[int(numbers[0]) - 1]
            weights[theirs] = drawn(theirs, shapes[ours].shape)
    if kind == "DeformableDETR" and not two_stage:
        # One head for all layers, whose weights are in a file once for each.
        for name in [name for name in weights if "_branches.0" in name]:
            weights[name] = weights[name.replace("_branches.0", "_branches.1")]
    torch.save({"meta": {"epoch": 12}, "state_dict": weights}, folder / "theirs.pth")
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(folder / "theirs.pth"))
    # What follows from the options: weights of classes in a loss, places of cells in a window.
    follow = ("criterion.empty_weight", "relative_position_index")
    assert not [name for name in checkpointer.report.missing if not name.endswith(follow)]
    assert not checkpointer.report.unexpected
    return model


def _image():
    pixels = torch.from_numpy(np.random.RandomState(0).randn(1, 3, 96, 128)).float()
    return {"image": pixels[0], "height": 96, "width": 128}


DETECTIONS = {
    "DETR": ([0.458613, 0.457661, 0.455951, 0.455476], 4.55341, [34.0599, 28.04, 94.5529, 76.7263]),
    "DeformableDETR": (
        [0.831252, 0.819771, 0.81714, 0.805295], 7.96696, [34.3199, 23.4337, 95.667, 68.5726]
    ),
    "DeformableDETR, two stages": (
        [0.719747, 0.708375, 0.702399, 0.698726], 6.87053, [111.8684, 75.1713, 117.9723, 80.3234]
    ),
    "DINO": (
        [0.726448, 0.714897, 0.69155, 0.669686], 6.69523, [19.3912, 54.8424, 32.9128, 64.5192]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DETECTIONS)
def test_the_detr_family_detects_what_it_detects_there(name, tmp_path):
    scores, total, box = DETECTIONS[name]
    model = _loaded(name.split(",")[0], tmp_path, two_stage="two" in name)
    with torch.no_grad():
        found = model([_image()])[0]["instances"]
    assert len(found) == 10
    assert found.scores[:4].tolist() == pytest.approx(scores, abs=1e-5)
    assert found.scores.sum().item() == pytest.approx(total, abs=1e-4)
    assert found.pred_boxes.tensor[0].tolist() == pytest.approx(box, abs=2e-3)


def test_solov2_detects_what_it_detects_there(tmp_path):
    with torch.no_grad():
        found = _loaded("SOLOv2", tmp_path)([_image()])[0]["instances"]
    assert len(found) == 100
    assert found.scores[:3].tolist() == pytest.approx([0.706889, 0.65545, 0.610844], abs=1e-5)
    assert found.scores.sum().item() == pytest.approx(40.34988, abs=1e-3)
    assert found.pred_classes[:6].tolist() == [2, 1, 0, 2, 1, 0]
    areas = found.pred_masks[:6].flatten(1).sum(dim=1).tolist()
    assert areas == pytest.approx([7160, 4789, 8698, 2149, 2661, 341], abs=2)


# Mean of the logits, those of the first query; the mean of its masks, and some of their values.
LOGITS = {
    "ResNet": (
        -0.650659,
        [-0.217656, -1.089954, -0.374186, -1.492585],
        -0.887125,
        [1.184284, -1.545378, 1.380724, 1.438940, -3.284013, -1.524328],
    ),
    "Swin": (
        -0.466541,
        [-0.640249, -0.506994, 0.391289, -1.938444],
        -0.895644,
        [-1.777911, -1.719001, -0.714964, -1.616785, -1.152305, 1.117230],
    ),
}


@pytest.mark.parametrize("backbone", LOGITS)
def test_mask2former_gives_the_logits_that_it_gives_there(backbone, tmp_path):
    mean, first, mask_mean, some = LOGITS[backbone]
    model = _loaded("Mask2Former", tmp_path, has_swin=backbone == "Swin")
    with torch.no_grad():
        found = model.sem_seg_head(model.backbone(_image()["image"][None]))
    masks = F.interpolate(found["pred_masks"], size=(96, 128), mode="bilinear")
    assert found["pred_logits"].mean().item() == pytest.approx(mean, abs=1e-4)
    assert found["pred_logits"][0, 0].tolist() == pytest.approx(first, abs=1e-4)
    assert masks.mean().item() == pytest.approx(mask_mean, abs=1e-4)
    assert masks[0, 0, ::50, ::60].flatten().tolist() == pytest.approx(some, abs=1e-3)


def test_each_setting_has_its_key():
    keys = _converted("DINO").keys
    expected = {
        "MODEL.DETR.IN_FEATURES": ["res3", "res4", "res5"],
        "MODEL.DETR.POSITION_TEMPERATURE": 20.0,
        "MODEL.DETR.MATCHER.CLASS_COST": 2.0,
        "MODEL.DETR.MATCHER.BBOX_COST": 4.0,
        "MODEL.DETR.MATCHER.GIOU_COST": 3.0,
        "MODEL.DETR.DENOISING.LABEL_NOISE": 0.4,
    }
    assert {key: keys[key] for key in expected} == expected
    assert _converted("DETR").keys["MODEL.DETR.NO_OBJECT_WEIGHT"] == 0.2
    keys = _converted("Mask2Former").keys
    assert keys["MODEL.MASK_FORMER.CLASS_WEIGHT"] == 2.5
    assert keys["MODEL.MASK_FORMER.TRAIN_NUM_POINTS"] == 100
    converted = _converted("Mask2Former", ("num_stuff_classes=0", "num_stuff_classes=2"))
    assert converted.keys["MODEL.SEM_SEG_HEAD.NUM_CLASSES"] == 5
    assert "panoptic" in converted.base


@pytest.mark.parametrize(
    ("kind", "before", "after", "message"),
    [
        ("SOLOv2", "pos_scale=0.2", "dcn_cfg=dict(type='DCNv2')", "deformable convolutions"),
        ("SOLOv2", "norm_cfg=gn)", "norm_cfg=gn, end_level=2)", "strides 4 to 32"),
        ("DETR", "'FocalLossCost'", "'DiceCost'", "cost 'DiceCost'"),
        ("DETR", "norm_cfg=None", "norm_cfg=gn", "no norm in DETR"),
        ("DINO", "'ResNet'", "'SwinTransformer'", "backbone 'SwinTransformer'"),
        ("Mask2Former", "'ResNet'", "'SwinTransformer', patch_norm=False", "patch_norm"),
        ("Mask2Former", "'MSDeformAttnPixelDecoder'", "'PixelDecoder'", "decoder 'PixelDecoder'"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(kind, before, after, message):
    with pytest.raises(ConfigError, match=message):
        _converted(kind, (before, after))
