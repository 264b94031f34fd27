import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from d2lite.layers import ShapeSpec
from d2lite.modeling.box_regression import Box2BoxTransform
from d2lite.modeling.roi_heads.fast_rcnn import (
    FastRCNNOutputLayers,
    FastRCNNOutputs,
    fast_rcnn_inference_single_image,
)
from d2lite.structures import Boxes
from d2lite.utils.errors import ConfigError, MissingFileError
from d2lite.utils.events import EventStorage

from .conftest import NUM_CLASSES, proposals_of


def _layers(**options):
    return FastRCNNOutputLayers(
        ShapeSpec(channels=6),
        box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
        num_classes=NUM_CLASSES,
        **options,
    )


def _labelled(classes):
    boxes = [[5 * i, 3, 5 * i + 20, 33] for i in range(len(classes))]
    found = proposals_of(boxes)
    found.gt_classes = torch.tensor(classes, dtype=torch.int64)
    found.gt_boxes = Boxes(found.proposal_boxes.tensor + 2)
    return found


def test_loss_equals_the_definition():
    """Source: softmax cross entropy by hand; L1 of deltas over all regions (Fast R-CNN)."""
    layers, found = _layers(), _labelled([1, NUM_CLASSES, 0])
    scores = torch.randn(3, NUM_CLASSES + 1)
    deltas = torch.randn(3, NUM_CLASSES * 4)
    losses = layers.losses((scores, deltas), [found])
    expected = -scores.log_softmax(1)[range(3), [1, NUM_CLASSES, 0]].mean()
    assert losses["loss_cls"] == pytest.approx(expected.item())
    target = layers.box2box_transform.get_deltas(found.proposal_boxes.tensor, found.gt_boxes.tensor)
    box = (deltas[0, 4:8] - target[0]).abs().sum() + (deltas[2, 0:4] - target[2]).abs().sum()
    assert losses["loss_box_reg"] == pytest.approx((box / 3).item())


def test_agnostic_boxes_are_read_for_every_class():
    layers, found = _layers(cls_agnostic_bbox_reg=True), _labelled([2, 0])
    deltas = torch.randn(2, 4)
    target = layers.box2box_transform.get_deltas(found.proposal_boxes.tensor, found.gt_boxes.tensor)
    loss = layers.losses((torch.zeros(2, NUM_CLASSES + 1), deltas), [found])["loss_box_reg"]
    assert loss == pytest.approx(((deltas - target).abs().sum() / 2).item())


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_iou_losses_are_zero_for_the_right_box(kind):
    layers, found = _layers(box_reg_loss_type=kind, cls_agnostic_bbox_reg=True), _labelled([2, 0])
    deltas = layers.box2box_transform.get_deltas(found.proposal_boxes.tensor, found.gt_boxes.tensor)
    loss = layers.losses((torch.zeros(2, NUM_CLASSES + 1), deltas), [found])["loss_box_reg"]
    assert loss == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"use_sigmoid_ce": True}])
@pytest.mark.parametrize("classes", [[], [NUM_CLASSES, NUM_CLASSES]])
def test_losses_without_foreground_reach_every_parameter(options, classes):
    layers = _layers(**options)
    losses = layers.losses(layers(torch.randn(len(classes), 6)), [_labelled(classes)])
    sum(losses.values()).backward()
    for name, parameter in layers.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_loss_weights_scale_each_loss():
    found = _labelled([0, 1])
    predictions = torch.randn(2, NUM_CLASSES + 1), torch.randn(2, NUM_CLASSES * 4)
    plain = _layers().losses(predictions, [found])
    weighted = _layers(loss_weight={"loss_box_reg": 3.0}).losses(predictions, [found])
    assert weighted["loss_box_reg"] == pytest.approx(3 * plain["loss_box_reg"].item())
    assert weighted["loss_cls"] == plain["loss_cls"]


def test_sigmoid_loss_sums_over_classes():
    layers = _layers(use_sigmoid_ce=True)
    logits = torch.randn(4, NUM_CLASSES + 1)
    classes = torch.tensor([0, 2, NUM_CLASSES, 1])
    target = torch.eye(NUM_CLASSES + 1)[classes][:, :-1]
    expected = F.binary_cross_entropy_with_logits(logits[:, :-1], target) * NUM_CLASSES
    loss = layers.sigmoid_cross_entropy_loss(logits, classes)
    assert loss == pytest.approx(expected.item())


def test_sigmoid_scores_start_at_the_prior():
    """Source: Lin 2017, arXiv:1708.02002, section 4.1, pi = 0.01."""
    assert _layers(use_sigmoid_ce=True).cls_score.bias.sigmoid().tolist() == pytest.approx(
        [0.01] * (NUM_CLASSES + 1)
    )


def test_federated_loss_counts_present_and_drawn_classes_only():
    layers = FastRCNNOutputLayers(
        ShapeSpec(channels=6),
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        num_classes=6,
        use_fed_loss=True,
        use_sigmoid_ce=True,
        get_fed_loss_cls_weights=lambda: torch.tensor([1.0, 0, 0, 0, 5.0, 0]),
        fed_loss_num_classes=4,
    )
    gt_classes = torch.tensor([1, 6])
    counted = layers.get_fed_loss_classes(gt_classes, 4, 6, layers.fed_loss_cls_weights)
    # background and 1 are present; only 0 and 4 have a chance to be drawn
    assert counted[:2].tolist() == [1, 6]
    assert sorted(counted[2:].tolist()) == [0, 4]
    logits = torch.randn(2, 7).requires_grad_()
    layers.sigmoid_cross_entropy_loss(logits, gt_classes).backward()
    is_touched = (logits.grad != 0).any(dim=0)
    assert is_touched.tolist() == [True, True, False, False, True, False, False]
    assert layers.state_dict()["fed_loss_cls_weights"].tolist() == [1.0, 0, 0, 0, 5.0, 0]


def test_federated_loss_reads_its_weights_later_where_the_annotations_are_missing():
    """A model for inference is built on machines without the annotations."""
    files = []

    def weights():
        if not files:
            raise MissingFileError("no annotations")
        return torch.ones(NUM_CLASSES)

    layers = _layers(use_fed_loss=True, use_sigmoid_ce=True, get_fed_loss_cls_weights=weights)
    logits, gt_classes = torch.zeros(1, NUM_CLASSES + 1), torch.tensor([0])
    with pytest.raises(MissingFileError, match="no annotations"):
        layers.sigmoid_cross_entropy_loss(logits, gt_classes)
    copy = _layers(use_fed_loss=True, use_sigmoid_ce=True, get_fed_loss_cls_weights=weights)
    copy.load_state_dict({**layers.state_dict(), "fed_loss_cls_weights": torch.ones(NUM_CLASSES)})
    assert copy.sigmoid_cross_entropy_loss(logits, gt_classes) > 0, "a checkpoint brings them"
    files.append("annotations.json")
    assert layers.sigmoid_cross_entropy_loss(logits, gt_classes) > 0
    assert layers.fed_loss_cls_weights.tolist() == [1.0] * NUM_CLASSES


def test_federated_loss_without_weights_says_how_to_give_them():
    layers = _layers(use_fed_loss=True, use_sigmoid_ce=True)
    with pytest.raises(ConfigError, match="set_fed_loss_cls_weights"):
        layers.sigmoid_cross_entropy_loss(torch.zeros(1, NUM_CLASSES + 1), torch.tensor([0]))
    with pytest.raises(ConfigError, match=r"2 weights .* 3 classes"):
        layers.set_fed_loss_cls_weights(torch.ones(2))


def test_federated_loss_without_sigmoid_is_refused():
    with pytest.raises(ConfigError, match="USE_SIGMOID_CE"):
        _layers(use_fed_loss=True)


def test_accuracies_are_logged_where_somebody_listens():
    scores = torch.eye(NUM_CLASSES + 1)[[1, 0, NUM_CLASSES, NUM_CLASSES]]
    found = _labelled([1, 2, NUM_CLASSES, 0])
    with EventStorage() as storage:
        _layers().losses((scores, torch.zeros(4, NUM_CLASSES * 4)), [found])
    latest = {name: value for name, (value, _) in storage.latest().items()}
    assert latest["fast_rcnn/cls_accuracy"] == 0.5
    assert latest["fast_rcnn/fg_cls_accuracy"] == pytest.approx(1 / 3)
    assert latest["fast_rcnn/false_negative"] == pytest.approx(1 / 3)


def test_boxes_of_true_classes_are_picked_from_all_classes():
    layers, found = _layers(), _labelled([2, NUM_CLASSES])
    predictions = torch.zeros(2, NUM_CLASSES + 1), torch.randn(2, NUM_CLASSES * 4)
    (all_boxes,) = layers.predict_boxes(predictions, [found])
    (chosen,) = layers.predict_boxes_for_gt_classes(predictions, [found])
    assert torch.equal(chosen[0], all_boxes[0, 8:12])
    assert chosen.shape == (2, 4)


def _naive_nms(boxes, scores, threshold):
    order, kept = np.argsort(-scores), []
    for i in order:
        for j in kept:
            low = np.maximum(boxes[i, :2], boxes[j, :2])
            high = np.minimum(boxes[i, 2:], boxes[j, 2:])
            common = np.clip(high - low, 0, None).prod()
            area = sum((boxes[k, 2:] - boxes[k, :2]).prod() for k in (i, j))
            if common / (area - common) > threshold:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("is_agnostic", [True, False])
def test_inference_equals_a_plain_loop_over_classes(is_agnostic):
    corners = torch.rand(30, (1 if is_agnostic else NUM_CLASSES) * 2, 2) * 60
    boxes = torch.cat([corners[:, ::2], corners[:, ::2] + 5 + corners[:, 1::2]], dim=2)
    scores = torch.rand(30, NUM_CLASSES + 1)
    size = (70, 80)
    kept, regions = fast_rcnn_inference_single_image(boxes.flatten(1), scores, size, 0.3, 0.5, 20)
    expected = []
    for category in range(NUM_CLASSES):
        mine = boxes[:, 0 if is_agnostic else category].numpy()
        mine = mine.clip(0, np.array([80, 70, 80, 70]))
        s = scores[:, category].numpy()
        rows = np.flatnonzero(s > np.float32(0.3))
        expected += [(s[rows[i]], category, rows[i]) for i in _naive_nms(mine[rows], s[rows], 0.5)]
    expected = sorted(expected, reverse=True)[:20]
    assert kept.pred_classes.tolist() == [c for _, c, _ in expected]
    assert regions.tolist() == [r for _, _, r in expected]
    assert kept.scores.tolist() == pytest.approx([s for s, _, _ in expected])
    assert kept.pred_boxes.tensor[:, 2].max() <= 80


def test_regions_that_are_not_finite_are_dropped_and_the_others_keep_their_number():
    boxes = torch.tensor([[0.0, 0, math.inf, 9], [1, 1, 9, 9], [20, 20, 30, 30]])
    scores = torch.tensor([[0.9, 0.1], [math.nan, 0.1], [0.8, 0.1]])
    kept, regions = fast_rcnn_inference_single_image(boxes, scores, (50, 50), 0.05, 0.5, 10)
    assert regions.tolist() == [2]
    assert kept.pred_boxes.tensor.tolist() == [[20, 20, 30, 30]]


def test_no_region_gives_no_detection_of_the_right_form():
    boxes, scores = torch.zeros(0, NUM_CLASSES * 4), torch.zeros(0, NUM_CLASSES + 1)
    kept, _ = fast_rcnn_inference_single_image(boxes, scores, (50, 50), 0.05, 0.5, 10)
    assert len(kept) == 0
    assert kept.pred_boxes.tensor.shape == (0, 4)
    assert kept.pred_classes.dtype == torch.int64


def test_outputs_of_old_code_give_the_losses_and_detections_of_the_layers():
    layers, found = _layers(test_score_thresh=0.1), _labelled([1, NUM_CLASSES, 0])
    scores, deltas = torch.randn(3, NUM_CLASSES + 1), torch.randn(3, NUM_CLASSES * 4)
    outputs = FastRCNNOutputs(layers.box2box_transform, scores, deltas, [found])
    assert outputs.losses() == layers.losses((scores, deltas), [found])
    limits = (layers.test_score_thresh, layers.test_nms_thresh, layers.test_topk_per_image)
    old, new = outputs.inference(*limits), layers.inference((scores, deltas), [found])
    assert torch.equal(old[0][0].pred_boxes.tensor, new[0][0].pred_boxes.tensor)
    assert torch.equal(old[0][0].scores, new[0][0].scores)
    assert len(old[0][0]) > 0


def test_outputs_of_no_region_have_losses_of_zero_with_a_gradient():
    scores = torch.zeros(0, NUM_CLASSES + 1, requires_grad=True)
    deltas = torch.zeros(0, NUM_CLASSES * 4, requires_grad=True)
    outputs = FastRCNNOutputs(_layers().box2box_transform, scores, deltas, [_labelled([])])
    sum(outputs.losses().values()).backward()
    assert scores.grad is not None
    assert deltas.grad is not None


def test_hard_proposals_of_sigmoids_are_ranked_however_wrong_they_are():
    """By logits: probabilities of 0 are all alike, and CUDA's autocast refuses their entropy."""
    layers = _layers(use_sigmoid_ce=True)
    scores = torch.zeros(2, NUM_CLASSES + 1)
    scores[:, 0] = torch.tensor([200.0, 400.0])
    background = torch.tensor([NUM_CLASSES, NUM_CLASSES])
    found = layers.losses_of_classes(scores, background)
    torch.testing.assert_close(found - found[0], torch.tensor([0.0, 200.0]))
