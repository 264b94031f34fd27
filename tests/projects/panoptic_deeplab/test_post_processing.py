"""Segments from predictions, against loops over pixels and objects."""

import numpy as np
import pytest
import torch

from d2lite.projects.panoptic_deeplab.post_processing import (
    find_instance_center,
    get_panoptic_segmentation,
    group_pixels,
    merge_semantic_and_instance,
)

THINGS, STUFF = [0, 1], [2, 3]


def merged_by_loops(sem, ins, divisor, stuff_area):
    """The definition, segment by segment; ins is 0 outside of things."""
    labels = np.full(sem.shape, -1)
    seen: dict[int, int] = {}
    for number in np.unique(ins[ins > 0]):
        mask = ins == number
        label = np.bincount(sem[mask]).argmax()
        seen[label] = seen.get(label, 0) + 1
        labels[mask] = label * divisor + seen[label]
    for label in STUFF:
        mask = (sem == label) & (ins == 0)
        if mask.sum() >= stuff_area:
            labels[mask] = label * divisor
    return labels


def test_peaks_are_the_greatest_of_their_window_and_above_the_threshold():
    heat = torch.zeros(1, 7, 9)
    heat[0, 2, 3], heat[0, 2, 4], heat[0, 5, 7], heat[0, 6, 0] = 0.9, 0.8, 0.5, 0.05
    assert find_instance_center(heat, 0.1, 3).tolist() == [[2, 3], [5, 7]]
    assert find_instance_center(heat, 0.1, 11).tolist() == [[2, 3]]
    assert find_instance_center(heat, 0.6, 3, top_k=60).tolist() == [[2, 3]]
    assert find_instance_center(heat, 0.95, 3, top_k=5).tolist() == []


def test_the_best_peaks_are_those_above_the_kth():
    heat = torch.zeros(1, 3, 40)
    heat[0, 1, ::8] = torch.tensor([0.5, 0.9, 0.7, 0.8, 0.6])
    assert find_instance_center(heat, 0.1, 3, top_k=3).tolist() == [[1, 8], [1, 24]]


def test_an_even_window_is_refused():
    with pytest.raises(ValueError, match="NMS_KERNEL"):
        find_instance_center(torch.zeros(1, 4, 4), nms_kernel=4)


def test_pixels_go_to_the_centre_nearest_to_where_they_point():
    centres = torch.tensor([[2, 2], [7, 9], [1, 10]])
    offsets = torch.randn(2, 9, 12) * 3
    found = group_pixels(centres, offsets)[0]
    for y, x in np.ndindex(9, 12):
        place = np.array([y, x]) + offsets[:, y, x].numpy()
        distances = np.linalg.norm(centres.numpy() - place, axis=1)
        assert found[y, x] == distances.argmin() + 1


def test_without_a_centre_no_pixel_belongs_to_an_object():
    found = group_pixels(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(2, 4, 5))
    assert found.shape == (1, 4, 5)
    assert found.sum() == 0


@pytest.mark.parametrize("stuff_area", [0, 40])
def test_merging_equals_the_loops(stuff_area):
    rng = np.random.RandomState(3)
    sem = rng.choice(4, size=(16, 20), p=[0.3, 0.3, 0.3, 0.1])
    ins = rng.randint(1, 9, size=sem.shape) * np.isin(sem, THINGS)
    ins[ins == 5] = 6  # a number that nobody has
    found = merge_semantic_and_instance(
        torch.from_numpy(sem)[None],
        torch.from_numpy(ins)[None],
        torch.from_numpy(np.isin(sem, THINGS))[None],
        1000,
        THINGS,
        stuff_area,
        -1,
    )
    np.testing.assert_array_equal(found[0].numpy(), merged_by_loops(sem, ins, 1000, stuff_area))


def test_two_objects_and_ground_become_three_segments():
    sem = torch.full((1, 8, 12), 2)
    sem[0, 2:6, 1:5] = 1
    sem[0, 2:6, 7:11] = 1
    sem[0, 3, 8] = 0  # a pixel that the vote of its object overrules
    heat = torch.zeros(1, 8, 12)
    heat[0, 4, 3], heat[0, 4, 9] = 0.9, 0.8
    labels, centres = get_panoptic_segmentation(
        sem, heat, torch.zeros(2, 8, 12), THINGS, 1000, 10, -1, 0.1, 3, 200
    )
    assert centres.tolist() == [[[4, 3], [4, 9]]]
    expected = torch.full((8, 12), 2000)
    expected[2:6, 1:5] = 1001
    expected[2:6, 7:11] = 1002
    assert torch.equal(labels[0], expected)


def test_objects_without_a_centre_and_little_stuff_are_void():
    sem = torch.full((1, 4, 5), 2)
    sem[0, :, :3] = 1
    labels, centres = get_panoptic_segmentation(
        sem, torch.zeros(1, 4, 5), torch.zeros(2, 4, 5), THINGS, 1000, 9, -1
    )
    assert (labels == -1).all()
    assert centres.shape == (1, 0, 2)


def test_a_mask_of_the_foreground_may_be_given():
    sem = torch.full((1, 4, 6), 2)
    heat = torch.zeros(1, 4, 6)
    heat[0, 1, 1] = 1
    mask = torch.zeros(1, 4, 6)
    mask[0, :2, :2] = 1
    labels, _ = get_panoptic_segmentation(
        sem, heat, torch.zeros(2, 4, 6), THINGS, 1000, 1, -1, foreground_mask=mask
    )
    assert (labels[0, :2, :2] == 2001).all()


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="one image"):
        get_panoptic_segmentation(
            torch.zeros(2, 4, 4), torch.zeros(1, 4, 4), torch.zeros(2, 4, 4), THINGS, 1000, 1, -1
        )
