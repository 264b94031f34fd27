"""Views: coordinates there and back, and data transforms read as views."""

import numpy as np
import pytest
import torch

from d2lite.data import transforms as T
from d2lite.modeling.view_transform import ViewTransform

BOXES = torch.tensor([[1.0, 2, 30, 40], [0, 0, 5, 6]])


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_boxes_come_back_from_a_view(is_mirrored):
    view = ViewTransform.between((48, 64), (100, 200), is_mirrored=is_mirrored)
    seen = view.apply_box(BOXES)
    assert (seen[:, 2:] > seen[:, :2]).all()
    torch.testing.assert_close(view.inverse().apply_box(seen), BOXES)


def test_no_boxes_stay_no_boxes():
    assert ViewTransform((-2.0, 1.0)).apply_box(torch.zeros(0, 4)).shape == (0, 4)


def test_arrays_and_tensors_are_moved_alike():
    view = ViewTransform((-2.0, 0.5), (90.0, 3.0))
    np.testing.assert_allclose(view.apply_box(BOXES.numpy()), view.apply_box(BOXES).numpy())


@pytest.mark.parametrize(
    "steps",
    [
        [T.ResizeTransform(48, 64, 77, 91)],
        [T.ResizeTransform(48, 64, 24, 32), T.HFlipTransform(32)],
        [T.CropTransform(5, 6, 40, 30), T.VFlipTransform(30)],
        [T.NoOpTransform()],
    ],
)
def test_a_data_transform_is_read_from_what_it_does(steps):
    whole = T.TransformList(steps)
    view = ViewTransform.of(whole, (48, 64))
    np.testing.assert_allclose(
        view.apply_box(BOXES.numpy().astype(float)),
        whole.apply_box(BOXES.numpy().astype(float)),
        atol=1e-4,
    )


@pytest.mark.parametrize("scale", [(2.0, 0.5), (-2.0, 0.5), (2.0, -0.5), (-2.0, -0.5)])
def test_its_steps_name_the_mirrorings_and_lead_to_the_same_points(scale):
    view = ViewTransform(scale, (90.0, 30.0))
    points = BOXES.numpy().astype(float)[:, :2]
    expected = view.apply_coords(points)
    for step in view.transforms:
        points = step.apply_coords(points)
    np.testing.assert_allclose(points, expected)
    kinds = [isinstance(step, T.HFlipTransform) for step in view.transforms]
    assert any(kinds) == (scale[0] < 0)


def test_a_turn_is_refused():
    with pytest.raises(ValueError, match="resize, crop and mirror"):
        ViewTransform.of(T.RotationTransform(48, 64, 10), (48, 64))


def test_maps_are_turned_back():
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    assert torch.equal(ViewTransform((2.0, 3.0)).unmirror(maps), maps)
    assert torch.equal(ViewTransform((-2.0, 3.0)).unmirror(maps), maps.flip(3))
    assert torch.equal(ViewTransform((-2.0, -3.0)).unmirror(maps), maps.flip(2, 3))
