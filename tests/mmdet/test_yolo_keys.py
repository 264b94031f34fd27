"""Settings of YOLOX in MMDetection become keys that build the same model."""

import pytest

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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("num_csp_blocks=1", "num_csp_blocks=2"), "1 with 0.33, not 2"),
        (("widen_factor=0.125", "use_depthwise=True"), "backbone and neck together"),
        (("eps=0.001", "eps=0.1"), "eps=0.001 and momentum=0.03"),
        (("type='CSPDarknet'", "type='ResNet'"), "no counterpart of the backbone 'ResNet'"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(change, message):
    content = parse_mmdet_config(YOLOX.replace(*change))
    with pytest.raises(ConfigError, match=message):
        convert_mmdet_config(content)
