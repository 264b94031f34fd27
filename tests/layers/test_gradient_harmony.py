"""Gradient harmonizing against its definition, example by example."""

import numpy as np
import torch

from d2lite.layers import HarmonizedBoxLoss, HarmonizedClassLoss


def _weights(sizes, valid, counts, momentum):
    """What Li 2018, arXiv:1811.05181, equation 9, says, with running counts in place of those."""
    num_bins = len(counts)
    place = np.minimum((sizes * num_bins).astype(int), num_bins - 1)
    met = sorted(set(place[valid]))
    for one in met:
        counts[one] = momentum * counts[one] + (1 - momentum) * (place[valid] == one).sum()
    return np.array(
        [
            1 / (counts[one] * len(met)) if is_valid else 0.0
            for one, is_valid in zip(place, valid, strict=True)
        ]
    )


def test_class_loss_follows_its_definition_over_steps():
    loss, counts, rng = HarmonizedClassLoss(), np.zeros(30), np.random.default_rng(0)
    for _ in range(3):
        x, y = rng.normal(size=50) * 2, rng.integers(0, 2, 50).astype(float)
        valid = rng.random(50) < 0.8
        p = 1 / (1 + np.exp(-x))
        weights = _weights(np.abs(p - y), valid, counts, 0.75)
        expected = (weights * -(y * np.log(p) + (1 - y) * np.log(1 - p))).sum()
        found = loss(*(torch.from_numpy(part) for part in (x, y, valid)))
        np.testing.assert_allclose(found.item(), expected, rtol=1e-5)
    np.testing.assert_allclose(loss.counts, counts, rtol=1e-6)


def test_box_loss_follows_its_definition_over_steps():
    loss, counts, rng = HarmonizedBoxLoss(), np.zeros(10), np.random.default_rng(0)
    for _ in range(3):
        d = rng.normal(size=40) * 0.05
        size = np.sqrt(d**2 + 0.02**2)
        weights = _weights(np.abs(d) / size, np.ones(40, bool), counts, 0.7)
        found = loss(torch.from_numpy(d), torch.zeros(40, dtype=torch.float64))
        np.testing.assert_allclose(found.item(), (weights * (size - 0.02)).sum(), rtol=1e-5)


def test_nothing_gives_zero_with_a_gradient():
    x = torch.zeros(0, 4, requires_grad=True)
    nothing = torch.zeros(0, 4)
    total = HarmonizedBoxLoss()(x, nothing) + HarmonizedClassLoss()(x, nothing, nothing > 0)
    total.backward()
    assert total.item() == 0


def test_many_alike_examples_weigh_no_more_than_a_few_others():
    loss = HarmonizedClassLoss(num_bins=2, momentum=0.0)
    sizes = torch.tensor([0.1] * 98 + [0.9] * 2)
    weights = loss.weights(sizes, torch.ones(100, dtype=torch.bool))
    torch.testing.assert_close(weights[:98].sum(), weights[98:].sum())


def test_diverged_predictions_give_a_loss_that_is_not_a_number():
    """A trainer reports that; an index out of range would end the process of a GPU."""
    x = torch.tensor([[torch.nan, 1.0]])
    assert HarmonizedClassLoss()(x, torch.zeros(1, 2), torch.ones(1, 2) > 0).isnan()
    assert HarmonizedBoxLoss()(x, torch.zeros(1, 2)).isnan()
