"""Choosing proposals, and ground truth among them."""

import pytest
import torch

from d2lite.modeling.proposal_generator import (
    add_ground_truth_to_proposals,
    find_top_rpn_proposals,
)
from d2lite.structures import Boxes, Instances

SIZE = [(100, 100)]
ROW = torch.tensor([0.0, 0.0, 10.0, 10.0])


def apart(count):
    """Boxes that don't overlap."""
    return ROW + torch.arange(count)[:, None] * 10.0


def find(boxes, scores, **changes):
    options = {
        "nms_thresh": 0.5,
        "pre_nms_topk": 100,
        "post_nms_topk": 100,
        "min_box_size": 0.0,
        "training": False,
    }
    return find_top_rpn_proposals(
        [b[None] for b in boxes], [s[None] for s in scores], SIZE, **{**options, **changes}
    )[0]


def test_each_level_sends_its_best_and_the_best_of_all_remain():
    boxes = [apart(5), apart(5) + 50]
    scores = [torch.tensor([0.1, 0.9, 0.5, 0.3, 0.2]), torch.tensor([0.8, 0.0, 0.0, 0.7, 0.6])]
    found = find(boxes, scores, pre_nms_topk=2, post_nms_topk=3)
    assert found.objectness_logits.tolist() == pytest.approx([0.9, 0.8, 0.7])
    want = torch.stack((boxes[0][1], boxes[1][0], boxes[1][3]))
    torch.testing.assert_close(found.proposal_boxes.tensor, want)


def test_overlaps_are_suppressed_in_a_level_but_not_across_levels():
    same = torch.stack((ROW, ROW + 0.1))
    scores = torch.tensor([0.2, 0.9])
    assert len(find([same], [scores])) == 1
    assert len(find([same[:1], same[1:]], [scores[:1], scores[1:]])) == 2


def test_small_boxes_and_boxes_outside_are_dropped():
    boxes = torch.stack((ROW, ROW + 200, ROW * 0.4, -ROW[[2, 3, 0, 1]]))
    found = find([boxes], [torch.arange(4.0)], min_box_size=5)
    assert found.objectness_logits.tolist() == [0.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["box", "score"])
def test_what_is_not_finite_stops_training_and_is_dropped_in_inference(bad, where):
    boxes, scores = apart(3), torch.tensor([1.0, 2.0, 3.0])
    if where == "box":
        boxes[1, 2] = bad
    else:
        scores[1] = bad
    with pytest.raises(FloatingPointError, match=r"diverged.*BASE_LR"):
        find([boxes], [scores], training=True)
    assert sorted(find([boxes], [scores]).objectness_logits.tolist()) == [1.0, 3.0]


def test_no_predictions_give_no_proposals():
    found = find([torch.zeros(0, 4)], [torch.zeros(0)])
    assert len(found) == 0
    assert found.proposal_boxes.tensor.shape == (0, 4)


def proposals(count, **fields):
    return Instances(
        (50, 50),
        proposal_boxes=Boxes(apart(count)),
        objectness_logits=torch.zeros(count),
        **fields,
    )


@pytest.mark.parametrize("num_gt", [0, 2])
@pytest.mark.parametrize("count", [0, 3])
def test_true_boxes_come_last_and_are_sure(num_gt, count):
    gt = Boxes(apart(num_gt) + 3)
    for truth in (gt, Instances((50, 50), gt_boxes=gt)):
        (out,) = add_ground_truth_to_proposals([truth], [proposals(count)])
        assert len(out) == count + num_gt
        torch.testing.assert_close(out.proposal_boxes.tensor[count:], gt.tensor)
        assert (out.objectness_logits[count:].sigmoid() > 0.999).all()


def test_further_fields_come_from_the_truth():
    truth = Instances((50, 50), gt_boxes=Boxes(apart(1)), colour=torch.tensor([7]))
    (out,) = add_ground_truth_to_proposals([truth], [proposals(2, colour=torch.tensor([1, 2]))])
    assert out.colour.tolist() == [1, 2, 7]
    with pytest.raises(ValueError, match="'size'"):
        add_ground_truth_to_proposals([truth], [proposals(1, size=torch.zeros(1))])


def test_unequal_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="1 images, proposals of 2"):
        add_ground_truth_to_proposals([Boxes(apart(1))], [proposals(1)] * 2)


def test_there_are_results_for_as_many_images_as_sizes():
    """Infinite scores are dropped in inference; detectron2's own test gives one size for three."""
    boxes, logits = [torch.rand(3, 9, 4)], [torch.rand(3, 9)]
    logits[0][0, 3:5] = float("inf")
    found = find_top_rpn_proposals(boxes, logits, [(10, 10)], 0.5, 100, 100, 0, False)
    assert len(found) == 1
    assert found[0].objectness_logits.isfinite().all()
