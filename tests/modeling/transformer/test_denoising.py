"""Denoising queries: near objects, in groups that see neither each other nor are seen."""

import torch

from d2lite.modeling.transformer import cxcywh_to_xyxy, denoising_queries
from d2lite.utils.keyed_rng import keyed_images

K, Q = 7, 6


def _targets(*counts):
    torch.manual_seed(0)
    return [
        {
            "labels": torch.randint(0, K, (count,)),
            "boxes": torch.rand(count, 4) * 0.3 + 0.3,
        }
        for count in counts
    ]


def test_queries_that_have_to_find_an_object_are_nearer_than_the_others():
    """Edges move by up to half a side; those of the others by half to a whole one."""
    targets = _targets(3)
    found = denoising_queries(targets, K, Q, 12, label_noise=0.0)
    assert found.groups.tolist() == [4.0]
    assert found.objects.view(4, 2, 3)[:, 0].tolist() == [[0, 1, 2]] * 4
    assert (found.objects.view(4, 2, 3)[:, 1] == -1).all()
    truth = targets[0]["boxes"].repeat(8, 1)
    moved = (cxcywh_to_xyxy(found.boxes[0]) - cxcywh_to_xyxy(truth)).abs()
    in_half_sides = (moved / (truth[:, 2:].repeat(1, 2) / 2)).view(4, 2, 3, 4)
    assert in_half_sides[:, 0].max() <= 1 + 1e-4
    assert (found.labels[0] == targets[0]["labels"].repeat(8)).all()


def test_boxes_stay_in_the_image_with_sides_that_are_not_negative():
    targets = [{"labels": torch.tensor([0]), "boxes": torch.tensor([[0.02, 0.98, 0.04, 0.04]])}]
    corners = cxcywh_to_xyxy(denoising_queries(targets, K, Q, 100, box_noise=2.0).boxes)
    assert corners.min() > -1e-6
    assert corners.max() < 1 + 1e-6
    assert (corners[..., 2:] >= corners[..., :2] - 1e-6).all()


def test_half_of_the_share_of_noisy_labels_is_drawn_again():
    targets = [{"labels": torch.zeros(1, dtype=torch.long), "boxes": torch.full((1, 4), 0.5)}]
    found = denoising_queries(targets, 1000, Q, 2000, label_noise=0.5)
    assert abs((found.labels != 0).float().mean().item() - 0.25) < 0.03


def test_a_group_sees_itself_and_the_other_queries_see_none():
    found = denoising_queries(_targets(2, 1), K, Q, 4)
    hidden = found.hidden
    assert hidden.shape == (2, 8 + Q, 8 + Q)
    group = torch.arange(8) // 4
    assert (hidden[0, :8, :8] == (group[:, None] != group)).all()
    assert hidden[:, 8:, :8].all()
    assert not hidden[:, :, 8:].any()
    # Four groups of one object: as many queries as the other image has.
    assert (hidden[1, :8, :8] == ((torch.arange(8) // 2)[:, None] != torch.arange(8) // 2)).all()


def test_each_query_sees_something_in_an_image_without_objects_too():
    """A row of hidden cells alone is NaN after a softmax."""
    found = denoising_queries(_targets(2, 0), K, Q, 4)
    assert not found.hidden.all(dim=2).any()
    assert (found.objects[1] == -2).all()
    assert (found.labels[1] == K).all()
    assert found.groups.tolist() == [2.0, 0.0]


def test_a_batch_without_objects_has_no_queries():
    found = denoising_queries(_targets(0, 0), K, Q, 4)
    assert found.labels.shape == (2, 0)
    assert found.hidden.shape == (2, Q, Q)


def test_more_objects_than_queries_make_one_group():
    assert denoising_queries(_targets(50), K, Q, 4).groups.tolist() == [1.0]


def test_draws_of_an_image_follow_from_its_key_alone():
    """Not from its place in the batch, nor from what is drawn for other images."""
    first, second = _targets(2, 3)
    with keyed_images([5, 8]):
        together = denoising_queries([first, second], K, Q, 6)
    with keyed_images([8]):
        alone = denoising_queries([second], K, Q, 6)
    assert torch.equal(together.boxes[1, : alone.boxes.shape[1]], alone.boxes[0])
    assert torch.equal(together.labels[1, : alone.labels.shape[1]], alone.labels[0])
