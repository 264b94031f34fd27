"""Ranks of prime samples, and what is drawn by them, against definitions in loops.

Source: Cao 2019, arXiv:1904.04821, section 3.
"""

import numpy as np
import pytest
import torch

from d2lite.layers import ShapeSpec
from d2lite.modeling.box_regression import Box2BoxTransform
from d2lite.modeling.roi_heads import FastRCNNOutputLayers, build_roi_heads
from d2lite.modeling.roi_heads.prime_samples import overlap_groups, rank_weights
from d2lite.modeling.sampling import hierarchical_ranks
from d2lite.structures import Boxes, RotatedBoxes, matched_pairwise_iou, pairwise_iou
from d2lite.utils.errors import ConfigError

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


def _turned(boxes):
    """The same boxes as rotated ones."""
    low, high = boxes.tensor.split(2, dim=1)
    angle = torch.zeros(len(boxes), 1)
    return RotatedBoxes(torch.cat([(low + high) / 2, high - low, angle], dim=1))


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
    assert overlap_groups(_turned(Boxes(boxes)), scores).tolist() == wanted


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


def test_weights_fall_with_the_rank_and_keep_the_sum_of_losses():
    """Of 4 and 2 members of two classes: u = (4 - r) / 4, squared, times one factor."""
    ranks, kinds = torch.tensor([0, 3, 1, 2, 1, 0]), torch.tensor([1, 1, 1, 1, 0, 0])
    losses = torch.tensor([0.3, 2.0, 0.5, 1.0, 0.1, 0.7])
    raw = np.array([1.0, 0.25, 0.75, 0.5, 0.75, 1.0]) ** 2
    wanted = raw * losses.sum().item() / (raw * losses.numpy()).sum()
    np.testing.assert_allclose(rank_weights(ranks, kinds, losses, 2.0), wanted, rtol=1e-5)
    assert rank_weights(ranks, kinds, losses, 0.0).tolist() == pytest.approx([1] * 6)


def _predictor(**options):
    torch.manual_seed(0)
    layers = FastRCNNOutputLayers(
        ShapeSpec(channels=8),
        box2box_transform=Box2BoxTransform((10, 10, 5, 5)),
        num_classes=NUM_CLASSES,
        **options,
    )
    layers.cls_score.weight.data.mul_(100)
    layers.bbox_pred.weight.data.mul_(100)
    return layers


def _labelled(count, seed):
    """Regions around three objects of two classes, every third one background."""
    which = torch.arange(count) % 3
    truth = _boxes(3, seed + 9)[which]
    found = proposals_of((truth + (_boxes(count, seed) - 30) / 10).tolist())
    found.gt_boxes = Boxes(truth)
    found.gt_classes = torch.tensor([0, 2, NUM_CLASSES])[which]
    found.gt_classes[::4] = 2
    return found


@pytest.mark.parametrize("is_sigmoid", [False, True])
@pytest.mark.parametrize("is_agnostic", [False, True])
def test_class_loss_weighs_regions_by_their_ranks(is_sigmoid, is_agnostic):
    found = [_labelled(20, 1), _labelled(25, 2)]
    options = {"use_sigmoid_ce": is_sigmoid, "cls_agnostic_bbox_reg": is_agnostic}
    layers = _predictor(rank_exponents=(2.0, 0.5), **options)
    x = torch.randn(45, 8)
    scores, deltas = predictions = layers(x)
    scores.retain_grad()
    loss = layers.losses(predictions, found)["loss_cls"]
    loss.backward()
    assert layers.bbox_pred.weight.grad is None

    classes = torch.cat([f.gt_classes for f in found])
    truth = torch.cat([f.gt_boxes.tensor for f in found])
    boxes = layers.box2box_transform.apply_deltas(
        deltas.detach(), torch.cat([f.proposal_boxes.tensor for f in found])
    )
    boxes = boxes.reshape(45, -1, 4)
    probs = scores.detach().sigmoid() if is_sigmoid else scores.detach().softmax(dim=1)
    best, seen_as = probs[:, :-1].max(dim=1)
    losses = np.array(
        [
            -probs[i, c].log()
            if not is_sigmoid
            else -sum((probs[i, k] if k == c else 1 - probs[i, k]).log() for k in range(3))
            for i, c in enumerate(classes.tolist())
        ]
    )
    weights, rows = np.zeros(45), np.arange(45)
    objects, background = rows[classes < NUM_CLASSES], rows[classes == NUM_CLASSES]
    of_class = boxes[rows, [0] * 45 if is_agnostic else classes.clamp(max=2).tolist()]
    overlaps = matched_pairwise_iou(Boxes(of_class), Boxes(truth)).tolist()
    assert min(overlaps[i] for i in objects) > 0
    most = classes[objects].bincount().max().item()
    for kind in (0, 2):
        own = [i for i in objects if classes[i] == kind]
        groups = [(int(i >= 20), *truth[i].tolist()) for i in own]
        for i, rank in zip(own, _ranks([overlaps[i] for i in own], groups), strict=True):
            weights[i] = ((most - rank) / most) ** 2
    of_best = boxes[rows, [0] * 45 if is_agnostic else seen_as.tolist()]
    groups = []
    for own in (background[background < 20], background[background >= 20]):
        numbers = _groups(of_best[own], best[own].tolist())
        groups += [(int(own[0] >= 20), number) for number in numbers]
    for i, rank in zip(background, _ranks(best[background].tolist(), groups), strict=True):
        weights[i] = ((len(background) - rank) / len(background)) ** 0.5
    for own in (objects, background):
        weights[own] *= losses[own].sum() / (weights[own] * losses[own]).sum()
    # The weights leave the sum as it is, and show in the gradients.
    assert loss.item() == pytest.approx(losses.mean(), rel=1e-4)
    target = np.eye(NUM_CLASSES + 1)[classes]
    gradients = (probs.numpy() - target) * weights[:, None] / 45
    if is_sigmoid:
        gradients[:, -1] = 0
    np.testing.assert_allclose(scores.grad.numpy(), gradients, atol=1e-6)


def test_exponents_that_cannot_be_used_are_refused():
    with pytest.raises(
        ConfigError, match=r"RANK_EXPONENTS=\[2.0\]: give two numbers of at least 0"
    ):
        _predictor(rank_exponents=(2.0,))
    with pytest.raises(ConfigError, match=r"RANK_EXPONENTS=\['a', 1.0\]: give two numbers"):
        _predictor(rank_exponents=("a", 1.0))
    with pytest.raises(ConfigError, match="RANK_EXPONENTS weighs cross-entropies; set CLASS_LOSS"):
        _predictor(rank_exponents=(2.0, 0.5), use_fed_loss=True, use_sigmoid_ce=True)


@pytest.mark.parametrize("kind", ["StandardROIHeads", "CascadeROIHeads", "RROIHeads"])
@pytest.mark.parametrize("objects", [[], [[10, 10, 40, 40]]])
def test_heads_train_with_ranks_of_all_kinds_of_boxes(cfg, kind, objects):
    cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = False
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_HEADS.SAMPLER = kind, "score_hlr"
    box = cfg.MODEL.ROI_BOX_HEAD
    box.RANK_EXPONENTS, box.CLS_AGNOSTIC_BBOX_REG = (2.0, 0.5), kind == "CascadeROIHeads"
    found, target = proposals_of(_boxes(30).tolist()), targets_of(objects, [1] * len(objects))
    if kind == "RROIHeads":
        box.POOLER_TYPE, box.BBOX_REG_WEIGHTS = "ROIAlignRotated", (10, 10, 5, 5, 1)
        found.proposal_boxes, target.gt_boxes = (
            _turned(found.proposal_boxes),
            _turned(target.gt_boxes),
        )
        target.remove("gt_masks")
    heads = build_roi_heads(cfg, SHAPES).train()
    _, losses = heads(images(2), maps(2), [found, found], [target, target])
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in heads.parameters())
