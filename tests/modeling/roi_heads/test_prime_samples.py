"""Ranks of prime samples, and what is drawn by them, against definitions in loops.

Source: Cao 2019, arXiv:1904.04821, section 3.
"""

import numpy as np
import pytest
import torch

from d2lite.modeling.roi_heads import build_roi_heads
from d2lite.modeling.roi_heads.prime_samples import overlap_groups
from d2lite.modeling.sampling import hierarchical_ranks
from d2lite.structures import Boxes, RotatedBoxes, pairwise_iou

from .conftest import NUM_CLASSES, SHAPES, images, maps, proposals_of, targets_of


def _ranks(scores, groups):
    """Members of each group from the best on; all first ones by score, all second ones, ..."""
    order, rest = [], set(range(len(scores)))
    while rest:
        heads = [
            max((i for i in rest if groups[i] == group), key=lambda i: scores[i])
            for group in {groups[i] for i in rest}
        ]
        order += sorted(heads, key=lambda i: -scores[i])
        rest -= set(heads)
    return [order.index(i) for i in range(len(scores))]


def _groups(boxes, scores, threshold=0.5):
    """The best box takes all that overlap it, then the best of the others, and so on."""
    overlaps = pairwise_iou(Boxes(boxes), Boxes(boxes)).numpy()
    groups, rest, number = [0] * len(boxes), set(range(len(boxes))), 0
    while rest:
        best = max(rest, key=lambda i: scores[i])
        taken = {i for i in rest if i == best or overlaps[best, i] > threshold}
        for i in taken:
            groups[i] = number
        rest, number = rest - taken, number + 1
    return groups


def _boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 40
    return torch.cat([low, low + 10 + 20 * torch.rand(count, 2, generator=generator)], dim=1)


def test_ranks_are_those_of_the_definition():
    generator = np.random.default_rng(0)
    scores, groups = generator.random(40), generator.integers(0, 7, 40)
    found = hierarchical_ranks(torch.tensor(scores), torch.tensor(groups))
    assert found.tolist() == _ranks(scores, groups)


def test_each_kind_is_ranked_by_itself():
    generator = np.random.default_rng(1)
    scores, groups = generator.random(40), generator.integers(0, 7, 40)
    kinds = groups % 3
    found = hierarchical_ranks(*(torch.tensor(part) for part in (scores, groups, kinds)))
    for kind in range(3):
        own = kinds == kind
        assert found[torch.tensor(own)].tolist() == _ranks(scores[own], groups[own])


def test_nothing_has_no_ranks_and_no_groups():
    none = torch.zeros(0)
    assert hierarchical_ranks(none, none.long()).tolist() == []
    assert overlap_groups(Boxes(torch.zeros(0, 4)), none).tolist() == []


def test_boxes_belong_to_the_best_that_they_overlap():
    boxes, scores = _boxes(60), torch.rand(60, generator=torch.Generator().manual_seed(2))
    wanted = _groups(boxes, scores.tolist())
    assert 1 < len(set(wanted)) < 50
    assert overlap_groups(Boxes(boxes), scores).tolist() == wanted
    middles = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)
    rotated = RotatedBoxes(torch.cat([middles, torch.zeros(60, 1)], dim=1))
    assert overlap_groups(rotated, scores).tolist() == wanted


def test_a_box_without_an_area_is_a_group_of_its_own():
    boxes = Boxes(torch.tensor([[0.0, 0, 9, 9], [5, 5, 5, 5], [0, 0, 9, 8]]))
    assert overlap_groups(boxes, torch.tensor([0.9, 0.8, 0.7])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", ["StandardROIHeads", "CascadeROIHeads"])
def test_score_hlr_draws_background_that_is_taken_for_objects_place_by_place(cfg, kind):
    cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = False
    cfg.MODEL.ROI_HEADS.NAME = kind
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = kind == "CascadeROIHeads"
    cfg.MODEL.ROI_HEADS.SAMPLER = "score_hlr"
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 10
    torch.manual_seed(0)
    heads = build_roi_heads(cfg, SHAPES).train()
    first = heads._first_predictor
    # Larger weights than at the start, so that regions differ in class and place.
    first.cls_score.weight.data.mul_(100)
    first.bbox_pred.weight.data.mul_(100)
    features, found = maps(2), proposals_of(_boxes(30, seed=3).tolist())
    drawn, losses = heads(images(2), features, [found, found], [targets_of([], [])] * 2)
    sum(losses.values()).backward()
    with torch.no_grad():
        levels = [features["p2"][1:], features["p3"][1:]]
        scores, deltas = heads._predict_regions(levels, [found])
        best, classes = scores.softmax(dim=1)[:, :-1].max(dim=1)
        moved = first.box2box_transform.apply_deltas(deltas, found.proposal_boxes.tensor)
        moved = moved.reshape(30, -1, 4)
        refined = moved[torch.arange(30), classes if moved.shape[1] > 1 else 0]
    ranks = _ranks(best.tolist(), _groups(refined, best.tolist()))
    wanted = found.proposal_boxes.tensor[np.argsort(ranks)[:10]]
    assert drawn[1].proposal_boxes.tensor.tolist() == wanted.tolist()


def test_score_hlr_draws_objects_at_random_up_to_their_share(cfg):
    cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = False
    cfg.MODEL.ROI_HEADS.SAMPLER = "score_hlr"
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 8
    heads = build_roi_heads(cfg, SHAPES).train()
    near = [[10 + i / 10, 10, 40, 40] for i in range(20)]
    found, target = proposals_of([*near, [60, 30, 90, 60]]), targets_of([[10, 10, 40, 40]], [1])
    chosen = set()
    for _ in range(8):
        (drawn,), _ = heads(images(1), maps(1), [found], [target])
        assert drawn.gt_classes.tolist() == [1, 1, NUM_CLASSES]
        chosen |= {box[0] for box in drawn.proposal_boxes.tensor[:2].tolist()}
    assert len(chosen) > 4
