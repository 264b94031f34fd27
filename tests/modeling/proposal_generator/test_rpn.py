"""RPN: labels, losses, proposals, and batches without objects."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling.box_regression import Box2BoxTransform
from d2lite.modeling.matcher import Matcher
from d2lite.modeling.proposal_generator import (
    RPN,
    RRPN,
    StandardRPNHead,
    build_proposal_generator,
    build_rpn_head,
)
from d2lite.structures import Boxes, ImageList, Instances, RotatedBoxes, pairwise_iou
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import EventStorage
from d2lite.utils.keyed_rng import keyed_images

SIZES = [(64, 96), (60, 90)]


def config(**changes):
    cfg = get_cfg()
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32]]
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = 100
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 50
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 60
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 32
    for key, value in changes.items():
        cfg.MODEL.RPN[key] = value
    return cfg


SHAPES = {"p2": ShapeSpec(channels=6, stride=4), "p3": ShapeSpec(channels=6, stride=8)}


def make_rpn(**changes):
    torch.manual_seed(0)
    rpn = build_proposal_generator(config(**changes), SHAPES)
    with torch.no_grad():
        for p in rpn.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return rpn


def batch():
    torch.manual_seed(1)
    images = ImageList(torch.zeros(2, 3, 64, 96), SIZES)
    features = {"p2": torch.randn(2, 6, 16, 24), "p3": torch.randn(2, 6, 8, 12)}
    return images, features


def truth(*boxes):
    return [
        Instances(size, gt_boxes=Boxes(torch.tensor(b).reshape(-1, 4)))
        for size, b in zip(SIZES, boxes, strict=True)
    ]


TWO_IMAGES = ([[10.0, 10.0, 30.0, 28.0], [40.0, 5.0, 90.0, 60.0]], [[2.0, 2.0, 15.0, 20.0]])


def test_losses_follow_the_definition_when_nothing_is_left_out():
    rpn = make_rpn(BATCH_SIZE_PER_IMAGE=10_000, POSITIVE_FRACTION=1.0, BBOX_REG_LOSS_WEIGHT=3.0)
    images, features = batch()
    gt = truth(*TWO_IMAGES)
    _, losses = rpn(images, features, gt)

    maps = [features["p2"], features["p3"]]
    anchors = Boxes.cat(rpn.anchor_generator(maps))
    logits, deltas = rpn.rpn_head(maps)
    score_sum = box_sum = 0.0
    for i, one in enumerate(gt):
        iou = pairwise_iou(one.gt_boxes, anchors).numpy()
        best = iou.argmax(0)
        label = np.where(iou.max(0) >= 0.7, 1, np.where(iou.max(0) < 0.3, 0, -1))
        for row in iou:
            label[row == row.max()] = 1
        at = 0
        for score, delta in zip(logits, deltas, strict=True):
            num, h, w = score.shape[1:]
            for y in range(h):
                for x in range(w):
                    for a in range(num):
                        if label[at] >= 0:
                            target = torch.tensor(float(label[at]))
                            score_sum += F.binary_cross_entropy_with_logits(
                                score[i, a, y, x], target
                            )
                        if label[at] == 1:
                            want = rpn.box2box_transform.get_deltas(
                                anchors.tensor[at : at + 1], one.gt_boxes.tensor[best[at]][None]
                            )
                            box_sum += (delta[i, 4 * a : 4 * a + 4, y, x] - want).abs().sum()
                        at += 1
    torch.testing.assert_close(losses["loss_rpn_cls"], score_sum / 20_000, rtol=1e-4, atol=0)
    torch.testing.assert_close(losses["loss_rpn_loc"], 3 * box_sum / 20_000, rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_a_batch_without_objects_gives_finite_losses_and_gradients_everywhere(kind):
    """COCO has such images, and a batch of only such images comes sooner or later."""
    rpn = make_rpn(BBOX_REG_LOSS_TYPE=kind)
    images, features = batch()
    with EventStorage() as storage:
        _, losses = rpn(images, features, truth([], []))
    assert storage.latest()["rpn/num_pos_anchors"][0] == 0
    assert losses["loss_rpn_loc"] == 0
    assert losses["loss_rpn_cls"] > 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in rpn.parameters())


def test_labels_hold_the_drawn_anchors_and_no_more():
    rpn = make_rpn()
    _, features = batch()
    anchors = rpn.anchor_generator(list(features.values()))
    labels, boxes = rpn.label_and_sample_anchors(anchors, truth(*TWO_IMAGES))
    gt = torch.tensor(TWO_IMAGES[0])
    for one, box in zip(labels, boxes, strict=True):
        assert one.shape == (16 * 24 * 3 + 8 * 12 * 3,)
        assert box.shape == (*one.shape, 4)
        assert 0 < (one == 1).sum() <= 16
        assert (one >= 0).sum() == 32
    assert {tuple(b) for b in boxes[0][labels[0] == 1].tolist()} == {tuple(b) for b in gt.tolist()}


def test_the_draw_follows_from_the_key_of_the_image():
    rpn = make_rpn()
    _, features = batch()
    anchors = rpn.anchor_generator(list(features.values()))
    gt = truth(*TWO_IMAGES)

    def draw(keys, instances):
        with keyed_images(keys):
            return rpn.label_and_sample_anchors(anchors, instances)[0]

    first = draw([5, 6], gt)
    swapped = draw([6, 5], gt[::-1])
    assert torch.equal(first[0], swapped[1])
    assert torch.equal(first[1], swapped[0])
    assert not torch.equal(first[0], draw([7, 6], gt)[0])


def test_subclass_chooses_the_anchors_that_train_it():
    """Variants of the RPN balance or weigh anchors in their own way; they override this method."""

    class FirstOnly(RPN):
        def _subsample_labels(self, label):
            return torch.full_like(label, -1).index_fill_(0, torch.tensor([0]), 1)

    rpn = make_rpn()
    rpn.__class__ = FirstOnly
    anchors = rpn.anchor_generator(list(batch()[1].values()))
    for labels in rpn.label_and_sample_anchors(anchors, truth(*TWO_IMAGES))[0]:
        assert (labels >= 0).nonzero().tolist() == [[0]]


def test_anchors_over_the_rim_are_ignored_on_request():
    rpn = make_rpn(BOUNDARY_THRESH=0, BATCH_SIZE_PER_IMAGE=10_000)
    _, features = batch()
    anchors = rpn.anchor_generator(list(features.values()))
    labels, _ = rpn.label_and_sample_anchors(anchors, truth([], []))
    inside = Boxes.cat(anchors).inside_box(SIZES[0], 0)
    assert (labels[0][~inside] == -1).all()
    assert (labels[0][inside] == 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_proposals_are_the_best_apart_from_overlaps_and_inside_the_image(training):
    rpn = make_rpn().train(training)
    images, features = batch()
    proposals, losses = rpn(images, features, truth(*TWO_IMAGES) if training else None)
    assert bool(losses) is training
    for found, (height, width) in zip(proposals, SIZES, strict=True):
        scores, boxes = found.objectness_logits, found.proposal_boxes
        assert 0 < len(found) <= (50 if training else 20)
        assert (scores.diff() <= 0).all()
        assert not scores.requires_grad
        assert boxes.tensor.min() >= 0
        assert boxes.tensor[:, 2].max() <= width
        assert boxes.tensor[:, 3].max() <= height
        assert boxes.nonempty().all()


def test_a_batch_is_proposed_for_as_its_images_one_by_one():
    rpn = make_rpn().eval()
    images, features = batch()
    together, _ = rpn(images, features)
    for i, size in enumerate(SIZES):
        one = ImageList(images.tensor[i : i + 1], [size])
        (alone,), _ = rpn(one, {k: v[i : i + 1] for k, v in features.items()})
        torch.testing.assert_close(together[i].proposal_boxes.tensor, alone.proposal_boxes.tensor)
        torch.testing.assert_close(together[i].objectness_logits, alone.objectness_logits)


def test_training_without_truth_is_refused():
    images, features = batch()
    with pytest.raises(ValueError, match="gt_instances"):
        make_rpn()(images, features)


def test_precomputed_proposals_need_no_generator():
    cfg = get_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    assert build_proposal_generator(cfg, {}) is None


def test_the_head_follows_its_configuration():
    head = build_rpn_head(config(CONV_DIMS=[-1, 8, -1]), list(SHAPES.values()))
    widths = [(conv.in_channels, conv.out_channels) for conv in head.conv]
    assert widths == [(6, 6), (6, 8), (8, 8)]
    assert "conv.conv1.weight" in head.state_dict()
    assert head.objectness_logits.out_channels == 3
    assert "conv.weight" in StandardRPNHead(in_channels=4, num_anchors=2).state_dict()


def test_levels_that_cannot_share_a_head_are_refused():
    cfg = config()
    with pytest.raises(ConfigError, match=r"\[6, 7\] channels and .* gives \[\d+\] anchors a cell"):
        build_rpn_head(cfg, [SHAPES["p2"], ShapeSpec(channels=7, stride=8)])
    with pytest.raises(ConfigError, match=r"CONV_DIMS=\[0\]"):
        StandardRPNHead(in_channels=4, num_anchors=2, conv_dims=[0])


def test_one_loss_weight_serves_both_losses():
    rpn = RPN(
        in_features=["p2"],
        head=torch.nn.Identity(),
        anchor_generator=torch.nn.Identity(),
        anchor_matcher=Matcher([0.5], [0, 1]),
        box2box_transform=Box2BoxTransform((1.0,) * 4),
        batch_size_per_image=1,
        positive_fraction=0.5,
        pre_nms_topk=(1, 1),
        post_nms_topk=(1, 1),
        loss_weight=2,
    )
    assert rpn.loss_weight == {"loss_rpn_cls": 2, "loss_rpn_loc": 2}


def rotated_config(**changes):
    cfg = config(BBOX_REG_WEIGHTS=(1.0, 1.0, 1.0, 1.0, 1.0), HEAD_NAME="StandardRPNHead", **changes)
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "RRPN"
    return cfg


def test_rotated_proposals_learn_and_predict():
    torch.manual_seed(0)
    rrpn = build_proposal_generator(rotated_config(), SHAPES)
    assert isinstance(rrpn, RRPN)
    images, features = batch()
    gt = [
        Instances(size, gt_boxes=RotatedBoxes(torch.tensor(rows).reshape(-1, 5)))
        for size, rows in zip(SIZES, ([[40.0, 30.0, 30.0, 12.0, 40.0]], []), strict=True)
    ]
    proposals, losses = rrpn(images, features, gt)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in rrpn.parameters())
    assert losses["loss_rpn_loc"] > 0
    assert isinstance(proposals[0].proposal_boxes, RotatedBoxes)
    assert 0 < len(proposals[0]) <= 50


def test_rotated_proposals_refuse_what_they_cannot_do():
    cfg = rotated_config()
    cfg.MODEL.RPN.BBOX_REG_WEIGHTS = (1.0,) * 4
    with pytest.raises(ConfigError, match="need five"):
        build_proposal_generator(cfg, SHAPES)
    with pytest.raises(ConfigError, match="BOUNDARY_THRESH=0"):
        build_proposal_generator(rotated_config(BOUNDARY_THRESH=0), SHAPES)


def test_boxes_of_all_anchors_can_be_read():
    """Code that extracts region features decodes them all before it chooses."""
    rpn = make_rpn()
    anchors = [Boxes(torch.tensor([[0.0, 0, 8, 8], [4, 4, 12, 20]]))]
    deltas = [torch.tensor([[[0.5, 0, 0, 0], [0, 0, 0, 0]], [[0, 0.25, 0, 0], [0, 0, 0, 0]]])]
    (boxes,) = rpn._decode_proposals(anchors, deltas)
    assert boxes.tolist() == [
        [[4, 0, 12, 8], [4, 4, 12, 20]],
        [[0, 2, 8, 10], [4, 4, 12, 20]],
    ]


def test_boxes_that_a_subclass_decodes_are_proposed():
    class Fixed(RPN):
        def _decode_proposals(self, anchors, pred_anchor_deltas):
            return [torch.full_like(deltas, 5) for deltas in pred_anchor_deltas]

    rpn = Fixed(config(), SHAPES).eval()
    rpn.min_box_size = -1
    proposals, _ = rpn(*batch())
    assert len(proposals) == 2
    assert {tuple(box) for found in proposals for box in found.proposal_boxes.tensor.tolist()} == {
        (5.0, 5.0, 5.0, 5.0)
    }
