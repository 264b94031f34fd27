"""Matching and losses against their definitions in numpy, and unusual batches."""

import logging

import numpy as np
import pytest
import torch

from d2lite.projects.mask2former import HungarianMatcher, SetCriterion
from d2lite.utils.keyed_rng import keyed_images

K = 4


def criterion(num_points: int = 50, **changes) -> SetCriterion:
    options = {
        "num_classes": K,
        "matcher": HungarianMatcher(2.0, 5.0, 5.0, num_points=num_points),
        "weight_dict": {},
        "eos_coef": 0.1,
        "losses": ["labels", "masks"],
        "num_points": num_points,
        "oversample_ratio": 3.0,
        "importance_sample_ratio": 0.75,
    }
    return SetCriterion(**{**options, **changes})


def predictions(num_images: int, num_queries: int, side: int = 8) -> dict:
    return {
        "pred_logits": torch.randn(num_images, num_queries, K + 1, requires_grad=True),
        "pred_masks": torch.randn(num_images, num_queries, side, side, requires_grad=True),
    }


def target(*classes: int, side: int = 32) -> dict:
    masks = torch.rand(len(classes), side // 8, side // 8) > 0.5
    masks = masks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    return {"labels": torch.tensor(classes, dtype=torch.int64), "masks": masks}


def test_queries_that_predict_the_objects_are_assigned_to_them():
    """In another order, with queries of no object between them."""
    truth = [target(0, 1, 2), target(3)]
    outputs = predictions(2, 5)
    with torch.no_grad():
        outputs["pred_logits"][:] = torch.eye(K + 1)[K] * 9
        outputs["pred_masks"][:] = -9.0
        wanted = [[(1, 2), (3, 0), (4, 1)], [(2, 0)]]
        for image, pairs in enumerate(wanted):
            for query, number in pairs:
                label = truth[image]["labels"][number]
                outputs["pred_logits"][image, query] = torch.eye(K + 1)[label] * 9
                small = truth[image]["masks"][number, ::4, ::4]
                outputs["pred_masks"][image, query] = small * 18.0 - 9.0
    found = HungarianMatcher(1, 1, 1, num_points=200)(outputs, truth)
    assert [list(zip(*(x.tolist() for x in pair), strict=True)) for pair in found] == wanted


def test_all_costs_of_weight_zero_are_refused():
    with pytest.raises(ValueError, match="weight 0; give one"):
        HungarianMatcher(0, 0, 0)


def test_class_loss_is_a_weighted_mean_over_all_queries():
    """Sum of weight * -log p over the sum of weights; no object weighs eos_coef."""
    outputs, truth = predictions(2, 5), [target(0, 1), target()]
    made = criterion()
    pairs = made.matcher(outputs, truth)
    # The points of the matching are drawn again; the pairs are those of equal draws.
    made.matcher.match_layers = lambda layers, targets: [pairs]
    found = made(outputs, truth)["loss_ce"]
    p = outputs["pred_logits"].detach().double().softmax(-1).numpy()
    labels = np.full((2, 5), K)
    labels[0, pairs[0][0].numpy()] = truth[0]["labels"][pairs[0][1]].numpy()
    weights = np.where(labels == K, 0.1, 1.0)
    chosen = np.take_along_axis(p, labels[..., None], axis=-1)[..., 0]
    assert found.item() == pytest.approx(float((-weights * np.log(chosen)).sum() / weights.sum()))


def test_mask_losses_are_sums_over_objects_divided_by_their_number(monkeypatch):
    """In constant maps all points are the same, away from the border with its zeros."""

    def draw_inside(counts, purpose, device):
        return lambda count: 0.2 + 0.6 * torch.rand(sum(counts), count, 2)

    monkeypatch.setattr(f"{SetCriterion.__module__}.points_of_images", draw_inside)
    outputs = predictions(2, 3)
    with torch.no_grad():
        outputs["pred_masks"][:] = torch.tensor([-1.0, 0.5, 2.0])[:, None, None]
    truth = [target(1, 2), target(3)]
    for item, is_on in zip(truth, (True, False), strict=True):
        item["masks"][:] = is_on
    made = criterion()
    pairs = made.matcher(outputs, truth)
    found = made(outputs, truth)
    bce = dice = 0.0
    for masks, item, (queries, objects) in zip(outputs["pred_masks"], truth, pairs, strict=True):
        for query, number in zip(queries.tolist(), objects.tolist(), strict=True):
            p = 1 / (1 + np.exp(-masks[query, 0, 0].item()))
            y = float(item["masks"][number, 0, 0])
            bce -= np.log(p if y else 1 - p)
            dice += 1 - (2 * 50 * p * y + 1) / (50 * p + 50 * y + 1)
    assert found["loss_mask"].item() == pytest.approx(bce / 3, rel=1e-5)
    assert found["loss_dice"].item() == pytest.approx(dice / 3, rel=1e-5)


def test_auxiliary_outputs_have_losses_of_their_own():
    outputs = {**predictions(1, 3), "aux_outputs": [predictions(1, 3), predictions(1, 3)]}
    found = criterion()(outputs, [target(0)])
    kinds = ("loss_ce", "loss_mask", "loss_dice")
    assert set(found) == {f"{kind}{end}" for kind in kinds for end in ("", "_0", "_1")}


@pytest.mark.parametrize("classes", [((), ()), ((), (1, 2)), ((0,) * 9, ())])
def test_images_without_objects_and_with_more_than_queries_have_finite_losses(classes, caplog):
    """Whole batches without objects too; the gradient reaches classes and masks."""
    outputs = predictions(2, 4)
    with caplog.at_level(logging.WARNING):
        losses = criterion()(outputs, [target(*c) for c in classes])
    sum(losses.values()).backward()
    for value in outputs.values():
        assert value.grad.isfinite().all()
    assert outputs["pred_logits"].grad.any()
    assert ("9 objects, but the model 4 queries" in caplog.text) == (len(classes[0]) > 4)


def test_three_hundred_objects_are_learnt():
    losses = criterion()(predictions(1, 100), [target(*[i % K for i in range(300)])])
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("key", ["pred_logits", "pred_masks"])
def test_a_prediction_that_is_not_finite_is_named(key):
    outputs = predictions(2, 4)
    with torch.no_grad():
        outputs[key][1, 3] = float("nan")
    with pytest.raises(FloatingPointError, match=r"query 3 for image 1 .*training has diverged"):
        criterion()(outputs, [target(0), target(1)])


def test_draws_follow_from_the_keys_of_the_images():
    """Not from the state of the process, and each image on its own."""
    outputs, truth = predictions(2, 4), [target(0, 1), target(2)]
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        with keyed_images([5, 6]):
            found.append(criterion()(outputs, truth))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    with keyed_images([5, 7]):
        other = criterion()(outputs, truth)
    assert not torch.equal(other["loss_mask"], found[0]["loss_mask"])


def test_losses_are_computed_in_float32_under_mixed_precision():
    outputs, truth = predictions(1, 4), [target(0, 1)]
    with keyed_images([3]):
        expected = criterion()(outputs, truth)
    with keyed_images([3]), torch.autocast("cpu", torch.bfloat16):
        found = criterion()(outputs, truth)
    for name, loss in found.items():
        assert loss.dtype == torch.float32
        assert torch.equal(loss, expected[name])


def test_an_unknown_kind_of_loss_is_refused():
    with pytest.raises(ValueError, match=r"does not know the losses \['boxes'\]"):
        criterion(losses=["labels", "boxes"])


def test_the_weight_of_no_object_is_a_buffer_of_the_published_name():
    assert criterion().state_dict()["empty_weight"].tolist() == pytest.approx([1.0] * K + [0.1])
