"""The set criterion: matching, votes, and how losses are divided."""

import pytest
import torch

from d2lite.modeling.transformer import (
    DenoisingQueries,
    Predictions,
    SetCriterion,
    SetMatcher,
    edge_steps,
    most_voted,
)

K, Q = 3, 6
WEIGHTS = {"class": 1.0, "bbox": 5.0, "giou": 2.0, "fgl": 0.15, "ddf": 1.5}
STEPS = edge_steps(8, 0.5, 4.0)


def _targets(*counts):
    return [
        {"labels": torch.arange(count) % K, "boxes": torch.rand(count, 4) * 0.2 + 0.4}
        for count in counts
    ]


def _predictions(num_images, *, has_edges=False, queries=Q):
    logits = torch.randn(3, num_images, queries, K, requires_grad=True)
    boxes = (torch.rand(3, num_images, queries, 4) * 0.2 + 0.4).requires_grad_()
    edges = start = None
    if has_edges:
        edges = torch.randn(2, num_images, queries, 4 * 9, requires_grad=True)
        start = torch.rand(num_images, queries, 4) * 0.2 + 0.4
    return Predictions(["_aux_0", "", "_enc_0"], logits, boxes, edges, start)


def _criterion(**options):
    return SetCriterion(K, SetMatcher(), WEIGHTS, steps=STEPS, **options)


def test_each_object_gets_the_query_that_predicts_it():
    targets = _targets(2)
    boxes = torch.full((1, 1, Q, 4), 0.1)
    boxes[0, 0, 4], boxes[0, 0, 1] = targets[0]["boxes"]
    logits = torch.zeros(1, 1, Q, K)
    queries, objects = SetMatcher()(logits, boxes, targets)[0][0]
    assert queries.tolist() == [1, 4]
    assert objects.tolist() == [1, 0]


def test_a_prediction_that_is_not_finite_is_named_with_image_and_query():
    found = _predictions(2)
    with torch.no_grad():
        found.boxes[1, 1, 3, 0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"query 3 for image 1.*decoder layer 1"):
        _criterion()(found, _targets(2, 1))


def test_votes_of_all_predictions_decide_and_an_object_may_have_several_queries():
    pairs = [([0, 1], [0, 1]), ([0, 1], [0, 1]), ([2, 0], [0, 1])]
    tensors = [(torch.tensor(q), torch.tensor(o)) for q, o in pairs]
    queries, objects = most_voted(tensors, 4)
    assert queries.tolist() == [0, 1, 2]
    assert objects.tolist() == [0, 1, 0]
    none = torch.zeros(0, dtype=torch.long)
    assert [len(part) for part in most_voted([(none, none)], 4)] == [0, 0]


@pytest.mark.parametrize("counts", [(0, 0), (0, 2), (1, 0), (3, Q + 4)])
@pytest.mark.parametrize("votes", [False, True])
def test_losses_are_finite_and_reach_every_prediction(counts, votes):
    """Also without objects, and with more objects than queries."""
    found = _predictions(2, has_edges=True)
    losses = _criterion(votes=votes)(found, _targets(*counts))
    kinds = {name.split("_")[1] for name in losses}
    assert kinds == {"vfl", "bbox", "giou", "fgl", "ddf"}
    sum(losses.values()).backward()
    for tensor in (found.logits, found.boxes, found.edges):
        assert tensor.grad.isfinite().all()
    assert all(value.isfinite() for value in losses.values())


def test_more_objects_than_queries_is_said_once(caplog):
    criterion = _criterion()
    for _ in range(2):
        criterion(_predictions(1), _targets(Q + 1))
    assert caplog.text.count("An image has 7 objects, but the model 6 queries") == 1


def test_box_losses_are_sums_over_objects_divided_by_their_number():
    targets = _targets(1, 2)
    found = _predictions(2)
    losses = _criterion()(found, targets)
    pairs = SetMatcher()(found.logits, found.boxes, targets)
    for layer, ending in enumerate(found.endings):
        total = 0.0
        for image, (queries, objects) in enumerate(pairs[layer]):
            apart = found.boxes[layer, image, queries] - targets[image]["boxes"][objects]
            total += apart.abs().sum().item()
        assert losses[f"loss_bbox{ending}"].item() == pytest.approx(5 * total / 3, rel=1e-5)


def test_each_object_counts_once_in_denoising_however_many_groups_its_image_has():
    """Images of one and of two objects have four and two groups; the same error, the same loss."""
    targets = _targets(1, 2)
    labels = torch.zeros(2, 8, dtype=torch.long)
    objects = torch.tensor([[0, -1] * 4, [0, 1, -1, -1] * 2])
    hidden = torch.zeros(2, 8 + Q, 8 + Q, dtype=torch.bool)
    noise = DenoisingQueries(
        labels, torch.zeros(2, 8, 4), hidden, objects, torch.tensor([4.0, 2.0])
    )
    boxes = torch.zeros(1, 2, 8, 4)
    for image in range(2):
        boxes[0, image] = targets[image]["boxes"][objects[image].clamp(min=0)] + 0.01
    denoised = Predictions(["_dn_0"], torch.zeros(1, 2, 8, K), boxes)
    losses = _criterion()(_predictions(2), targets, denoised, noise)
    assert losses["loss_bbox_dn_0"].item() == pytest.approx(5 * 0.04, rel=1e-4)


def test_padding_of_denoising_queries_has_no_loss():
    targets = _targets(1, 0)
    objects = torch.tensor([[0, -1], [-2, -2]])
    noise = DenoisingQueries(
        torch.zeros(2, 2, dtype=torch.long),
        torch.zeros(2, 2, 4),
        torch.zeros(2, 2 + Q, 2 + Q, dtype=torch.bool),
        objects,
        torch.tensor([1.0, 0.0]),
    )
    logits = torch.zeros(1, 2, 2, K, requires_grad=True)
    denoised = Predictions(["_dn_0"], logits, torch.full((1, 2, 2, 4), 0.5))
    losses = _criterion()(_predictions(2), targets, denoised, noise)
    losses["loss_vfl_dn_0"].backward()
    assert logits.grad[0, 0].abs().sum() > 0
    assert logits.grad[0, 1].abs().sum() == 0


def test_the_teacher_of_distributions_gets_no_gradient_from_its_students():
    found = _predictions(1, has_edges=True)
    losses = _criterion()(found, _targets(2))
    losses["loss_ddf_aux_0"].backward()
    assert found.edges.grad[0].abs().sum() > 0
    assert found.edges.grad[1].abs().sum() == 0


def test_an_unknown_loss_of_classes_is_refused():
    with pytest.raises(ValueError, match=r"'bce': use one of \['vfl', 'mal', 'focal', 'ce'\]"):
        _criterion(class_loss="bce")
