"""Matcher against a definition in plain loops."""

import numpy as np
import pytest
import torch

from d2lite.modeling.matcher import Matcher
from d2lite.utils.errors import ConfigError


def match_by_loops(quality, thresholds, labels, allow_low):
    """The definition: best row of a column, its interval, then every row's best columns."""
    num_gt, num_preds = quality.shape
    matches = np.zeros(num_preds, dtype=np.int64)
    out = np.full(num_preds, labels[0])
    for j in range(num_preds if num_gt else 0):
        matches[j] = quality[:, j].argmax()
        out[j] = labels[sum(quality[matches[j], j] >= bound for bound in thresholds)]
    if allow_low:
        for row in quality:
            out[row == row.max()] = 1
    return matches, out


@pytest.mark.parametrize("allow_low", [False, True])
@pytest.mark.parametrize(
    ("thresholds", "labels"), [([0.5], [0, 1]), ([0.3, 0.7], [0, -1, 1]), ([0.4, 0.4], [0, -1, 1])]
)
def test_matches_and_labels_follow_the_definition(thresholds, labels, allow_low):
    quality = np.random.RandomState(0).uniform(0, 1, (5, 200)).astype(np.float32)
    quality[:, :20] = 0
    matches, out = Matcher(thresholds, labels, allow_low)(torch.from_numpy(quality))
    want_matches, want_labels = match_by_loops(quality, thresholds, labels, allow_low)
    np.testing.assert_array_equal(matches.numpy(), want_matches)
    np.testing.assert_array_equal(out.numpy(), want_labels)


def test_a_quality_on_a_threshold_belongs_to_the_upper_label():
    _, labels = Matcher([0.25, 0.5], [0, -1, 1])(torch.tensor([[0.25, 0.5, 0.2]]))
    assert labels.tolist() == [-1, 1, 0]


def test_a_low_quality_match_keeps_its_own_best_ground_truth():
    # Column 1 is the best that row 1 has, but row 0 fits it better.
    quality = torch.tensor([[0.8, 0.4], [0.1, 0.2]])
    matches, labels = Matcher([0.7], [0, 1], allow_low_quality_matches=True)(quality)
    assert matches.tolist() == [0, 0]
    assert labels.tolist() == [1, 1]


@pytest.mark.parametrize("allow_low", [False, True])
@pytest.mark.parametrize("shape", [(0, 7), (3, 0), (0, 0)])
def test_nothing_to_match_gives_the_lowest_label(shape, allow_low):
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], allow_low)(torch.zeros(shape))
    assert matches.dtype == torch.int64
    assert labels.dtype == torch.int8
    assert matches.tolist() == labels.tolist() == [0] * shape[1]


@pytest.mark.parametrize(
    ("thresholds", "labels", "text"),
    [
        ([0.7, 0.3], [0, -1, 1], "ascending"),
        ([0.0], [0, 1], "positive"),
        ([], [1], "ascending"),
        ([0.5], [0, -1, 1], "2 labels"),
        ([0.5], [0, 2], "out of -1, 0 and 1"),
    ],
)
def test_thresholds_and_labels_that_do_not_fit_are_refused(thresholds, labels, text):
    with pytest.raises(ConfigError, match=text):
        Matcher(thresholds, labels)


def test_qualities_of_another_shape_are_refused():
    with pytest.raises(AssertionError, match="Qualities of matches"):
        Matcher([0.5], [0, 1])(torch.tensor([0.5]))
