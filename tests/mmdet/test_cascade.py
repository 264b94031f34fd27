"""Cascade Mask R-CNN with the seesaw loss: config, names of weights and predictions.

The figures were recorded from MMDetection 3.3.0, with the model that `CASCADE` describes, in
evaluation mode, with the weights of `their_weight`; regions were cut out by torchvision's
operators.
"""

import pytest
import torch

from d2lite.engine import setup_cfg
from d2lite.mmdet import convert_mmdet_config, parse_mmdet_config
from d2lite.modeling import build_model

from .test_weights import predicted, their_shapes, their_weight

CASCADE = """
extractor = dict(
    type='SingleRoIExtractor', out_channels=16, featmap_strides=[4, 8, 16, 32],
    roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0))
head = dict(
    type='Shared2FCBBoxHead', in_channels=16, fc_out_channels=32, roi_feat_size=7,
    num_classes=3, reg_class_agnostic=True,
    cls_predictor_cfg=dict(type='NormedLinear', tempearture=20),
    loss_cls=dict(type='SeesawLoss', p=0.8, q=2.0, num_classes=3, loss_weight=1.0),
    loss_bbox=dict(type='SmoothL1Loss', beta=1.0))
coder = dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4)
model = dict(
    type='CascadeRCNN',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3, pad_size_divisor=32),
    backbone=dict(
        type='ResNet', depth=18, base_channels=16, stem_channels=16, frozen_stages=1,
        norm_eval=True, norm_cfg=dict(type='BN'), style='pytorch', out_indices=(0, 1, 2, 3)),
    neck=dict(type='FPN', in_channels=[16, 32, 64, 128], out_channels=16, num_outs=5),
    rpn_head=dict(
        type='RPNHead', in_channels=16, feat_channels=16,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0],
            strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(coder, target_stds=[1.0] * 4)),
    roi_head=dict(
        type='CascadeRoIHead', num_stages=3, stage_loss_weights=[1, 0.5, 0.25],
        bbox_roi_extractor=extractor,
        bbox_head=[
            dict(head, bbox_coder=dict(coder, target_stds=[0.1, 0.1, 0.2, 0.2])),
            dict(head, bbox_coder=dict(coder, target_stds=[0.05, 0.05, 0.1, 0.1])),
            dict(head, bbox_coder=dict(coder, target_stds=[0.033, 0.033, 0.067, 0.067]))],
        mask_roi_extractor=dict(
            extractor, roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0)),
        mask_head=dict(
            type='FCNMaskHead', num_convs=4, in_channels=16, conv_out_channels=16, num_classes=3,
            predictor_cfg=dict(type='NormedConv2d', tempearture=20))),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=1000, nms=dict(type='nms', iou_threshold=0.7)),
        rcnn=dict(
            score_thr=0.2, max_per_img=100, mask_thr_binary=0.5,
            nms=dict(type='nms', iou_threshold=0.5))))
"""


def _their_shapes():
    """Three heads of boxes and of masks, and what the seesaw loss counts."""
    shapes = {}
    for name, shape in their_shapes().items():
        kind, _, rest = name.removeprefix("roi_head.").partition(".")
        if not name.startswith("roi_head."):
            shapes[name] = shape
            continue
        # One row more than classes and background; one box for all classes.
        rows = {"fc_cls": 5, "fc_reg": 4}.get(rest.split(".")[0], shape[0])
        for stage in range(3):
            shapes[f"roi_head.{kind}.{stage}.{rest}"] = (rows, *shape[1:])
    return shapes | {f"roi_head.bbox_head.{i}.loss_cls.cum_samples": (4,) for i in range(3)}


def test_cascade_mask_rcnn_with_seesaw_loss_predicts_what_it_predicts_there(tmp_path):
    converted = convert_mmdet_config(parse_mmdet_config(CASCADE))
    assert not converted.left_out
    options = [item for pair in converted.keys.items() for item in pair]
    model = build_model(setup_cfg(converted.base, [*options, "MODEL.DEVICE", "cpu"])).eval()
    weights = {name: their_weight(name, shape) for name, shape in _their_shapes().items()}
    torch.save({"state_dict": weights}, tmp_path / "epoch_24.pth")
    found = predicted(model, tmp_path / "epoch_24.pth")
    counts = weights["roi_head.bbox_head.2.loss_cls.cum_samples"]
    assert torch.equal(model.roi_heads.box_predictor[2].class_loss.counts, counts[:3])
    assert len(found) == 100
    boxes = [[0.126584, 33.172371, 4.271467, 76.137733], [0.225152, 9.856911, 5.460679, 53.160744]]
    torch.testing.assert_close(found.pred_boxes.tensor[:2], torch.tensor(boxes), rtol=0, atol=2e-4)
    assert found.scores[:3].tolist() == pytest.approx([0.870347, 0.824204, 0.820909], abs=1e-5)
    assert found.scores.sum().item() == pytest.approx(68.933075, abs=1e-3)
    areas = found.pred_masks.flatten(1).sum(dim=1)
    assert areas[:8].tolist() == pytest.approx([19, 20, 4, 87, 60, 11, 48, 75], abs=1)
    assert areas.sum().item() == pytest.approx(9292, abs=10)
