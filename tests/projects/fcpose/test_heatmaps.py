"""Heat maps, ways and points, each against a definition with loops."""

import numpy as np
import pytest
import torch

from d2lite.projects.fcpose import draw_heatmaps
from d2lite.projects.fcpose.heatmaps import (
    keypoint_sigmas,
    moved,
    peaks,
    pose_losses,
    ways_to_keypoints,
)

# Two objects with three keypoints, one of them at the far corner, one not labelled.
POINTS = torch.tensor([[[3.0, 5, 2], [41, 29, 1], [20, 11, 2]], [[5, 6, 1], [9, 9, 0], [0, 0, 2]]])
SIZE, STRIDE = (29, 41), 4


def test_heat_maps_are_the_highest_bumps_around_the_cells_of_keypoints():
    sigmas = [1.8, 0.01, 0.7]
    found = draw_heatmaps(POINTS, SIZE, STRIDE, sigmas)
    expected = np.zeros((3, 8, 11))
    for person in POINTS.numpy():
        for kind, (x, y, seen) in enumerate(person):
            column, row = min(int(x // STRIDE), 10), min(int(y // STRIDE), 7)
            for i in range(8):
                for j in range(11):
                    near = max(abs(i - row), abs(j - column)) <= 3 * sigmas[kind]
                    if seen and near:
                        square = (i - row) ** 2 + (j - column) ** 2
                        height = np.exp(-square / (2 * sigmas[kind] ** 2))
                        expected[kind, i, j] = max(expected[kind, i, j], height)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert (found == 1).sum(dim=(1, 2)).tolist() == [2, 1, 2]


def test_an_image_without_objects_has_empty_heat_maps():
    assert not draw_heatmaps(torch.zeros(0, 3, 3), SIZE, STRIDE, [1.8] * 3).any()


def test_noses_eyes_and_ears_have_a_deviation_of_their_own():
    names = ["nose", "left_eye", "RightEar", "rear_wheel", "heart", "left_hip"]
    assert keypoint_sigmas(names, (1.8, 0.01)) == [0.01, 0.01, 0.01, 1.8, 1.8, 1.8]


def test_the_loss_of_a_pose_is_the_cross_entropy_of_each_labelled_keypoint():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 11)
    found = pose_losses(logits, POINTS, STRIDE)
    for person in range(2):
        for kind in range(3):
            x, y, seen = POINTS[person, kind].tolist()
            shares = logits[person, kind].exp() / logits[person, kind].exp().sum()
            own = shares[min(int(y // STRIDE), 7), min(int(x // STRIDE), 10)]
            expected = -own.log() if seen else torch.zeros(())
            torch.testing.assert_close(found[person, kind], expected)
    assert pose_losses(logits[:0], POINTS[:0], STRIDE).shape == (0, 3)


def test_cells_near_a_keypoint_learn_the_way_to_the_nearest_one():
    ways, is_near = ways_to_keypoints(POINTS, (8, 11), STRIDE, 9.0)
    for kind in range(3):
        labelled = [p[:2].numpy() for p in POINTS[:, kind] if p[2] > 0]
        for i in range(8):
            for j in range(11):
                centre = (np.array([j, i]) + 0.5) * STRIDE
                way = min((p - centre for p in labelled), key=np.linalg.norm)
                assert bool(is_near[kind, i, j]) == (np.linalg.norm(way) <= 9)
                if is_near[kind, i, j]:
                    np.testing.assert_allclose(ways[kind, :, i, j].numpy() * 9, way, atol=1e-5)
    assert not ways_to_keypoints(POINTS[:0], (8, 11), STRIDE, 9.0)[1].any()


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_perfect_maps_are_decoded_to_the_truth(factor):
    torch.manual_seed(0)
    points = torch.rand(4, 3, 2) * torch.tensor([88.0, 64])
    keypoints = torch.cat([points, torch.full((4, 3, 1), 2.0)], dim=2)
    scores = torch.tensor([0.9])
    for person in keypoints:
        logits = torch.zeros(1, 3, 8, 11)
        cell = (person[:, :2] / 8).long()
        logits[0, range(3), cell[:, 1], cell[:, 0]] = 30.0
        ways, _ = ways_to_keypoints(person[None], (8, 11), 8, 12.0)
        peak, scores = peaks(logits, 8, factor)
        # A peak is in the cell of its keypoint, so the way there is short.
        assert (peak[0] - person[:, :2]).abs().max() <= 8
        found = moved(peak[None], ways.flatten(0, 1)[None], 8, 12.0)[0, 0]
        # Ways are interpolated between the centres of cells, and constant outside of these.
        inner = ((peak[0] >= 4) & (peak[0] <= torch.tensor([84.0, 60]))).all(dim=1)
        torch.testing.assert_close(found[inner], person[inner, :2], atol=1e-3, rtol=0)
    assert (scores > 0.9).all()


def test_many_objects_are_decoded_as_one_by_one():
    torch.manual_seed(0)
    logits = torch.randn(20, 3, 8, 11)
    whole = peaks(logits, 8, 4)
    parts = zip(*(peaks(one[None], 8, 4) for one in logits), strict=True)
    for ours, theirs in zip(whole, map(torch.cat, parts), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert peaks(logits[:0], 8, 4)[0].shape == (0, 3, 2)
