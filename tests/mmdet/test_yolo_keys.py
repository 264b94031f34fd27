"""Settings of YOLOX, YOLOv3 and SSD in MMDetection become keys that build the same model."""

from itertools import pairwise

import pytest
import torch

from d2lite.data.augmenting import build_augmentation
from d2lite.engine import setup_cfg
from d2lite.mmdet import convert_mmdet_config, parse_mmdet_config
from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError

# In the form of version 3, written for this test.
YOLOX = """
norm = dict(type='BN', momentum=0.03, eps=0.001)
model = dict(
    type='YOLOX',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        batch_augments=[dict(type='BatchSyncRandomResize', random_size_range=(64, 128))]),
    backbone=dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.125, norm_cfg=norm),
    neck=dict(
        type='YOLOXPAFPN', in_channels=[32, 64, 128], out_channels=24, num_csp_blocks=1,
        norm_cfg=norm),
    bbox_head=dict(
        type='YOLOXHead', num_classes=3, in_channels=24, feat_channels=40, norm_cfg=norm),
    train_cfg=dict(assigner=dict(type='SimOTAAssigner', center_radius=2.0)),
    test_cfg=dict(score_thr=0.02, nms=dict(type='nms', iou_threshold=0.7)))
steps = [
    dict(type='Mosaic', img_scale=(96, 96)),
    dict(type='RandomAffine', scaling_ratio_range=(0.4, 1.6), border=(-48, -48)),
    dict(type='MixUp', img_scale=(96, 96)),
    dict(type='YOLOXHSVRandomAug')]
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type='MultiImageMixDataset', pipeline=steps,
        dataset=dict(type='CocoDataset', ann_file='train.json', data_prefix=dict(img='t'))))
train_cfg = dict(max_epochs=50)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True))
param_scheduler = [
    dict(type='mmdet.QuadraticWarmupLR', by_epoch=True, begin=0, end=5),
    dict(type='CosineAnnealingLR', eta_min=0.0005, begin=5, T_max=45, end=45, by_epoch=True),
    dict(type='ConstantLR', by_epoch=True, factor=1, begin=45, end=50)]
custom_hooks = [
    dict(type='YOLOXModeSwitchHook', num_last_epochs=5), dict(type='SyncNormHook'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002)]
"""
YOLOV3 = """
model = dict(
    type='YOLOV3',
    data_preprocessor=dict(mean=[0, 0, 0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True),
    backbone=dict(type='Darknet', depth=53, out_indices=(3, 4, 5)),
    neck=dict(
        type='YOLOV3Neck', num_scales=3, in_channels=[1024, 512, 256],
        out_channels=[512, 256, 128]),
    bbox_head=dict(
        type='YOLOV3Head', num_classes=3, in_channels=[512, 256, 128],
        out_channels=[1024, 512, 256],
        anchor_generator=dict(
            type='YOLOAnchorGenerator', strides=[32, 16, 8],
            base_sizes=[[(90, 90), (99, 80)], [(40, 40), (30, 50)], [(10, 10), (9, 20)]]),
        loss_cls=dict(loss_weight=1.0), loss_conf=dict(loss_weight=1.0),
        loss_xy=dict(loss_weight=3.0), loss_wh=dict(loss_weight=3.0)),
    train_cfg=dict(assigner=dict(type='GridAssigner', pos_iou_thr=0.6)),
    test_cfg=dict(
        nms_pre=500, score_thr=0.1, conf_thr=0.01, nms=dict(type='nms', iou_threshold=0.4)))
steps = [
    dict(type='Expand', ratio_range=(1, 2)),
    dict(type='MinIoURandomCrop', min_ious=(0.4, 0.9), min_crop_size=0.5),
    dict(type='RandomResize', scale=[(320, 320), (608, 608)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion')]
train_dataloader = dict(
    dataset=dict(type='CocoDataset', ann_file='a.json', pipeline=steps))
"""
SSD = """
model = dict(
    type='SingleStageDetector',
    backbone=dict(type='SSDVGG', depth=16, out_feature_indices=(22, 34)),
    neck=dict(
        type='SSDNeck', in_channels=(512, 1024), out_channels=(512, 1024, 512, 256, 256, 256),
        level_strides=(2, 2, 1, 1), level_paddings=(1, 1, 0, 0), l2_norm_scale=20),
    bbox_head=dict(
        type='SSDHead', in_channels=(512, 1024, 512, 256, 256, 256), num_classes=3,
        anchor_generator=dict(
            type='SSDAnchorGenerator', input_size=300, basesize_ratio_range=(0.15, 0.9),
            strides=[8, 16, 32, 64, 100, 300],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]]),
        bbox_coder=dict(target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])),
    train_cfg=dict(assigner=dict(pos_iou_thr=0.5), neg_pos_ratio=4, smoothl1_beta=0.5),
    test_cfg=dict(
        nms_pre=900, score_thr=0.03, max_per_img=150, nms=dict(type='nms', iou_threshold=0.4)))
steps = [dict(type='Resize', scale=(320, 300), keep_ratio=False), dict(type='RandomFlip', prob=0.5)]
train_dataloader = dict(
    dataset=dict(type='CocoDataset', ann_file='a.json', pipeline=steps))
val_dataloader = dict(
    dataset=dict(type='CocoDataset', ann_file='b.json', pipeline=steps[:1]))
"""
LITE = """
norm = dict(type='BN', eps=0.001, momentum=0.03)
model = dict(
    type='SingleStageDetector',
    backbone=dict(type='MobileNetV2', out_indices=(4, 7), widen_factor=0.5, norm_cfg=norm),
    neck=dict(
        type='SSDNeck', in_channels=(48, 1280), out_channels=(48, 1280, 64, 32),
        level_strides=(2, 2), level_paddings=(1, 1), use_depthwise=True, norm_cfg=norm),
    bbox_head=dict(
        type='SSDHead', num_classes=3, use_depthwise=True, norm_cfg=norm,
        anchor_generator=dict(
            type='SSDAnchorGenerator', strides=[16, 32, 64, 107], ratios=[[2, 3]] * 4,
            min_sizes=[48, 100, 150, 202], max_sizes=[100, 150, 202, 253]),
        bbox_coder=dict(target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])),
    test_cfg=dict(nms=dict(type='nms', iou_threshold=0.45)))
"""
AUGMENTATIONS = [
    "Mosaic(size=(96, 96), scale=(0.4, 1.6))",
    "PhotometricDistortion(prob=0.5)",
    "RandomFlip",
    "MixUp(prob=1.0)",
    "ResizeShortestEdge((64, 96, 128), 128, 'choice')",
]


def test_each_setting_of_yolox_has_its_key():
    converted = convert_mmdet_config(parse_mmdet_config(YOLOX))
    expected = {
        "MODEL.CSPDARKNET.WIDTH": 0.125,
        "MODEL.CSPDARKNET.PYRAMID_CHANNELS": 24,
        "MODEL.YOLOX.CHANNELS": 40,
        "MODEL.YOLOX.CENTER_RADIUS": 2.0,
        "MODEL.YOLOX.NMS_THRESH_TEST": 0.7,
        "MODEL.YOLOX.L1_LAST_PART": 0.1,
        "INPUT.AUGMENTATIONS": AUGMENTATIONS,
        "INPUT.SIZE_BY_BATCH": True,
        "INPUT.MIXING_OFF_LAST_EPOCHS": 5.0,
        "SOLVER.NESTEROV": True,
        "SOLVER.WARMUP_EPOCHS": 5.0,
        "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR",
        "MODEL_EMA.DECAY": 0.9998,
    }
    assert {key: converted.keys.get(key) for key in expected} == expected
    assert converted.left_out == []
    opts = [item for pair in converted.keys.items() for item in pair]
    model = build_model(setup_cfg(converted.base, [*opts, "MODEL.DEVICE", "cpu"]))
    assert model.head.cls_preds[0].weight.shape == (3, 40, 1, 1)
    # The published weights are for pixels of 0 to 255 and grey padding.
    assert model.pixel_mean.flatten().tolist() == [114.0] * 3


def _built(converted):
    opts = [item for pair in converted.keys.items() for item in pair]
    cfg = setup_cfg(converted.base, [*opts, "MODEL.DEVICE", "meta"])
    build_augmentation(cfg, is_train=True)
    build_augmentation(cfg, is_train=False)
    with torch.device("meta"):
        return build_model(cfg)


def test_weights_of_the_losses_of_yolox_are_carried_over():
    changed = YOLOX.replace(
        "type='YOLOXHead',",
        "type='YOLOXHead', loss_bbox=dict(type='IoULoss', loss_weight=2.5),"
        "loss_cls=dict(type='CrossEntropyLoss', loss_weight=0.5),",
    )
    converted = convert_mmdet_config(parse_mmdet_config(changed))
    assert converted.keys["MODEL.YOLOX.BOX_WEIGHT"] == 2.5
    assert converted.left_out == ["The loss of classes has the weight 1."]


def test_each_setting_of_yolov3_has_its_key():
    converted = convert_mmdet_config(parse_mmdet_config(YOLOV3))
    expected = {
        "MODEL.YOLOV3.IOU_THRESHOLD": 0.6,
        "MODEL.YOLOV3.BOX_WEIGHT": 3.0,
        "MODEL.YOLOV3.SCORE_THRESH_TEST": 0.1,
        "MODEL.YOLOV3.OBJECT_THRESH_TEST": 0.01,
        "MODEL.YOLOV3.NMS_THRESH_TEST": 0.4,
        "INPUT.FORMAT": "RGB",
        "INPUT.AUGMENTATIONS": [
            "MinIoURandomCrop((0.4, 0.9), 0.5)",
            "ResizeShortestEdge((320, 608), 608, 'range')",
            "RandomFlip",
            "PhotometricDistortion(prob=1.0)",
        ],
    }
    assert {key: converted.keys.get(key) for key in expected} == expected
    assert [line[:20] for line in converted.left_out] == ["Augmentations Expand"]
    # Two anchors a cell, of five numbers and three classes.
    assert len(_built(converted).head.convs_pred[0].bias) == 2 * (5 + 3)


def test_each_setting_of_ssd_has_its_key():
    converted = convert_mmdet_config(parse_mmdet_config(SSD))
    expected = {
        "MODEL.SSD.NEGATIVES_PER_POSITIVE": 4,
        "MODEL.SSD.SMOOTH_L1_BETA": 0.5,
        "MODEL.SSD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
        "MODEL.SSD.EXTRA_LAYERS": [[512, 3, 2, 1], [256, 3, 2, 1], [256, 3, 1, 0], [256, 3, 1, 0]],
        "MODEL.ANCHOR_GENERATOR.SIZES": [
            [21, 45], [45, 99], [99, 153], [153, 207], [207, 261], [261, 315],
        ],
        "INPUT.AUGMENTATIONS": ["Resize((300, 320))", "RandomFlip"],
        "INPUT.AUGMENTATIONS_TEST": ["Resize((300, 320))"],
        "TEST.DETECTIONS_PER_IMAGE": 150,
    }  # fmt: skip
    assert {key: converted.keys.get(key) for key in expected} == expected
    assert converted.left_out == []
    # Four anchors a cell of the first map, of three classes and background.
    assert len(_built(converted).head.cls_convs[0].bias) == 4 * 4


def test_each_setting_of_ssdlite_has_its_key():
    converted = convert_mmdet_config(parse_mmdet_config(LITE))
    expected = {
        "MODEL.SSD.WIDTH": 0.5,
        "MODEL.SSD.LITE": True,
        "MODEL.ANCHOR_GENERATOR.SIZES": [[48, 100], [100, 150], [150, 202], [202, 253]],
    }
    assert {key: converted.keys.get(key) for key in expected} == expected
    model = _built(converted)
    assert model.backbone.layer5[0].linear_conv.conv.out_channels == 48
    assert model.head.cls_convs[0][1].out_channels == 6 * 4


@pytest.mark.parametrize(
    ("shares", "side", "sizes"),
    [
        ((0.2, 0.9), 300, [30, 60, 111, 162, 213, 264, 315]),
        ((0.15, 0.9), 512, [35, 76, 168, 261, 353, 445, 537]),
    ],
)
def test_published_sizes_of_anchors_follow_from_their_range(shares, side, sizes):
    """Of SSD for VOC: those of the paper for 300 pixels, and of MMDetection 3.3.0 for 512."""
    change = f"input_size={side}, basesize_ratio_range={shares}"
    text = SSD.replace("input_size=300, basesize_ratio_range=(0.15, 0.9)", change)
    found = convert_mmdet_config(parse_mmdet_config(text)).keys["MODEL.ANCHOR_GENERATOR.SIZES"]
    assert found == [list(pair) for pair in pairwise(sizes)]


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        (SSD, ("input_size=300", "input_size=400"), "give min_sizes and max_sizes"),
        (SSD, ("type='SSDHead'", "type='SABLHead'"), "no counterpart of the head"),
        (SSD, ("num_classes=3", "num_classes=3, use_depthwise=True"), "over MobileNetV2 alone"),
        (SSD, ("depth=16", "depth=11"), "over VGG-16"),
        (LITE, ("out_indices=(4, 7)", "out_indices=(3, 6)"), "maps .4, 7. of MobileNetV2"),
        (LITE, ("level_paddings=(1, 1)", "level_paddings=(1, 0)"), "3 x 3 cells alone"),
        (LITE, ("type='MobileNetV2'", "type='MobileNetV3'"), "no counterpart of the backbone"),
        (YOLOV3, ("type='Darknet'", "type='MobileNetV2'"), "'MobileNetV2'; there is Darknet"),
        (
            YOLOV3,
            ("loss_conf=dict(loss_weight=1.0)", "loss_conf=dict(loss_weight=2.0)"),
            "weight 1",
        ),
        (YOLOV3, ("out_channels=[512, 256, 128]", "out_channels=[96, 96, 96]"), "channels alone"),
    ],
)
def test_other_parts_of_ssd_and_yolov3_are_refused(text, change, message):
    with pytest.raises(ConfigError, match=message):
        convert_mmdet_config(parse_mmdet_config(text.replace(*change)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("num_csp_blocks=1", "num_csp_blocks=2"), "1 with 0.33, not 2"),
        (("widen_factor=0.125", "use_depthwise=True"), "backbone and neck together"),
        (("deepen_factor=0.33", "arch='P6', deepen_factor=0.33"), "arch='P6'; there is P5"),
        (("eps=0.001", "eps=0.1"), "eps=0.001 and momentum=0.03"),
        (("type='CSPDarknet'", "type='ResNet'"), "no counterpart of the backbone 'ResNet'"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(change, message):
    content = parse_mmdet_config(YOLOX.replace(*change))
    with pytest.raises(ConfigError, match=message):
        convert_mmdet_config(content)
