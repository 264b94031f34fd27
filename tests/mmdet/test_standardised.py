"""Mask R-CNN with group norm and standardised weights: config, names of weights, predictions.

The figures were recorded from MMDetection 3.3.0, with the model that `STANDARDISED` describes, in
evaluation mode, with the weights of `their_weight`; regions were cut out by torchvision's
operators.
"""

import pytest
import torch

from d2lite.engine import setup_cfg
from d2lite.mmdet import convert_mmdet_config, parse_mmdet_config
from d2lite.modeling import build_model

from .test_weights import predicted, their_weight

STANDARDISED = """
conv_cfg = dict(type='ConvWS')
norm_cfg = dict(type='GN', num_groups=32)
model = dict(
    type='MaskRCNN',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3, bgr_to_rgb=False,
        pad_mask=True, pad_size_divisor=32),
    backbone=dict(
        type='ResNet', depth=18, base_channels=32, stem_channels=32, frozen_stages=1,
        conv_cfg=conv_cfg, norm_cfg=norm_cfg, style='pytorch',
        out_indices=(0, 1, 2, 3)),
    neck=dict(
        type='FPN', in_channels=[32, 64, 128, 256], out_channels=32, num_outs=5,
        conv_cfg=conv_cfg, norm_cfg=norm_cfg),
    rpn_head=dict(
        type='RPNHead', in_channels=32, feat_channels=32,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0],
            strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0 / 9.0)),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor', out_channels=32, featmap_strides=[4, 8, 16, 32],
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0)),
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead', in_channels=32, fc_out_channels=32, roi_feat_size=7,
            conv_out_channels=32, num_classes=3,
            conv_cfg=conv_cfg, norm_cfg=norm_cfg,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4,
                target_stds=[0.1, 0.1, 0.2, 0.2])),
        mask_roi_extractor=dict(
            type='SingleRoIExtractor', out_channels=32, featmap_strides=[4, 8, 16, 32],
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0)),
        mask_head=dict(
            type='FCNMaskHead', num_convs=4, in_channels=32, conv_out_channels=32, num_classes=3,
            conv_cfg=conv_cfg, norm_cfg=norm_cfg)),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=1000, nms=dict(type='nms', iou_threshold=0.7)),
        rcnn=dict(
            score_thr=0.2, max_per_img=100, mask_thr_binary=0.5,
            nms=dict(type='nms', iou_threshold=0.5))))
"""


def _their_shapes():
    shapes = {}

    def conv(name, norm, outputs, inputs, side):
        shapes[f"{name}.weight"] = (outputs, inputs, side, side)
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (outputs,)

    def layer(name, *shape):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, (shape[0],)

    conv("backbone.conv1", "backbone.gn1", 32, 3, 7)
    before = 32
    for stage, width in enumerate((32, 64, 128, 256), start=1):
        for block in range(2):
            name = f"backbone.layer{stage}.{block}"
            conv(f"{name}.conv1", f"{name}.gn1", width, before, 3)
            conv(f"{name}.conv2", f"{name}.gn2", width, width, 3)
            if before != width:
                conv(f"{name}.downsample.0", f"{name}.downsample.1", width, before, 1)
            before = width
        for part, inputs, side in (
            ("neck.lateral_convs", width, 1),
            ("neck.fpn_convs", 32, 3),
            ("roi_head.bbox_head.shared_convs", 32, 3),
            ("roi_head.mask_head.convs", 32, 3),
        ):
            conv(f"{part}.{stage - 1}.conv", f"{part}.{stage - 1}.gn", 32, inputs, side)
    layer("rpn_head.rpn_conv", 32, 32, 3, 3)
    layer("rpn_head.rpn_cls", 3, 32, 1, 1)
    layer("rpn_head.rpn_reg", 12, 32, 1, 1)
    layer("roi_head.bbox_head.shared_fcs.0", 32, 32 * 7 * 7)
    layer("roi_head.bbox_head.fc_cls", 4, 32)
    layer("roi_head.bbox_head.fc_reg", 12, 32)
    layer("roi_head.mask_head.upsample", 32, 32, 2, 2)
    layer("roi_head.mask_head.conv_logits", 3, 32, 1, 1)
    return shapes


def test_mask_rcnn_with_standardised_weights_predicts_what_it_predicts_there(tmp_path):
    converted = convert_mmdet_config(parse_mmdet_config(STANDARDISED))
    options = [item for pair in converted.keys.items() for item in pair]
    model = build_model(setup_cfg(converted.base, [*options, "MODEL.DEVICE", "cpu"])).eval()
    weights = {name: their_weight(name, shape) for name, shape in _their_shapes().items()}
    torch.save({"state_dict": weights}, tmp_path / "epoch_24.pth")
    found = predicted(model, tmp_path / "epoch_24.pth")
    assert len(found) == 100
    boxes = [
        [0.139308, 18.180782, 30.187431, 94.947433],
        [0.162912, 9.066751, 22.729610, 48.237953],
    ]
    torch.testing.assert_close(found.pred_boxes.tensor[:2], torch.tensor(boxes), rtol=0, atol=2e-4)
    assert found.scores[:3].tolist() == pytest.approx([0.272936, 0.272392, 0.272154], abs=1e-5)
    assert found.scores.sum().item() == pytest.approx(26.616430, abs=1e-3)
    areas = found.pred_masks.flatten(1).sum(dim=1)
    assert areas[:8].tolist() == pytest.approx([25, 16, 6, 12, 21, 10, 4, 13], abs=1)
    assert areas.sum().item() == pytest.approx(24394, abs=10)
