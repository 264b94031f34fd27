"""Losses and costs of masks against their formulas in numpy."""

import numpy as np
import torch

from d2lite.modeling.transformer import (
    mask_bce_losses,
    mask_dice_losses,
    pairwise_bce_costs,
    pairwise_dice_costs,
)

LOGITS = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)) * 3
LABELS = torch.rand(3, 30, generator=torch.Generator().manual_seed(1))


def _bce(logit, label):
    p = 1 / (1 + np.exp(-logit.double().numpy()))
    y = label.double().numpy()
    return float(np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p)))


def _dice(logit, label):
    p = 1 / (1 + np.exp(-logit.double().numpy()))
    y = label.double().numpy()
    return float(1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1))


def _table(formula):
    return torch.tensor([[formula(logit, label) for label in LABELS] for logit in LOGITS])


def test_losses_of_pairs():
    pairs = LOGITS[:3], LABELS
    for losses, formula in ((mask_bce_losses, _bce), (mask_dice_losses, _dice)):
        expected = torch.tensor([formula(a, b) for a, b in zip(*pairs, strict=True)])
        torch.testing.assert_close(losses(*pairs), expected)


def test_costs_are_the_losses_of_all_pairs():
    torch.testing.assert_close(pairwise_bce_costs(LOGITS, LABELS), _table(_bce))
    torch.testing.assert_close(pairwise_dice_costs(LOGITS, LABELS), _table(_dice))


def test_sure_predictions_have_finite_costs():
    """exp(200) is beyond float32."""
    sure = torch.full((1, 30), 200.0)
    for logits in (sure, -sure):
        assert pairwise_bce_costs(logits, LABELS).isfinite().all()
        assert pairwise_dice_costs(logits, LABELS).isfinite().all()


def test_no_object_gives_no_cost():
    none = LABELS[:0]
    assert (
        pairwise_bce_costs(LOGITS, none).shape == pairwise_dice_costs(LOGITS, none).shape == (4, 0)
    )
    assert (
        mask_bce_losses(LOGITS[:0], none).shape == mask_dice_losses(LOGITS[:0], none).shape == (0,)
    )
