"""Cells are given to objects exactly as the plain definition does, without its loops."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lite.projects.solov2.targets import assign_cells, mask_centers, shrink_masks

from . import definition

SETTINGS = {
    "num_grids": [40, 36, 24, 16, 12],
    "scale_ranges": ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
    "sigma": 0.2,
    "num_classes": 5,
}


def random_objects(seed: int, count: int, height: int, width: int):
    """Ellipses as boxes, classes and masks; some lie half outside, some are empty."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:height, :width]
    masks = np.zeros((count, height, width), dtype=bool)
    boxes = np.zeros((count, 4), dtype=np.float32)
    for i in range(count):
        center = rng.uniform(-5, [width + 5, height + 5])
        radius = rng.uniform(1, [width / 2, height / 2])
        low, high = center - radius, center + radius
        boxes[i] = np.clip(np.concatenate([low, high]), 0, [width, height, width, height])
        masks[i] = ((xs - center[0]) / radius[0]) ** 2 + ((ys - center[1]) / radius[1]) ** 2 < 1
    return boxes, rng.integers(0, 5, count), masks


@given(
    height=st.integers(4, 150),
    width=st.integers(4, 150),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_shrunk_masks_equal_opencvs_to_the_bit(height, width, share, seed):
    """The published weights were trained on OpenCV's masks, its rounding included."""
    mask = np.random.default_rng(seed).random((1, height, width)) < share
    size = (int(width / 4 + 0.5), int(height / 4 + 0.5))
    theirs = cv2.resize(mask[0].astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
    ours = shrink_masks(torch.from_numpy(mask))[0]
    np.testing.assert_array_equal(ours.numpy(), theirs)


def test_center_of_mass_is_the_mean_pixel():
    """An L-shaped object: its centre is not that of its box."""
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 1:5, 2] = True
    masks[0, 4, 2:6] = True
    x, y, area = mask_centers(masks)
    ys, xs = np.nonzero(masks[0].numpy())
    assert (x[0].item(), y[0].item()) == pytest.approx((xs.mean(), ys.mean()))
    assert area.tolist() == [7, 0]


@pytest.mark.parametrize("seed", range(12))
def test_cells_equal_the_plain_definition(seed):
    """Every label and every positive pair, in the same order, on random ellipses."""
    height, width = [(96, 128), (120, 90), (64, 200)][seed % 3]
    padded_size = (-(-height // 32) * 32, -(-width // 32) * 32)
    boxes, classes, masks = random_objects(seed, [0, 1, 7, 25][seed % 4], height, width)
    expected = definition.targets(boxes, classes, masks, padded_size=padded_size, **SETTINGS)
    found = assign_cells(
        torch.from_numpy(boxes),
        torch.from_numpy(classes),
        torch.from_numpy(masks),
        padded_size=padded_size,
        **SETTINGS,
    )
    np.testing.assert_array_equal(
        found.labels.numpy(), np.concatenate([labels.reshape(-1) for labels, _ in expected])
    )
    pairs, first_cell = [], 0
    for labels, level_pairs in expected:
        pairs += [(first_cell + cell, i) for cell, i in level_pairs]
        first_cell += labels.size
    assert list(zip(found.cells.tolist(), found.instances.tolist(), strict=True)) == pairs


def test_later_object_owns_the_category_and_both_masks_are_learnt():
    """As published: where two objects claim a cell, it is supervised by both."""
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[:, 16:48, 16:48] = True
    found = assign_cells(
        torch.tensor([[16.0, 16, 48, 48]] * 2),
        torch.tensor([1, 3]),
        masks,
        padded_size=(64, 64),
        num_grids=[4],
        scale_ranges=((1, 96),),
        sigma=0.2,
        num_classes=5,
    )
    assert set(found.labels.tolist()) == {3, 5}
    assert sorted(set(found.instances.tolist())) == [0, 1]
    assert len(found.cells) == 2 * len(set(found.cells.tolist()))


def test_image_without_instances_gives_background_everywhere():
    """COCO has such images."""
    found = assign_cells(
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, 32, 32, dtype=torch.bool),
        padded_size=(32, 32),
        **SETTINGS,
    )
    assert found.labels.eq(5).all()
    assert len(found.labels) == sum(s * s for s in SETTINGS["num_grids"])
    assert len(found.cells) == len(found.instances) == 0
