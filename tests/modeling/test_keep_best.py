"""Looking at the best boxes first gives what looking at all of them gives."""

import pytest
import torch

from d2lite.layers import SoftNMS, batched_nms, batched_nms_rotated
from d2lite.modeling import keep_best as module
from d2lite.modeling.keep_best import keep_best, suppress
from d2lite.structures import Boxes, RotatedBoxes
from d2lite.utils.errors import ConfigError


def crowd(count, groups, spread=60.0, seed=0):
    """Boxes that overlap each other a lot, with few different scores, so that ties abound."""
    draws = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=draws) * spread
    size = 20 + 40 * torch.rand(count, 2, generator=draws)
    scores = (torch.rand(count, generator=draws) * 50).round() / 50
    group = torch.randint(0, groups, (count,), generator=draws)
    return torch.cat([corner, corner + size], dim=1), scores, group


@pytest.mark.parametrize("most", [0, 1, 7, 40, 150, 5000, -1])
@pytest.mark.parametrize(("groups", "spread"), [(1, 60), (1, 2000), (30, 60), (2500, 60)])
def test_best_of_all_come_in_the_same_order(groups, spread, most):
    """One group of few places is the hard case: more than one look is needed."""
    boxes, scores, group = crowd(3000, groups, spread)
    everything = batched_nms(boxes, scores, group, 0.5)
    expected = everything if most < 0 else everything[:most]
    found = keep_best(Boxes(boxes), scores, group, 0.5, most)
    assert torch.equal(found, expected)


def test_few_candidates_go_through_suppression_at_once():
    boxes, scores, group = crowd(50, 3)
    centred = torch.cat([boxes, torch.full((50, 1), 30.0)], dim=1)
    found = keep_best(RotatedBoxes(centred), scores, group, 0.5, 10)
    assert torch.equal(found, batched_nms_rotated(centred, scores, group, 0.5)[:10])


def test_no_candidate_gives_nothing():
    empty = torch.zeros(0)
    found = keep_best(Boxes(torch.zeros(0, 4)), empty, empty.long(), 0.5, 100)
    assert found.dtype == torch.int64
    assert len(found) == 0


def test_second_look_is_taken_only_where_the_first_finds_too_few(monkeypatch):
    looks = []

    def counted(boxes, scores, groups, threshold):
        looks.append(len(boxes))
        return batched_nms(boxes, scores, groups, threshold)

    monkeypatch.setattr(module, "batched_nms", counted)
    boxes, scores, group = crowd(20_000, 5000)
    keep_best(Boxes(boxes), scores, group, 0.5, 100)
    assert looks == [1000]
    looks.clear()
    boxes, scores, group = crowd(20_000, 1)
    keep_best(Boxes(boxes), scores, group, 0.5, 100)
    assert looks[0] == 1000
    assert len(looks) > 1


def test_soft_suppression_is_refused_for_rotated_boxes():
    boxes = RotatedBoxes(torch.tensor([[5.0, 5, 4, 4, 30]]))
    with pytest.raises(ConfigError, match="upright boxes"):
        suppress(boxes, torch.ones(1), torch.zeros(1), 0.5, 10, SoftNMS("linear"))
