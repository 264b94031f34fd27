import pytest
import torch

from d2lite.modeling.matcher import Matcher
from d2lite.modeling.roi_heads import ROIHeads, select_foreground_proposals
from d2lite.modeling.roi_heads.label_proposals import (
    select_proposals_with_visible_keypoints,
)
from d2lite.structures import Keypoints
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import EventStorage
from d2lite.utils.keyed_rng import keyed_images

from .conftest import NUM_CLASSES, proposals_of, targets_of

OBJECT = [10, 10, 30, 30]
NEAR, FAR = [11, 10, 30, 30], [50, 40, 80, 60]


def _heads(**options):
    defaults = {"proposal_matcher": Matcher([0.5], [0, 1]), "batch_size_per_image": 6}
    return ROIHeads(num_classes=NUM_CLASSES, positive_fraction=0.5, **{**defaults, **options})


def _sample(proposals, targets, **options):
    heads = _heads(proposal_append_gt=False, **options)
    return heads.label_and_sample_proposals([proposals], [targets])[0]


def test_near_proposal_gets_the_object_and_far_one_the_background():
    targets = targets_of([OBJECT], [2])
    sampled = _sample(proposals_of([FAR, NEAR]), targets)
    assert sampled.gt_classes.tolist() == [2, NUM_CLASSES]
    assert sampled.proposal_boxes.tensor.tolist() == [NEAR, FAR]
    assert sampled.gt_boxes.tensor[0].tolist() == OBJECT
    assert sampled.has("gt_masks")
    assert sampled.has("gt_keypoints")


def test_image_without_objects_is_all_background():
    """COCO has a thousand such images; fields that cannot be indexed used to break on them."""
    sampled = _sample(proposals_of([FAR, NEAR]), targets_of([], []))
    assert sampled.gt_classes.tolist() == [NUM_CLASSES] * 2
    assert sampled.gt_boxes.tensor.shape == (2, 4)


def test_no_proposals_give_no_samples():
    sampled = _sample(proposals_of([]), targets_of([OBJECT], [0]))
    assert len(sampled) == 0
    assert len(sampled.gt_boxes) == 0


def test_ignored_proposals_are_never_drawn():
    half = [10, 10, 30, 20]
    kept = _sample(
        proposals_of([half, FAR]),
        targets_of([OBJECT], [1]),
        proposal_matcher=Matcher([0.3, 0.7], [0, -1, 1]),
    )
    assert kept.proposal_boxes.tensor.tolist() == [FAR]


def test_foreground_is_neither_background_nor_ignored():
    found = proposals_of([OBJECT, NEAR, FAR])
    found.gt_classes = torch.tensor([0, NUM_CLASSES, -1])
    kept, masks = select_foreground_proposals([found], NUM_CLASSES)
    assert kept[0].proposal_boxes.tensor.tolist() == [OBJECT]
    assert masks[0].tolist() == [True, False, False]


def test_proposal_without_a_visible_keypoint_inside_is_left_out():
    found = proposals_of([OBJECT, OBJECT, OBJECT])
    points = torch.zeros((3, 4, 3))
    points[0, 1] = torch.tensor([20.0, 20, 2])  # inside and labelled
    points[1, 1] = torch.tensor([90.0, 20, 2])  # outside
    points[2, 1] = torch.tensor([20.0, 20, 0])  # not labelled
    found.gt_keypoints = Keypoints(points)
    (kept,) = select_proposals_with_visible_keypoints([found])
    assert len(kept) == 1
    assert kept.gt_keypoints.tensor[0, 1].tolist() == [20, 20, 2]


def test_subclass_chooses_the_proposals_of_each_image():
    """Detectors for long-tailed data draw theirs by class; they override this method."""

    class LastOnly(ROIHeads):
        def _sample_proposals(self, matched_idxs, matched_labels, gt_classes):
            drawn, classes = super()._sample_proposals(matched_idxs, matched_labels, gt_classes)
            return drawn[-1:], classes[-1:] * 0 + 1

    heads = LastOnly(
        num_classes=NUM_CLASSES,
        batch_size_per_image=6,
        positive_fraction=0.5,
        proposal_matcher=Matcher([0.5], [0, 1]),
    )
    targets = targets_of([OBJECT], [2])
    for kept in heads.label_and_sample_proposals([proposals_of([NEAR, FAR])] * 2, [targets] * 2):
        assert kept.proposal_boxes.tensor.tolist() == [FAR]
        assert kept.gt_classes.tolist() == [1]


def test_draws_follow_from_the_image_alone():
    """Neither the neighbours in the batch nor the global generator may change them."""
    many = proposals_of([[i, i, i + 20, i + 20] for i in range(40)])
    targets = targets_of([OBJECT], [0])
    with keyed_images([5]):
        alone = _heads().label_and_sample_proposals([many], [targets])[0]
    torch.rand(7)
    with keyed_images([11, 5]):
        beside = _heads().label_and_sample_proposals([many, many], [targets, targets])
    assert torch.equal(alone.proposal_boxes.tensor, beside[1].proposal_boxes.tensor)
    assert not torch.equal(alone.proposal_boxes.tensor, beside[0].proposal_boxes.tensor)


@pytest.mark.parametrize("appends", [True, False])
def test_ground_truth_joins_the_proposals_if_asked_for(appends):
    heads = _heads(proposal_append_gt=appends)
    (sampled,) = heads.label_and_sample_proposals(
        [proposals_of([FAR])], [targets_of([OBJECT], [1])]
    )
    assert (OBJECT in sampled.proposal_boxes.tensor.tolist()) is appends


def test_counts_of_samples_are_logged():
    with EventStorage() as storage:
        _heads().label_and_sample_proposals(
            [proposals_of([FAR]), proposals_of([FAR, FAR])],
            [targets_of([OBJECT], [1]), targets_of([], [])],
        )
    latest = storage.latest()
    assert latest["roi_head/num_fg_samples"][0] == 0.5
    assert latest["roi_head/num_bg_samples"][0] == 1.5


OTHER = [60, 40, 90, 60]


def _many():
    """Twenty proposals of one object, two of the other, forty far away and ten near an object."""
    rows = [[10 + i / 10, 10, 30, 30] for i in range(20)] + [[60, 40, 89, 60], [60, 41, 90, 60]]
    rows += [[i, 0, i + 4, 4] for i in range(40)] + [[24 + i / 10, 10, 44, 30] for i in range(10)]
    return proposals_of(rows)


def test_balanced_sampler_draws_as_many_of_each_object():
    targets = targets_of([OBJECT, OTHER], [0, 1])
    for _ in range(5):
        kept = _sample(_many(), targets, sampler="instance_balanced", batch_size_per_image=8)
        assert kept.gt_classes[:4].bincount().tolist() == [2, 2]


def test_libra_sampler_draws_background_evenly_over_its_overlap():
    """At random two of the eight would overlap the object; in bins it is about a half."""
    targets = targets_of([OBJECT, OTHER], [0, 1])
    for _ in range(5):
        kept = _sample(_many(), targets, sampler="libra", batch_size_per_image=12)
        assert kept.gt_classes[:6].tolist().count(1) == 2
        overlap = (kept.proposal_boxes.tensor[6:, 0] >= 24).sum()
        assert overlap >= 3


@pytest.mark.parametrize("sampler", ["instance_balanced", "iou_balanced", "libra"])
def test_samplers_take_images_without_objects_or_proposals(sampler):
    kept = _sample(proposals_of([FAR, NEAR]), targets_of([], []), sampler=sampler)
    assert kept.gt_classes.tolist() == [NUM_CLASSES] * 2
    assert len(_sample(proposals_of([]), targets_of([OBJECT], [0]), sampler=sampler)) == 0


def test_unknown_samplers_are_refused():
    with pytest.raises(ConfigError, match=r"SAMPLER='hard': use one of \['random', .*'ohem', 's"):
        _heads(sampler="hard")


@pytest.mark.parametrize("sampler", ["ohem", "score_hlr"])
def test_samplers_that_ask_the_heads_are_refused_by_those_that_rate_nothing(sampler):
    with pytest.raises(ConfigError, match="ROIHeads does not say which proposals are hard"):
        _heads(sampler=sampler)
