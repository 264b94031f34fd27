"""Detectors of Caffe2 Detectron: names of blobs and the place of the background."""

import pickle

import numpy as np
import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.c2_model_loading import (
    _longest_common_prefix,
    _longest_common_prefix_str,
    convert_c2_detectron_names,
)
from d2lite.config import get_cfg
from d2lite.modeling import build_model
from d2lite.utils.errors import WeightsError


@pytest.mark.parametrize(
    ("blob", "name"),
    [
        ("conv1_w", "stem.conv1.weight"),
        ("res4_22_branch2b_bn_s", "res4.22.conv2.norm.weight"),
        ("fpn_inner_res5_2_sum_w", "fpn_lateral5.weight"),
        ("fpn_inner_res3_3_sum_lateral_b", "fpn_lateral3.bias"),
        ("fpn_inner_res4_5_sum_lateral_gn_s", "fpn_lateral4.norm.weight"),
        ("fpn_res2_2_sum_w", "fpn_output2.weight"),
        ("conv_rpn_fpn2_w", "proposal_generator.rpn_head.conv.weight"),
        ("conv_rpn_b", "proposal_generator.rpn_head.conv.bias"),
        ("rpn_cls_logits_fpn2_w", "proposal_generator.rpn_head.objectness_logits.weight"),
        ("rpn_bbox_pred_fpn2_b", "proposal_generator.rpn_head.anchor_deltas.bias"),
        ("fc6_w", "box_head.fc1.weight"),
        ("fc7_b", "box_head.fc2.bias"),
        ("head_conv4_gn_b", "box_head.conv4.norm.bias"),
        ("_[mask]_fcn3_w", "mask_head.mask_fcn3.weight"),
        ("conv5_mask_b", "mask_head.deconv.bias"),
        ("conv_fcn8_w", "keypoint_head.conv_fcn8.weight"),
        ("kps_score_lowres_w", "keypoint_head.score_lowres.weight"),
        ("retnet_cls_conv_n0_fpn3_w", "head.cls_subnet.0.weight"),
        ("retnet_bbox_conv_n3_fpn3_b", "head.bbox_subnet.6.bias"),
        ("retnet_cls_pred_fpn3_w", "head.cls_score.weight"),
        ("retnet_bbox_pred_fpn3_b", "head.bbox_pred.bias"),
        ("fpn_6_w", "top_block.p6.weight"),
        ("fpn_7_b", "top_block.p7.bias"),
    ],
)
def test_blobs_get_our_names(blob, name):
    weights, blob_of = convert_c2_detectron_names({blob: torch.zeros(8, 2)})
    assert list(weights) == [name]
    assert blob_of == {name: blob}


@pytest.mark.parametrize(
    ("blob", "values", "expected"),
    [
        ("cls_score_b", [0, 1, 2], [1, 2, 0]),  # the background goes to the end
        ("bbox_pred_b", [*range(12)], [*range(4, 12)]),
        ("mask_fcn_logits_b", [0, 1, 2], [1, 2]),
        ("mask_fcn_logits_b", [7], [7]),
        ("retnet_cls_pred_fpn3_b", [0, 1, 2], [0, 1, 2]),  # a sigmoid a class has no background
        ("retnet_bbox_pred_fpn3_b", [*range(8)], [*range(8)]),
    ],
)
def test_the_background_leaves_the_first_place(blob, values, expected):
    weights, _ = convert_c2_detectron_names({blob: torch.tensor(values)})
    assert next(iter(weights.values())).tolist() == expected


def test_two_blobs_of_one_name_are_refused():
    words = "'conv_rpn_w' and 'conv_rpn_fpn2_w' would both become"
    with pytest.raises(WeightsError, match=words):
        convert_c2_detectron_names({n: torch.zeros(1) for n in ("conv_rpn_w", "conv_rpn_fpn2_w")})


def test_a_whole_mask_rcnn_finds_every_place(tmp_path):
    """Blob names of a published Mask R-CNN with a pyramid, made from our own names."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH = 50
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 2
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 8
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 4
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 8
    model = build_model(cfg)
    head = {
        "fc1": "fc6", "fc2": "fc7", "cls_score": "cls_score", "bbox_pred": "bbox_pred",
        "deconv": "conv5_mask", "predictor": "mask_fcn_logits", "conv": "conv_rpn_fpn2",
        "objectness_logits": "rpn_cls_logits_fpn2", "anchor_deltas": "rpn_bbox_pred_fpn2",
    }  # fmt: skip
    last_block = {2: 2, 3: 3, 4: 5, 5: 2}
    blobs = {}
    for name, value in model.state_dict().items():
        module, leaf = name.split(".")[-2:]
        if "bottom_up" in name or name.startswith("pixel"):
            continue
        if module.startswith("fpn_"):
            level = int(module[-1])
            blob = f"res{level}_{last_block[level]}_sum"
            blob = f"fpn_inner_{blob}" if "lateral" in module else f"fpn_{blob}"
            blob += "_lateral" if "lateral" in module and level < 5 else ""
        elif module.startswith("mask_fcn"):
            blob = f"_[mask]_fcn{module[-1]}"
        else:
            blob = head[module]
        extra = {"bbox_pred": 4, "mask_fcn_logits": 1}.get(blob, 0)
        shape = (value.shape[0] + extra, *value.shape[1:])
        blobs[f"{blob}_{leaf[0]}"] = np.full(shape, 3.0, np.float32)
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs, "cfg": "text"}, protocol=2))
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(path))
    assert not checkpointer.report.unexpected
    assert not checkpointer.report.other_shape
    assert all("bottom_up" in name for name in checkpointer.report.missing)


def test_a_whole_retinanet_finds_every_place(tmp_path):
    """Its towers count convolutions, ours the layers between which ReLUs stand."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 8
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 8
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    cfg.MODEL.RETINANET.NUM_CLASSES = 3
    model = build_model(cfg)
    number = iter(range(100))
    blobs, values = {}, {}
    for name, value in model.state_dict().items():
        module, leaf = name.rpartition(".")[::2]
        parts = module.split(".")
        if "bottom_up" in name or name.startswith("pixel"):
            continue
        if parts[1] in ("cls_subnet", "bbox_subnet"):
            blob = f"retnet_{parts[1].split('_')[0]}_conv_n{int(parts[2]) // 2}_fpn3"
        elif parts[0] == "head":
            blob = {"cls_score": "retnet_cls_pred_fpn3", "bbox_pred": "retnet_bbox_pred_fpn3"}[
                parts[1]
            ]
        elif parts[1] == "top_block":
            blob = f"fpn_{parts[2][1]}"
        else:
            side = "fpn_inner" if "lateral" in parts[1] else "fpn"
            blob = f"{side}_res{parts[1][-1]}_1_sum"
        values[name] = float(next(number))
        blobs[f"{blob}_{leaf[0]}"] = np.full(value.shape, values[name], np.float32)
    assert len(blobs) == len(values) == 2 * (6 + 2 + 8 + 2)
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs, "cfg": "text"}, protocol=2))
    DetectionCheckpointer(model).load(str(path))
    for name, value in values.items():
        assert (model.state_dict()[name] == value).all(), name


def test_common_beginnings_of_names():
    assert _longest_common_prefix_str(["abc.zfg", "abc.zef"]) == "abc.z"
    assert _longest_common_prefix(["abc.zfg", "abc.zef"]) == "abc."
    assert _longest_common_prefix(["a.b.c", "a.b.d", "a.bx.d"]) == "a."
    assert _longest_common_prefix(["ab", "ac"]) == ""
