"""The three suppressions against definitions written out candidate by candidate."""

import math

import numpy as np
import pytest
import torch

from d2lite.projects.solov2 import mask_nms, matrix_nms, point_nms


def candidates(seed: int, count: int = 25):
    """Labels, masks, areas and falling scores of overlapping rectangles."""
    rng = np.random.default_rng(seed)
    masks = torch.zeros(count, 30, 40, dtype=torch.bool)
    for mask in masks:
        y, x = rng.integers(0, [20, 28])
        mask[y : y + rng.integers(5, 15), x : x + rng.integers(5, 15)] = True
    scores = torch.from_numpy(np.sort(rng.uniform(0.1, 1, count))[::-1].copy()).float()
    labels = torch.from_numpy(rng.integers(0, 3, count))
    return labels, masks, masks.sum((1, 2)).float(), scores


def iou(a, b) -> float:
    """Intersection over union of two bitmaps."""
    return ((a & b).sum() / (a | b).sum()).item()


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@pytest.mark.parametrize("sigma", [2.0, 0.5])
def test_matrix_nms_equals_its_formula_pair_by_pair(kernel, sigma):
    """Decay of j is the least, over better i, of f(iou_ij) / f(most that covers i)."""
    labels, masks, areas, scores = candidates(1)

    def overlap(i: int, j: int) -> float:
        return iou(masks[i], masks[j]) if labels[i] == labels[j] else 0.0

    def f(value: float) -> float:
        return math.exp(-sigma * value**2) if kernel == "gaussian" else 1 - value

    expected = []
    for j in range(len(scores)):
        decay = 1.0
        for i in range(j):
            covered = max((overlap(k, i) for k in range(i)), default=0.0)
            decay = min(decay, f(overlap(i, j)) / f(covered))
        expected.append(scores[j].item() * decay)
    found = matrix_nms(labels, masks, areas, scores, sigma=sigma, kernel=kernel)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_copies_of_a_mask_are_decayed_to_nothing_by_the_linear_kernel():
    """The second of three is wholly covered, which must not end as 0 / 0."""
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 2:6] = True
    scores = torch.tensor([0.9, 0.8, 0.7])
    labels = torch.zeros(3, dtype=torch.int64)
    found = matrix_nms(labels, masks, masks.sum((1, 2)).float(), scores, kernel="linear")
    assert found.tolist() == pytest.approx([0.9, 0, 0])


def test_mask_nms_keeps_what_no_kept_better_one_covers():
    """The greedy definition."""
    labels, masks, areas, scores = candidates(2, count=40)
    kept: list[int] = []
    for j in range(len(scores)):
        if all(labels[i] != labels[j] or iou(masks[i], masks[j]) <= 0.31 for i in kept):
            kept.append(j)
    assert len(kept) < len(scores)
    found = mask_nms(labels, masks, areas, scores, nms_thr=0.31)
    assert found.nonzero()[:, 0].tolist() == kept


@pytest.mark.parametrize("kernel", [{}, {"kernel": 3}])
def test_point_nms_looks_up_and_left(kernel):
    """A score survives unless a neighbour above, to the left, or both, is larger."""
    rng = np.random.default_rng(3)
    heat = rng.random((2, 3, 6, 7)).astype(np.float32)
    expected = heat.copy()
    reach = kernel.get("kernel", 2) - 1
    for *channel, y, x in np.ndindex(heat.shape):
        window = slice(max(y - reach, 0), y + 1), slice(max(x - reach, 0), x + 1)
        if heat[(*channel, *window)].max() > heat[(*channel, y, x)]:
            expected[(*channel, y, x)] = 0
    np.testing.assert_array_equal(point_nms(torch.from_numpy(heat), **kernel).numpy(), expected)


def test_no_candidate_is_no_special_case():
    """Empty in, empty out."""
    labels, masks, areas, scores = (x[:0] for x in candidates(4))
    assert matrix_nms(labels, masks, areas, scores).shape == (0,)
    assert mask_nms(labels, masks, areas, scores).shape == (0,)


def test_unknown_kernel_is_refused_by_name():
    """A typo must not fall back to something else."""
    with pytest.raises(ValueError, match="'gauss'"):
        matrix_nms(*candidates(5), kernel="gauss")
