"""Dense detectors of MMDetection: their settings become keys, their weights give its detections.

The figures of RetinaNet were recorded from MMDetection 3.3.0 as in tests/projects/dense.
"""

import numpy as np
import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.foreign.mmdet_dense_names import convert_mmdet_dense
from d2lite.engine import setup_cfg
from d2lite.mmdet import convert_mmdet_config, parse_mmdet_config
from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError, WeightsError

from ..projects.dense.small import drawn, their_name

BODY = """
backbone = dict(
    type='ResNet', depth=18, base_channels=16, frozen_stages=1, norm_eval=True,
    norm_cfg=dict(type='BN'), style='pytorch', out_indices=(0, 1, 2, 3))
neck = dict(type='FPN', in_channels=[16, 32, 64, 128], out_channels=32, start_level=1,
            add_extra_convs=EXTRA, num_outs=5)
common = dict(num_classes=3, in_channels=32, feat_channels=32)
anchors = dict(type='AnchorGenerator', ratios=[1.0], octave_base_scale=8, scales_per_octave=1,
               strides=[8, 16, 32, 64, 128])
deltas = dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=STDS)
focal = dict(type='FocalLoss', use_sigmoid=True, gamma=1.5, alpha=0.3)
giou = dict(type='GIoULoss', loss_weight=1.25)
test_cfg = dict(nms_pre=500, score_thr=0.3, nms=dict(type='nms', iou_threshold=0.55),
                max_per_img=70)
train_cfg = dict(assigner=dict(type='ATSSAssigner', topk=7))
"""
HEADS = {
    "ATSS": "type='ATSSHead', stacked_convs=2, anchor_generator=anchors, bbox_coder=deltas, "
    "loss_cls=focal, loss_bbox=giou",
    "GFL": "type='GFLHead', stacked_convs=3, anchor_generator=anchors, reg_max=12, "
    "loss_cls=dict(type='QualityFocalLoss'), loss_dfl=dict(loss_weight=0.5), loss_bbox=giou",
    "VFNet": "type='VFNetHead', stacked_convs=2, dcn_on_last_conv=True, "
    "loss_cls=dict(type='VarifocalLoss', alpha=0.6), loss_bbox=giou, "
    "loss_bbox_refine=dict(type='GIoULoss', loss_weight=2.5)",
    "FCOS": "type='FCOSHead', norm_on_bbox=True, centerness_on_reg=True, center_sampling=True, "
    "conv_bias=True, loss_cls=focal, loss_bbox=giou",
    "FSAF": "type='FSAFHead', stacked_convs=2, loss_cls=focal, "
    "loss_bbox=dict(type='IoULoss', loss_weight=1.5), "
    "bbox_coder=dict(type='TBLRBBoxCoder', normalizer=3.0), "
    "anchor_generator=dict(anchors, octave_base_scale=1)",
    "SABL": "type='SABLRetinaHead', stacked_convs=2, norm_cfg=dict(type='GN'), loss_cls=focal, "
    "loss_bbox_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.25), "
    "loss_bbox_reg=dict(type='SmoothL1Loss', beta=1 / 9, loss_weight=1.75), "
    "bbox_coder=dict(type='BucketingBBoxCoder', num_buckets=10, scale_factor=2.5), "
    "square_anchor_generator=dict(type='AnchorGenerator', ratios=[1.0], scales=[4], "
    "strides=[8, 16, 32, 64, 128]), "
    "approx_anchor_generator=dict(type='AnchorGenerator', ratios=[0.5, 1.0, 2.0], "
    "octave_base_scale=4, scales_per_octave=3, strides=[8, 16, 32, 64, 128])",
    "RetinaNet": "type='RetinaHead', bbox_coder=deltas, loss_cls=focal, "
    "anchor_generator=dict(type='AnchorGenerator', ratios=[0.5, 1.0, 2.0], octave_base_scale=4, "
    "scales_per_octave=3, strides=[8, 16, 32, 64, 128]), loss_bbox=dict(type='L1Loss')",
}
EXPECTED = {
    "ATSS": {"NUM_CONVS": 2, "BOX_WEIGHT": 1.25, "FOCAL_LOSS_ALPHA": 0.3, "TOPK": 7,
             "FOCAL_LOSS_GAMMA": 1.5, "BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0]},
    "GFL": {"NUM_CONVS": 3, "MAX_DISTANCE": 12, "DISTRIBUTION_WEIGHT": 0.5, "ANCHOR_SCALE": 8.0},
    "VFNet": {"DEFORM_LAST": True, "VARIFOCAL_ALPHA": 0.6, "FIRST_BOX_WEIGHT": 1.25,
              "BOX_WEIGHT": 2.5, "TOPK": 7},
    "FCOS": {"DISTANCES": "relu", "CENTERNESS_TOWER": "box", "CENTER_SAMPLING_RADIUS": 1.5,
             "CONV_BIAS": True, "BOX_LOSS": "giou"},
    "SABL": {"NUM_CONVS": 2, "NORM": "GN", "NUM_BUCKETS": 10, "BUCKET_SCALE": 2.5,
             "BUCKET_WEIGHT": 1.25, "BOX_WEIGHT": 1.75, "ANCHOR_SCALE": 4.0,
             "IOU_THRESHOLDS": [0.4, 0.5]},
    "FSAF": {"NUM_CONVS": 2, "NORM": "", "NORMALIZER": 3.0, "BOX_WEIGHT": 1.5,
             "EFFECTIVE_REGION": 0.2, "IGNORED_REGION": 0.2, "FOCAL_LOSS_ALPHA": 0.3},
}  # fmt: skip


def _content(kind, *changes, extra="'on_output'", stds="[0.1, 0.1, 0.2, 0.2]"):
    train = "" if kind in ("FCOS", "FSAF", "SABL", "RetinaNet") else "train_cfg=train_cfg, "
    name = "RetinaNet" if kind == "SABL" else kind
    text = BODY.replace("EXTRA", extra).replace("STDS", stds) + (
        f"model = dict(type='{name}', backbone=backbone, neck=neck, test_cfg=test_cfg, {train}"
        f"bbox_head=dict(common, {HEADS[kind]}))"
    )
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return parse_mmdet_config(text)


def _model(converted):
    opts = [item for pair in converted.keys.items() for item in pair]
    return build_model(setup_cfg(converted.base, [*opts, "MODEL.DEVICE", "cpu"]))


@pytest.mark.parametrize("kind", EXPECTED)
def test_each_setting_has_its_key(kind):
    converted = convert_mmdet_config(_content(kind))
    expected = {f"MODEL.DENSE.{key}": value for key, value in EXPECTED[kind].items()}
    assert {key: converted.keys.get(key) for key in expected} == expected
    assert converted.keys["MODEL.DENSE.NMS_THRESH_TEST"] == 0.55
    assert converted.keys["TEST.DETECTIONS_PER_IMAGE"] == 70
    assert len(converted.left_out) == (kind == "FSAF")
    model = _model(converted)
    assert model.test_score_thresh == 0.3
    assert model.head.cls_score.weight.shape[:2] == (3, 32)
    assert model.backbone.bottom_up.stem.conv1.weight.shape[0] == 16


@pytest.mark.parametrize(
    ("kind", "before", "after", "message"),
    [
        ("ATSS", "'ATSSAssigner'", "'SimOTAAssigner'", "assigner 'SimOTAAssigner'"),
        ("ATSS", "'ATSSHead'", "'PAAHead'", "head 'PAAHead'"),
        ("ATSS", "ratios=[1.0]", "ratios=[1.0, 2.0]", "one square anchor"),
        ("ATSS", "start_level=1", "start_level=0", "begin at stride 8"),
        ("ATSS", "'GIoULoss'", "'CIoULoss'", "loss of boxes 'CIoULoss'"),
        ("ATSS", "'on_output'", "'on_lateral'", "begin at stride 8"),
        ("GFL", "'QualityFocalLoss'", "'FocalLoss'", "loss of classes 'FocalLoss'"),
        ("VFNet", "dcn_on", "use_atss=False, dcn_on", "use_atss=False"),
        ("FCOS", "conv_bias", "regress_ranges=((-1, 64),), conv_bias", "regress_ranges"),
        ("FSAF", "'TBLRBBoxCoder'", "'DeltaXYWHBBoxCoder'", "coder of boxes 'DeltaXYWH"),
        ("FSAF", "octave_base_scale=1)", "octave_base_scale=4)", "anchors of one stride"),
        ("FSAF", "loss_cls=focal", "norm_cfg=dict(type='GN'), loss_cls=focal", "norm in"),
        ("SABL", "'BucketingBBoxCoder'", "'TBLRBBoxCoder'", "coder of boxes 'TBLR"),
        ("SABL", "scales_per_octave=3", "scales_per_octave=2", "three sizes an octave"),
        ("SABL", "beta=1 / 9", "beta=0.5", "`beta` 1 / 9"),
        ("SABL", "dict(type='SmoothL1Loss'", "dict(type='L1Loss'", "loss of offsets 'L1Loss'"),
        ("RetinaNet", "[0.5, 1.0, 2.0]", "[0.5, 1.0]", "2 ratios"),
        ("RetinaNet", "loss_cls=focal", "norm_cfg=dict(type='BN'), loss_cls=focal", "norm in"),
        ("RetinaNet", "type='nms'", "type='fast_nms'", "suppression 'fast_nms'"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(kind, before, after, message):
    with pytest.raises(ConfigError, match=message):
        convert_mmdet_config(_content(kind, (before, after)))


def test_harmonized_retinanet_has_its_keys():
    changes = [
        ("loss_cls=focal", "loss_cls=dict(type='GHMC', bins=30, momentum=0.75)"),
        ("dict(type='L1Loss')", "dict(type='GHMR', mu=0.02, bins=10, loss_weight=10.0)"),
    ]
    converted = convert_mmdet_config(_content("RetinaNet", *changes, stds="[1.0] * 4"))
    expected = {"CLASS_LOSS": "ghm", "BBOX_REG_LOSS_TYPE": "ghm", "BBOX_REG_LOSS_WEIGHT": 10.0}
    assert {key: converted.keys[f"MODEL.RETINANET.{key}"] for key in expected} == expected
    assert "Gradients are counted over all levels" in converted.left_out[0]
    _model(converted)
    other = _content("RetinaNet", (changes[0][0], "loss_cls=dict(type='GHMC', bins=20)"))
    with pytest.raises(ConfigError, match=r"GHMC with .* not with \{'bins': 20\}"):
        convert_mmdet_config(other)


def _retinanet_name(name):
    """MMDetection's name of one of our weights."""
    for ours, theirs in (("cls_subnet", "cls_convs"), ("bbox_subnet", "reg_convs")):
        if name.startswith(f"head.{ours}"):
            number, part = name.split(".")[2:]
            return f"bbox_head.{theirs}.{int(number) // 2}.conv.{part}"
    if name.startswith("head."):
        layer = name.replace("head.cls_score", "retina_cls").replace("head.bbox_pred", "retina_reg")
        return f"bbox_head.{layer}"
    return their_name("ATSS", name)


def test_retinanet_predicts_what_it_predicts_there(tmp_path):
    """Anchors of a cell come in another order there, and boxes are clipped before suppression."""
    changes = [
        ("nms_pre=500", "nms_pre=1000"),
        ("iou_threshold=0.55", "iou_threshold=0.5"),
        ("max_per_img=70", "max_per_img=100"),
    ]
    content = _content("RetinaNet", *changes, extra="'on_input'", stds="[1.0] * 4")
    converted = convert_mmdet_config(content)
    assert [line[:17] for line in converted.left_out] == ["Losses are divide"]
    model = _model(converted).eval()
    model.pixel_mean.zero_()
    model.pixel_std.fill_(1)
    weights = {}
    for name, value in model.state_dict().items():
        theirs = _retinanet_name(name)
        weights[theirs] = drawn(theirs, value.shape)
    torch.save({"meta": {}, "state_dict": weights}, tmp_path / "theirs.pth")
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(tmp_path / "theirs.pth"))
    assert not checkpointer.report.missing
    assert not checkpointer.report.unexpected
    images = torch.from_numpy(np.random.RandomState(0).randn(3, 3, 96, 128)).float()
    with torch.no_grad():
        found = [x["instances"] for x in model.predict([{"image": image} for image in images])]
    assert [len(x) for x in found] == [100, 100, 100]
    assert found[0].scores[:3].tolist() == pytest.approx([0.625893, 0.619025, 0.618239], abs=1e-5)
    box = [23.4919, 36.4635, 80.8984, 80.1516]
    assert found[0].pred_boxes.tensor[0].tolist() == pytest.approx(box, abs=1e-3)
    assert found[0].pred_classes[:8].tolist() == [1, 1, 1, 1, 0, 2, 1, 1]
    total = sum(x.scores.sum().item() for x in found)
    assert total == pytest.approx(173.22499, rel=1e-5)


def test_anchors_in_a_number_that_three_does_not_divide_are_refused():
    weights = {
        "bbox_head.retina_cls.weight": torch.zeros(6, 4, 3, 3),
        "bbox_head.retina_reg.bias": torch.zeros(8),
    }
    with pytest.raises(WeightsError, match="2 anchors a cell"):
        convert_mmdet_dense(weights)
