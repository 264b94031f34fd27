"""Losses for long-tailed classes against their papers, in numpy."""

import numpy as np
import pytest
import torch

from d2lite.modeling.roi_heads.class_losses import (
    ClassBalancedLoss,
    EqualizedLoss,
    SeesawLoss,
)
from d2lite.utils.process_means import PassMeans, mean_weight, sharing_means

K = 4


def _batch(seed, columns):
    rng = np.random.default_rng(seed)
    classes = rng.choice(K + 1, 12, p=[0.4, 0.2, 0.05, 0.05, 0.3])
    return rng.normal(size=(12, columns)) * 2, classes


def _found(loss, scores, classes):
    return loss(torch.from_numpy(scores), torch.from_numpy(classes)).item()


def _softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_seesaw_loss_follows_its_paper():
    """Source: arXiv:2008.10032, equations 3 to 6: both factors of each wrong class."""
    loss, counts = SeesawLoss(K).double(), np.zeros(K)
    for seed in range(3):
        scores, classes = _batch(seed, K + 2)
        for one in classes[classes < K]:
            counts[one] += 1
        expected = 0.0
        seen = np.maximum(counts, 1)
        for row, true in zip(scores, classes, strict=True):
            expected -= np.log(_softmax(row[-2:])[int(true == K)])
            if true == K:
                continue
            chance = _softmax(row[:K])
            factors = np.ones(K)
            for j in range(K):
                if j != true:
                    factors[j] = min(1, seen[j] / seen[true]) ** 0.8
                    factors[j] *= max(1, chance[j] / max(chance[true], 0.01)) ** 2
            powers = factors * np.exp(row[:K])
            expected -= np.log(powers[true] / powers.sum())
        np.testing.assert_allclose(_found(loss, scores, classes), expected / 12, rtol=1e-6)


def test_seesaw_probabilities_are_those_of_an_object_times_its_class():
    scores, _ = _batch(0, K + 2)
    probs = SeesawLoss(K).probs(torch.from_numpy(scores))
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(12, dtype=torch.float64))
    row = scores[3]
    expected = [*_softmax(row[:K]) * _softmax(row[-2:])[0], _softmax(row[-2:])[1]]
    np.testing.assert_allclose(probs[3], expected)


def test_equalized_loss_follows_its_paper():
    """Source: arXiv:2012.08548, equations 4 to 7."""
    loss = EqualizedLoss(K).double()
    positive, negative = np.zeros(K), np.zeros(K)
    for seed in range(3):
        scores, classes = _batch(seed, K + 1)
        ratio = np.where(negative > 0, positive / np.maximum(negative, 1e-10), 100)
        low = np.append(_sigmoid(12 * (ratio - 0.8)), 1.0)
        high = 1 + 4 * (1 - low)
        truth = np.eye(K + 1)[classes]
        p = _sigmoid(scores)
        weights = np.where(truth > 0, high, low)
        entropy = -(truth * np.log(p) + (1 - truth) * np.log(1 - p))
        found = _found(loss, scores, classes)
        np.testing.assert_allclose(found, (weights * entropy).sum() / 12, rtol=1e-6)
        gradients = np.abs(p - truth) * weights
        positive += (gradients * truth).sum(axis=0)[:K]
        negative += (gradients * (1 - truth)).sum(axis=0)[:K]


def test_class_balanced_loss_weighs_by_the_effective_number_of_samples():
    """Source: arXiv:1901.05555, equation 3, with the counts so far."""
    loss, counts = ClassBalancedLoss(K, beta=0.9).double(), np.zeros(K)
    for seed in range(3):
        scores, classes = _batch(seed, K + 1)
        counts += np.bincount(classes, minlength=K + 1)[:K]
        weights = 0.1 / (1 - 0.9 ** np.maximum(counts, 1))
        weights = np.append(weights / weights.mean(), 1.0)
        truth = np.eye(K + 1)[classes][:, :K]
        p = _sigmoid(scores[:, :K])
        right = np.where(truth > 0, p, 1 - p)
        focal = (-((1 - right) ** 2) * np.log(right)).sum(axis=1)
        found = _found(loss, scores, classes)
        np.testing.assert_allclose(found, (focal * weights[classes]).sum() / 12, rtol=1e-6)


def test_counts_are_saved_with_the_model_and_go_on():
    loss = SeesawLoss(K)
    loss(torch.zeros(3, K + 2), torch.tensor([0, 0, K]))
    again = SeesawLoss(K)
    again.load_state_dict(loss.state_dict())
    again(torch.zeros(2, K + 2), torch.tensor([0, 3]))
    assert again.counts.tolist() == [3, 0, 0, 1]


@pytest.mark.parametrize("kind", [SeesawLoss, EqualizedLoss, ClassBalancedLoss])
def test_passes_of_a_step_give_the_loss_and_the_counts_of_one_pass(kind):
    """The second pass must not see what the first one counted, and both need the counts of both."""
    whole, parted = kind(K), kind(K)
    for seed in range(2):
        scores, classes = (torch.from_numpy(x) for x in _batch(seed, K + whole.num_extra))
        expected = whole(scores, classes)
        parts, shares = (slice(0, 3), slice(3, 12)), (0.5, 0.5)
        passes = PassMeans(shares)

        def weighted(number, place, scores=scores, classes=classes, parts=parts, shares=shares):
            with sharing_means(), place:
                mean = parted(scores[parts[number]], classes[parts[number]])
                return shares[number] * mean * mean_weight(len(scores[parts[number]]), mean)

        before = {name: value.clone() for name, value in parted.state_dict().items()}
        for number in range(2):
            weighted(number, passes.noting(number))
        # As a trainer does.
        parted.load_state_dict(before)
        found = sum(weighted(number, passes.sharing(number)) for number in range(2))
        torch.testing.assert_close(found, expected)
    for one, other in zip(whole.buffers(), parted.buffers(), strict=True):
        torch.testing.assert_close(one, other)
