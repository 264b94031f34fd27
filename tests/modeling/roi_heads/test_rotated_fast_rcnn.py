"""The heads for rotated boxes: against the upright ones, and inside a whole detector."""

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling import build_model, build_roi_heads
from d2lite.modeling.roi_heads import RROIHeads
from d2lite.modeling.roi_heads.fast_rcnn_inference import fast_rcnn_inference
from d2lite.modeling.roi_heads.label_proposals import match_boxes
from d2lite.modeling.roi_heads.rotated_fast_rcnn import (
    RotatedFastRCNNOutputLayers,
    fast_rcnn_inference_rotated,
)
from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError

NUM_CLASSES = 3
STRIDES = {"p3": 8, "p4": 16, "p5": 32}


def _cfg(*opts):
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            "MODEL.DEVICE", "cpu",
            "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone",
            "MODEL.BACKBONE.FREEZE_AT", 0,
            "MODEL.RESNETS.DEPTH", 18,
            "MODEL.RESNETS.NORM", "BN",
            "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
            "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
            "MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"],
            "MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"],
            "MODEL.FPN.OUT_CHANNELS", 8,
            "MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator",
            "MODEL.ANCHOR_GENERATOR.SIZES", [[32], [64], [96]],
            "MODEL.ANCHOR_GENERATOR.ANGLES", [[-45, 0, 45]],
            "MODEL.PROPOSAL_GENERATOR.NAME", "RRPN",
            "MODEL.RPN.BBOX_REG_WEIGHTS", (1.0, 1.0, 1.0, 1.0, 1.0),
            "MODEL.RPN.IN_FEATURES", ["p3", "p4", "p5"],
            "MODEL.RPN.POST_NMS_TOPK_TRAIN", 40,
            "MODEL.RPN.PRE_NMS_TOPK_TRAIN", 60,
            "MODEL.RPN.PRE_NMS_TOPK_TEST", 60,
            "MODEL.RPN.POST_NMS_TOPK_TEST", 20,
            "MODEL.ROI_HEADS.NAME", "RROIHeads",
            "MODEL.ROI_HEADS.IN_FEATURES", ["p3", "p4", "p5"],
            "MODEL.ROI_HEADS.NUM_CLASSES", NUM_CLASSES,
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
            "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0, 1.0),
            "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignRotated",
            "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 3,
            "MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead",
            "MODEL.ROI_BOX_HEAD.NUM_FC", 1,
            "MODEL.ROI_BOX_HEAD.FC_DIM", 8,
            "TEST.DETECTIONS_PER_IMAGE", 6,
            *opts,
        ]
    )  # fmt: skip
    return cfg


def _upright(boxes_xyxy):
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return torch.cat([(low + high) / 2, high - low, boxes_xyxy.new_zeros(len(low), 1)], dim=1)


@pytest.mark.parametrize("agnostic", [False, True])
def test_boxes_without_a_turn_are_detected_as_upright_ones(agnostic):
    """Same scores, same boxes: the two inferences have to keep the same regions."""
    torch.manual_seed(0)
    columns = 1 if agnostic else NUM_CLASSES
    low = torch.rand(20, columns, 2) * 60 - 5
    boxes = torch.cat([low, low + 5 + torch.rand(20, columns, 2) * 40], dim=2)
    scores = torch.rand(20, NUM_CLASSES + 1).softmax(dim=1)
    scores[3] = torch.nan
    rotated = _upright(boxes.flatten(0, 1)).reshape(20, columns * 5)
    limits = (0.1, 0.5, 12)
    (expected,), (expected_from,) = fast_rcnn_inference(
        [boxes.flatten(1)], [scores], [(64, 70)], *limits
    )
    (found,), (found_from,) = fast_rcnn_inference_rotated([rotated], [scores], [(64, 70)], *limits)
    assert found_from.tolist() == expected_from.tolist()
    assert found.pred_classes.tolist() == expected.pred_classes.tolist()
    assert isinstance(found.pred_boxes, RotatedBoxes)
    torch.testing.assert_close(
        found.pred_boxes.tensor, _upright(expected.pred_boxes.tensor), rtol=1e-5, atol=1e-4
    )


def test_a_turned_box_is_matched_by_its_turned_overlap():
    """Its upright hull would overlap the crossing box far more."""
    long = RotatedBoxes([[50.0, 50, 80, 8, 45]])
    same_and_crossing = RotatedBoxes([[50.0, 50, 80, 8, 45], [50.0, 50, 80, 8, -45]])
    target = Instances((100, 100), gt_boxes=long, gt_classes=torch.tensor([1]))
    heads = build_roi_heads(_cfg(), {n: ShapeSpec(8, stride=s) for n, s in STRIDES.items()})
    _, labels = match_boxes(same_and_crossing, target, heads.proposal_matcher)
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize("num_objects", [2, 0])
def test_a_detector_of_rotated_boxes_trains_and_predicts(num_objects):
    model = build_model(_cfg())
    assert isinstance(model.roi_heads, RROIHeads)
    boxes = torch.tensor([[30.0, 30, 30, 12, 30], [60, 70, 40, 20, -50]])[:num_objects]
    truth = Instances(
        (96, 96), gt_boxes=RotatedBoxes(boxes), gt_classes=torch.tensor([0, 2])[:num_objects]
    )
    image = torch.randint(0, 255, (3, 96, 96), dtype=torch.uint8)
    losses = model([{"image": image, "instances": truth}])
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

    model.eval()
    with torch.no_grad():
        (output,) = model([{"image": image, "height": 192, "width": 192}])
    found = output["instances"]
    assert isinstance(found.pred_boxes, RotatedBoxes)
    assert 0 < len(found) <= 6
    assert found.pred_boxes.tensor.shape[1] == 5


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV2"], "needs ROIAlignRotated"),
        (["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0)], "need five"),
        (["MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "giou"], "of upright boxes"),
        (["MODEL.MASK_ON", True], r"set MODEL\.MASK_ON to False"),
        (["MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", True], r"TRAIN_ON_PRED_BOXES to False"),
    ],
)
def test_what_rotated_boxes_lack_is_refused(opts, message):
    shapes = {n: ShapeSpec(8, stride=s) for n, s in STRIDES.items()}
    with pytest.raises(ConfigError, match=message):
        build_roi_heads(_cfg(*opts), shapes)


def test_five_deltas_a_class_are_predicted():
    layers = RotatedFastRCNNOutputLayers(_cfg(), ShapeSpec(channels=4))
    scores, deltas = layers(torch.zeros(2, 4))
    assert scores.shape == (2, NUM_CLASSES + 1)
    assert deltas.shape == (2, NUM_CLASSES * 5)
    no_region = Instances((9, 9), proposal_boxes=RotatedBoxes([]))
    assert Boxes([]).tensor.shape == (0, 4)
    found, _ = layers.inference((scores[:0], deltas[:0]), [no_region])
    assert len(found[0]) == 0
