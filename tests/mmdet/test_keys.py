"""Settings of MMDetection become keys that build the same model, or are refused by name."""

import re

import pytest
import torch
import yaml

from d2lite.config import get_cfg
from d2lite.engine import setup_cfg
from d2lite.mmdet import convert_mmdet_config, parse_mmdet_config
from d2lite.modeling import build_model
from d2lite.predicting.model_source import model_config
from d2lite.utils.errors import ConfigError

# A Faster R-CNN in the form of version 3, written for this test.
RCNN = """
classes = ('nut', 'fig', 'date')
deltas = dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4)
model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(mean=[123.0, 116.0, 103.0], std=[58.0, 57.0, 56.0], bgr_to_rgb=True),
    backbone=dict(
        type='ResNet', depth=18, base_channels=16, frozen_stages=1, norm_eval=True,
        norm_cfg=dict(type='BN'), style='pytorch', out_indices=(0, 1, 2, 3)),
    neck=dict(type='FPN', in_channels=[16, 32, 64, 128], out_channels=24, num_outs=5),
    rpn_head=dict(
        type='RPNHead',
        anchor_generator=dict(
            type='AnchorGenerator', scales=[4], ratios=[0.5, 2.0], strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(deltas, target_stds=[1.0] * 4),
        loss_bbox=dict(type='SmoothL1Loss', beta=0.5)),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(roi_layer=dict(type='RoIAlign', output_size=5, sampling_ratio=2)),
        bbox_head=dict(
            type='Shared2FCBBoxHead', fc_out_channels=40, num_classes=3,
            bbox_coder=dict(deltas, target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_bbox=dict(type='GIoULoss', loss_weight=10.0))),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(pos_iou_thr=0.8, neg_iou_thr=0.2),
            sampler=dict(type='RandomSampler', num=100, pos_fraction=0.4)),
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=dict(
            assigner=dict(pos_iou_thr=0.55),
            sampler=dict(type='RandomSampler', num=64, pos_fraction=0.3))),
    test_cfg=dict(
        rpn=dict(nms_pre=150, max_per_img=90, nms=dict(type='nms', iou_threshold=0.65)),
        rcnn=dict(score_thr=0.1, max_per_img=20, nms=dict(type='nms', iou_threshold=0.45))))
steps = [dict(type='Resize', scale=(500, 300), keep_ratio=True), dict(type='RandomFlip', prob=0.5)]
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type='RepeatDataset',
        dataset=dict(
            type='CocoDataset', data_root='mine/', ann_file='train.json',
            data_prefix=dict(img='pictures/'), metainfo=dict(classes=classes), pipeline=steps)))
val_dataloader = dict(dataset=dict(
    type='CocoDataset', ann_file='val.json', data_prefix=dict(img='v'), pipeline=steps[:1]))
train_cfg = dict(max_epochs=12, val_interval=3)
optim_wrapper = dict(
    type='AmpOptimWrapper', clip_grad=dict(max_norm=35),
    optimizer=dict(type='SGD', lr=0.02, momentum=0.8, weight_decay=0.0002),
    paramwise_cfg=dict(norm_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', milestones=[8, 11], gamma=0.2)]
custom_hooks = [
    dict(type='EMAHook', momentum=0.001), dict(type='PipelineSwitchHook', switch_epoch=10),
    dict(type='MyHook')]
"""

# What Libra R-CNN samples by.
LIBRA = """type='CombinedSampler', num=64,
    pos_sampler=dict(type='InstanceBalancedPosSampler'),
    neg_sampler=dict(type='IoUBalancedNegSampler', floor_thr=-1, num_bins=3)"""
NECK = "type='FPN', in_channels=[16, 32, 64, 128], out_channels=24, num_outs=5"
BALANCED = f"neck=[dict({NECK}), dict(type='BFP', refine_level=1, refine_type='non_local')],"
CONTEXT = """style='pytorch', plugins=[dict(
    cfg=dict(type='ContextBlock', ratio=0.25), stages=(False, True, True, True),
    position='after_conv3')],"""

EXPECTED = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.0, 116.0, 103.0],
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.BACKBONE.FREEZE_AT": 2,
    "MODEL.FPN.OUT_CHANNELS": 24,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16], [32], [64], [128], [256]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 2.0]],
    "MODEL.RPN.SMOOTH_L1_BETA": 0.5,
    "MODEL.RPN.IOU_THRESHOLDS": [0.2, 0.8],
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 100,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 200,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 90,
    "MODEL.RPN.NMS_THRESH": 0.65,
    "MODEL.ROI_HEADS.NUM_CLASSES": 3,
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.55],
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.1,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.45,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 5,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "giou",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": 10.0,
    "DATASETS.TRAIN": ["coco:mine/train.json@mine/pictures?classes=nut,fig,date"],
    "DATASETS.TEST": ["coco:val.json@v?classes=nut,fig,date"],
    "INPUT.MIN_SIZE_TRAIN": [300],
    "INPUT.MAX_SIZE_TRAIN": 500,
    "INPUT.MIN_SIZE_TEST": 300,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.BASE_LR": 0.02,
    "SOLVER.MOMENTUM": 0.8,
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "SOLVER.WEIGHT_DECAY_BIAS": 0.0002,
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 35.0,
    "SOLVER.AMP.ENABLED": True,
    "SOLVER.MAX_EPOCHS": 12.0,
    "SOLVER.STEP_EPOCHS": [8, 11],
    "SOLVER.GAMMA": 0.2,
    "SOLVER.WARMUP_ITERS": 500,
    "SOLVER.WARMUP_FACTOR": 0.001,
    "MODEL_EMA.ENABLED": True,
    "MODEL_EMA.DECAY": 0.999,
    "INPUT.MIXING_OFF_LAST_EPOCHS": 2.0,
    "TEST.EVAL_EPOCHS": 3.0,
    "TEST.DETECTIONS_PER_IMAGE": 20,
}


def test_each_setting_has_its_key():
    converted = convert_mmdet_config(parse_mmdet_config(RCNN))
    assert {key: converted.keys.get(key) for key in EXPECTED} == EXPECTED
    assert converted.left_out == ["The hook MyHook: see HOOKS and d2lite.engine.hooks."]
    opts = [item for pair in converted.keys.items() for item in pair]
    cfg = setup_cfg(converted.base, [*opts, "MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    assert model.backbone.bottom_up.res2[0].conv1.weight.shape[0] == 16


RUN = """
load_from = 'start.pth'
work_dir = 'work_dirs/mine'
randomness = dict(seed=7)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=10),
    checkpoint=dict(
        type='CheckpointHook', interval=2, max_keep_ckpts=3, save_best='coco/segm_mAP_50'))
custom_hooks = [dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', patience=4, min_delta=0.01)]
"""


def test_settings_of_a_run_have_their_keys():
    """What a person sets in the own file; it was dropped without a word."""
    text = RCNN.replace("type='RepeatDataset'", "type='ClassBalancedDataset', oversample_thr=0.1")
    converted = convert_mmdet_config(parse_mmdet_config(text + RUN))
    expected = {
        "MODEL.WEIGHTS": "start.pth",
        "OUTPUT_DIR": "work_dirs/mine",
        "SEED": 7,
        "LOG_PERIOD": 10,
        "SOLVER.CHECKPOINT_EPOCHS": 2.0,
        "SOLVER.CHECKPOINT_MAX_TO_KEEP": 3,
        "SOLVER.BEST_CHECKPOINT.METRIC": "segm/AP50",
        "SOLVER.EARLY_STOPPING.METRIC": "bbox/AP",
        "SOLVER.EARLY_STOPPING.PATIENCE": 4,
        "SOLVER.EARLY_STOPPING.MIN_DELTA": 1.0,
        "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler",
        "DATALOADER.REPEAT_THRESHOLD": 0.1,
        "TEST.EVAL_EPOCHS": 3.0,
    }
    assert {key: converted.keys.get(key) for key in expected} == expected
    assert converted.left_out == []
    setup_cfg(converted.base, [item for pair in converted.keys.items() for item in pair])
    by_iteration = RUN.replace("interval=2,", "interval=200, by_epoch=False,")
    keys = convert_mmdet_config(parse_mmdet_config(RCNN + by_iteration)).keys
    assert keys["SOLVER.CHECKPOINT_PERIOD"] == 200
    other = convert_mmdet_config(parse_mmdet_config(RCNN + RUN.replace("segm_mAP_50", "mine")))
    assert other.left_out == ["The score coco/mine: see SOLVER.BEST_CHECKPOINT.METRIC."]


def test_version_2_has_its_settings_in_other_places():
    content = parse_mmdet_config(
        RCNN[: RCNN.index("steps = ")].replace("data_preprocessor=dict(", "unused=dict(")
        + """
img_norm_cfg = dict(mean=[1.0, 2.0, 3.0], std=[1.0, 1.0, 1.0], to_rgb=False)
steps = [dict(type='Resize', img_scale=[(1333, 640), (1333, 800)], multiscale_mode='value')]
data = dict(
    samples_per_gpu=4,
    train=dict(type='VOCDataset', ann_file='VOC2007/ImageSets/Main/trainval.txt',
               img_prefix='VOC2007/', pipeline=steps),
    val=dict(type='LVISV1Dataset', ann_file='lvis.json'))
optimizer = dict(type='AdamW', lr=0.0001, weight_decay=0.05)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy='step', warmup='linear', warmup_iters=7, warmup_ratio=0.1, step=[2, 3])
runner = dict(type='EpochBasedRunner', max_epochs=4)
"""
    )
    converted = convert_mmdet_config(content)
    expected = {
        "INPUT.FORMAT": "BGR",
        "MODEL.PIXEL_MEAN": [1.0, 2.0, 3.0],
        "DATASETS.TRAIN": ["voc:VOC2007@trainval?classes=nut,fig,date"],
        "INPUT.MIN_SIZE_TRAIN": [640, 800],
        "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
        "SOLVER.IMS_PER_BATCH": 32,
        "SOLVER.OPTIMIZER": "AdamW",
        "SOLVER.STEP_EPOCHS": [2, 3],
        "SOLVER.WARMUP_ITERS": 7,
        "SOLVER.MAX_EPOCHS": 4.0,
    }
    assert {key: converted.keys.get(key) for key in expected} == expected
    assert "SOLVER.CLIP_GRADIENTS.ENABLED" not in converted.keys
    assert [line[:26] for line in converted.left_out] == ["The dataset LVISV1Dataset,"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("type='FasterRCNN'", "type='YOLOF'"), "no counterpart of the model 'YOLOF' yet"),
        (("type='ResNet'", "type='Res2Net'"), "no counterpart of the backbone 'Res2Net'"),
        (
            ("type='ResNet',", "type='ResNet', conv_cfg=dict(type='ConvWS'),"),
            "ConvWS has a counterpart with the norm GN, not 'BN'",
        ),
        (
            ("type='ResNet',", "type='ResNet', conv_cfg=dict(type='ConvAWS'),"),
            "convolutions 'ConvAWS'",
        ),
        (("type='FPN'", "type='FPG'"), "no counterpart of the neck 'FPG'"),
        (("'GIoULoss'", "'EIoULoss'"), "box loss 'EIoULoss'"),
        (("type='RandomSampler', num=64", "type='PseudoSampler', num=64"), "'PseudoSampler'"),
        (("type='RandomSampler', num=64", LIBRA.replace("num_bins=3", "num_bins=5")), "num_bins=3"),
        (
            (
                "num_classes=3",
                "num_classes=3, cls_predictor_cfg=dict(type='NormedLinear', power=2)",
            ),
            "NormedLinear with power=1",
        ),
        (
            ("style='pytorch',", "style='pytorch', plugins=[dict(cfg=dict(type='X'))],"),
            "plugin 'X'",
        ),
        (("scales=[4]", "scales=[4, 8]"), "Anchors of one scale"),
        (
            ("bbox_roi_extractor=dict(", "bbox_roi_extractor=dict(type='GenericRoIExtractor', "),
            "`bbox_roi_extractor` 'GenericRoIExtractor'",
        ),
        (("iou_threshold=0.45", "iou_threshold=0.4, split=1"), None),
        (("type='nms', iou_threshold=0.45", "type='fast_nms'"), "suppression 'fast_nms'"),
        (("type='nms', iou_threshold=0.65", "type='soft_nms'"), "suppression 'soft_nms'"),
        (("    neck=dict(", "    hals=dict("), "setting 'neck'"),
        (("strides=[4, 8, 16, 32, 64]", "strides=5"), "another form"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(change, message):
    content = parse_mmdet_config(RCNN.replace(*change))
    if message is None:
        convert_mmdet_config(content)
        return
    with pytest.raises(ConfigError, match=message):
        convert_mmdet_config(content)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            (f"neck=dict({NECK}),", BALANCED),
            {"MODEL.FPN.BALANCE": "non_local", "MODEL.FPN.BALANCE_LEVEL": 1},
        ),
        (("type='FPN'", "type='PAFPN'"), {"MODEL.FPN.BOTTOM_UP_PATH": True}),
        (("type='RandomSampler', num=64", LIBRA), {"MODEL.ROI_HEADS.SAMPLER": "libra"}),
        (
            ("type='RandomSampler', num=64", "type='OHEMSampler', num=64"),
            {"MODEL.ROI_HEADS.SAMPLER": "ohem", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 64},
        ),
        (
            ("type='GIoULoss'", "type='BalancedL1Loss', beta=1.0"),
            {
                "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "balanced_l1",
                "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 1.0,
            },
        ),
        (
            ("'GIoULoss'", "'BoundedIoULoss'"),
            {"MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "bounded_iou"},
        ),
        (
            (
                "num_classes=3",
                "num_classes=3, loss_cls=dict(type='SeesawLoss'), "
                "cls_predictor_cfg=dict(type='NormedLinear', tempearture=15)",
            ),
            {
                "MODEL.ROI_BOX_HEAD.CLASS_LOSS": "seesaw",
                "MODEL.ROI_BOX_HEAD.COSINE_SCALE": 15.0,
            },
        ),
        (
            (
                "base_channels=16, frozen_stages=1, norm_eval=True,\n"
                "        norm_cfg=dict(type='BN')",
                "base_channels=32, norm_cfg=dict(type='GN'), conv_cfg=dict(type='ConvWS')",
            ),
            {"MODEL.RESNETS.NORM": "GN_WS", "MODEL.FPN.NORM": ""},
        ),
        (
            ("style='pytorch',", CONTEXT),
            {
                "MODEL.RESNETS.PLUGIN": "global_context",
                "MODEL.RESNETS.PLUGIN_RATIO": 0.25,
                "MODEL.RESNETS.PLUGIN_ON_PER_STAGE": [False, True, True, True],
            },
        ),
    ],
)
def test_components_have_their_keys(change, expected):
    converted = convert_mmdet_config(parse_mmdet_config(RCNN.replace(*change)))
    assert {key: converted.keys[key] for key in expected} == expected
    opts = [item for pair in converted.keys.items() for item in pair]
    build_model(setup_cfg(converted.base, [*opts, "MODEL.DEVICE", "cpu"]))


AMP = "type='AmpOptimWrapper'"


@pytest.mark.parametrize(("change", "expected"), [
    ((AMP, f"{AMP}, accumulative_counts=4"),
     {"SOLVER.ACCUMULATE_STEPS": 4, "SOLVER.IMS_PER_BATCH": 64, "SOLVER.WARMUP_ITERS": 125,
      "SOLVER.MAX_EPOCHS": 12.0}),
    ((AMP, f"{AMP}, dtype='bfloat16'"), {"SOLVER.AMP.PRECISION": "bfloat16"}),
    (("batch_size=2,", "batch_size=2, num_workers=6,"), {"DATALOADER.NUM_WORKERS": 6}),
    (("metainfo=", "filter_cfg=dict(filter_empty_gt=False), metainfo="),
     {"DATALOADER.FILTER_EMPTY_ANNOTATIONS": False}),
    (("ann_file='train.json'", "ann_file=['a.json', 'b.json']"),
     {"DATASETS.TRAIN": [f"coco:mine/{name}.json@mine/pictures?classes=nut,fig,date"
                         for name in "ab"]}),
    (("metainfo=dict(classes=", "metainfo=dict(CLASSES="),
     {"DATASETS.TRAIN": EXPECTED["DATASETS.TRAIN"]}),
    (("deltas = ", "randomness = dict(deterministic=True)\ndeltas = "), {"DETERMINISTIC": True}),
    (("max_epochs=12, val_interval=3", "max_iters=900, val_interval=30"),
     {"SOLVER.MAX_ITER": 900, "TEST.EVAL_PERIOD": 30}),
])  # fmt: skip
def test_settings_of_the_training_have_their_keys(change, expected):
    assert change[0] in RCNN
    converted = convert_mmdet_config(parse_mmdet_config(RCNN.replace(*change)))
    assert {key: converted.keys.get(key) for key in expected} == expected
    assert {line for line in converted.left_out if "Hook" not in line} == set()
    setup_cfg(converted.base, [item for pair in converted.keys.items() for item in pair])


@pytest.mark.parametrize(("change", "sentence"), [
    (("norm_decay_mult=0.0", "custom_keys={'backbone': dict(lr_mult=0.1)}"),
     "(custom_keys backbone): see SOLVER.PARAM_GROUPS"),
    ((AMP, f"{AMP}, constructor='LayerDecayOptimizerConstructor'"), "SOLVER.LAYER_DECAY"),
    (("batch_size=2,", "sampler=dict(type='ClassAwareSampler'),"), "The sampler ClassAwareSampler"),
    (("metainfo=", "indices=100, metainfo="), "(indices): see ?fraction="),
    (("classes = ('nut', 'fig', 'date')", "classes = 'names.txt'"), "The classes names.txt"),
    (("('nut',", "('nut, ripe',"), "rename those with commas"),
    (("val_interval=3", "dynamic_intervals=[(8, 1)]"), "(dynamic_intervals): see TEST.EVAL_EPOCHS"),
    (("deltas = ", "custom_imports = dict(imports=['my.hooks'])\ndeltas = "), "modules my.hooks"),
    (("deltas = ", "resume = True\ndeltas = "), "see --resume of d2lite train"),
    (("deltas = ", "tta_model = dict(type='DetTTAModel')\ndeltas = "), "see TEST.AUG"),
    (("deltas = ", "visualizer = dict(vis_backends=[dict(type='WandbVisBackend')])\ndeltas = "),
     "The writer WandbVisBackend: see WRITERS"),
    (("steps = [", "test_dataloader = dict(dataset=dict(ann_file='test.json'))\nsteps = ["),
     "The test set test.json"),
])  # fmt: skip
def test_setting_without_a_key_is_listed_with_what_to_look_at(change, sentence):
    assert change[0] in RCNN
    left_out = convert_mmdet_config(parse_mmdet_config(RCNN.replace(*change))).left_out
    assert [line for line in left_out if sentence in line], left_out


def test_version_2_has_several_label_files_and_passes_and_any_schedule():
    start = RCNN[: RCNN.index("steps = ")].replace("data_preprocessor=dict(", "unused=dict(")
    converted = convert_mmdet_config(parse_mmdet_config(start + """
data = dict(
    samples_per_gpu=1, workers_per_gpu=3,
    train=dict(type='CocoDataset', ann_file=['a.json', 'b.json'], img_prefix=['ia/', 'ib/']),
    val=dict(type='CocoDataset', ann_file='v.json', img_prefix='v/'))
optimizer_config = dict(type='GradientCumulativeOptimizerHook', cumulative_iters=4)
lr_config = dict(policy='poly', warmup='linear', warmup_iters=2, warmup_by_epoch=True)
evaluation = dict(interval=2)
total_epochs = 4
"""))  # fmt: skip
    expected = {
        "DATASETS.TRAIN": [f"coco:{n}.json@i{n}?classes=nut,fig,date" for n in "ab"],
        "DATALOADER.NUM_WORKERS": 3,
        "SOLVER.ACCUMULATE_STEPS": 4,
        "SOLVER.IMS_PER_BATCH": 32,
        "SOLVER.WARMUP_EPOCHS": 2.0,
        "TEST.EVAL_EPOCHS": 2.0,
    }
    assert {key: converted.keys.get(key) for key in expected} == expected
    assert converted.left_out == ["The schedule poly: see SOLVER.LR_SCHEDULER_NAME."]


def test_soft_suppression_of_detections_has_its_keys():
    soft = "type='soft_nms', iou_threshold=0.4, method='gaussian', sigma=0.3, min_score=0.02"
    text = RCNN.replace("type='nms', iou_threshold=0.45", soft)
    keys = convert_mmdet_config(parse_mmdet_config(text)).keys
    expected = {"METHOD": "gaussian", "SIGMA": 0.3, "MIN_SCORE": 0.02}
    assert {key: keys[f"TEST.SOFT_NMS.{key}"] for key in expected} == expected
    assert keys["MODEL.ROI_HEADS.NMS_THRESH_TEST"] == 0.4


def test_a_file_without_a_model_is_refused():
    with pytest.raises(ConfigError, match="no `model = dict"):
        convert_mmdet_config(parse_mmdet_config("dataset_type = 'CocoDataset'"))


@pytest.mark.parametrize("name", ["mine.py", "epoch_12.pth"])
def test_without_the_name_of_the_library_the_command_asks_for_it(d2lite, tmp_path, name):
    (tmp_path / name).write_text("_base_ = './mask_rcnn.py'\n")
    status, _, err = d2lite("migrate", tmp_path / name)
    assert status == 2
    assert f"d2lite migrate --from mmdet {tmp_path / name}" in err


def test_the_command_prints_a_config_that_loads_alone(d2lite, tmp_path):
    (tmp_path / "mine.py").write_text(RCNN)
    status, out, err = d2lite("migrate", "--from", "mmdet", tmp_path / "mine.py")
    assert status == 0, err
    assert "# Left out: The hook MyHook" in out
    assert "SOLVER.IMS_PER_BATCH is that of 8 GPUs" in out
    (tmp_path / "mine.yaml").write_text(out)
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "mine.yaml"))
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3


@pytest.mark.parametrize("components", [False, True])
def test_a_checkpoint_alone_gives_config_and_weights(d2lite, tmp_path, components):
    """It holds its config and its classes; the curves in it are of a class that is not loaded."""
    text = RCNN
    if components:
        text = text.replace(f"neck=dict({NECK}),", BALANCED.replace("'FPN'", "'PAFPN'"))
        text = text.replace("style='pytorch',", CONTEXT)
    model = build_model(setup_cfg("Base-RCNN-FPN.yaml", _options(text)))
    names = {theirs: model.state_dict()[ours] for theirs, ours in _pairs(model)}
    if components:
        # The pyramid is the first of a list.
        names = {re.sub(r"^neck\.(?=[lfpd])", "neck.0.", name): x for name, x in names.items()}
        assert {"neck.0.lateral_convs.0.conv.weight", "neck.1.refine.g.conv.weight"} <= set(names)
    meta = {"cfg": text, "dataset_meta": {"classes": ("nut", "fig", "date")}}
    path = tmp_path / "epoch_12.pth"
    other = {name: value + 1 for name, value in names.items()}
    averaged = {"steps": torch.tensor(3), **{f"module.{name}": x for name, x in other.items()}}
    # Of version 3, the averages that are evaluated are in state_dict; of version 2, beside them
    # are the others, in one name.
    names |= {f"ema_{name.replace('.', '_')}": value for name, value in other.items()}
    run = {"message_hub": {}, "optimizer": {"state": {}}, "param_schedulers": [{"last_step": 3}]}
    torch.save({"meta": meta, "state_dict": names, "ema_state_dict": averaged, **run}, path)
    status, _, err = d2lite("migrate", "--from", "mmdet", path, "--output", tmp_path / "ours")
    assert status == 0, err
    written = yaml.safe_load((tmp_path / "ours/epoch_12.yaml").read_text())
    weights = torch.load(written["MODEL"]["WEIGHTS"], weights_only=True)
    assert weights["d2lite"]["class_names"] == ["nut", "fig", "date"]
    assert set(weights["model"]) == set(model.state_dict())
    for name, value in weights["model"].items():
        assert torch.equal(value, model.state_dict()[name]), name
    held = model_config(tmp_path / "ours/epoch_12.pth")  # it is a model by itself
    assert held.MODEL.ROI_HEADS.NUM_CLASSES == 3
    assert str(tmp_path / "ours/epoch_12.pth") == held.MODEL.WEIGHTS


def _options(text):
    keys = convert_mmdet_config(parse_mmdet_config(text)).keys
    return [item for pair in {**keys, "MODEL.DEVICE": "cpu"}.items() for item in pair]


def _pairs(model):
    """MMDetection's name and ours of each weight of a Faster R-CNN."""
    parts = {
        "backbone.bottom_up.stem.conv1.norm": "backbone.bn1",
        "backbone.bottom_up.stem": "backbone",
        "proposal_generator.rpn_head.conv": "rpn_head.rpn_conv",
        "proposal_generator.rpn_head.objectness_logits": "rpn_head.rpn_cls",
        "proposal_generator.rpn_head.anchor_deltas": "rpn_head.rpn_reg",
        "roi_heads.box_head.fc1": "roi_head.bbox_head.shared_fcs.0",
        "roi_heads.box_head.fc2": "roi_head.bbox_head.shared_fcs.1",
        "roi_heads.box_predictor.cls_score": "roi_head.bbox_head.fc_cls",
        "roi_heads.box_predictor.bbox_pred": "roi_head.bbox_head.fc_reg",
    }
    for part in ("theta", "phi", "g"):
        parts[f"backbone.balance.refine.{part}"] = f"neck.1.refine.{part}.conv"
    parts["backbone.balance.refine.out"] = "neck.1.refine.conv_out.conv"
    for level in range(3):
        path = "backbone.bottom_up_path"
        parts[f"{path}.downsample.{level}"] = f"neck.downsample_convs.{level}.conv"
        parts[f"{path}.output.{level}"] = f"neck.pafpn_convs.{level}.conv"
    for level in range(4):
        parts[f"backbone.fpn_lateral{level + 2}"] = f"neck.lateral_convs.{level}.conv"
        parts[f"backbone.fpn_output{level + 2}"] = f"neck.fpn_convs.{level}.conv"
        for block in range(2):
            ours = f"backbone.bottom_up.res{level + 2}.{block}"
            theirs = f"backbone.layer{level + 1}.{block}"
            for conv in (1, 2):
                parts[f"{ours}.conv{conv}.norm"] = f"{theirs}.bn{conv}"
                parts[f"{ours}.conv{conv}"] = f"{theirs}.conv{conv}"
            parts[f"{ours}.plugin.mask"] = f"{theirs}.context_block.conv_mask"
            parts[f"{ours}.plugin.add"] = f"{theirs}.context_block.channel_add_conv"
            parts[f"{ours}.shortcut.norm"] = f"{theirs}.downsample.1"
            parts[f"{ours}.shortcut"] = f"{theirs}.downsample.0"
    for name in model.state_dict():
        ours = next(ours for ours in parts if name.startswith(f"{ours}."))
        yield parts[ours] + name.removeprefix(ours), name


def test_options_of_the_other_way_are_refused(d2lite, tmp_path):
    (tmp_path / "mine.py").write_text(RCNN)
    status, _, err = d2lite("migrate", "--from", "mmdet", "--write", tmp_path / "mine.py")
    assert status == 2
    assert "--output" in err


def test_where_images_are_repeated_an_epoch_is_longer():
    """RepeatDataset shows each image several times in what is an epoch there."""
    text = RCNN.replace("type='RepeatDataset',", "type='RepeatDataset', times=5,")
    keys = convert_mmdet_config(parse_mmdet_config(text)).keys
    expected = {
        "SOLVER.MAX_EPOCHS": 60.0,
        "SOLVER.STEP_EPOCHS": [40, 55],
        "TEST.EVAL_EPOCHS": 15.0,
        "INPUT.MIXING_OFF_LAST_EPOCHS": 10.0,
        "SOLVER.WARMUP_ITERS": 500,
    }
    assert {key: keys.get(key) for key in expected} == expected


def test_repeated_images_count_within_other_wrappers_too():
    """As of packages that name the package with each type."""
    inside = "type='mmdet.MultiImageMixDataset', dataset=dict(type='mmdet.RepeatDataset', times=5,"
    text = RCNN.replace("type='RepeatDataset',", inside)
    text = text.replace("pipeline=steps)))\nval", "pipeline=steps))))\nval")
    converted = convert_mmdet_config(parse_mmdet_config(text))
    assert converted.keys["SOLVER.MAX_EPOCHS"] == 60.0
    assert converted.keys["DATASETS.TRAIN"] == EXPECTED["DATASETS.TRAIN"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("milestones=[8, 11]", "milestones=[800, 1100], by_epoch=False"),
            {"SOLVER.STEPS": [800, 1100], "SOLVER.STEP_EPOCHS": None},
        ),
        (("type='SGD'", "type='Adam'"), {"SOLVER.OPTIMIZER": "Adam"}),
        (
            ("data_root='mine/'", "data_root='s3://mine/'"),
            {
                "DATASETS.TRAIN": [
                    "coco:s3://mine/train.json@s3://mine/pictures?classes=nut,fig,date"
                ]
            },
        ),
        (
            ("type='GIoULoss', loss_weight=10.0", "type='L1Loss', loss_weight=3.0"),
            {
                "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": 3.0,
                "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 0.0,
            },
        ),
    ],
)
def test_numbers_in_their_less_frequent_forms_are_carried_over(change, expected):
    assert change[0] in RCNN
    keys = convert_mmdet_config(parse_mmdet_config(RCNN.replace(*change))).keys
    assert {key: keys.get(key) for key in expected} == expected


def test_what_changes_a_training_and_has_no_key_is_listed():
    text = RCNN.replace("type='SGD'", "type='Lion'").replace(
        "num_classes=3", "num_classes=3, loss_cls=dict(type='CrossEntropyLoss', loss_weight=2.0)"
    )
    left_out = convert_mmdet_config(parse_mmdet_config(text)).left_out
    for start in ("The loss of classes of the box head", "The optimizer Lion"):
        assert any(line.startswith(start) for line in left_out), left_out
