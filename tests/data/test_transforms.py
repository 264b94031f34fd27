"""Transforms move pixels, labels, boxes, polygons and points to the same place."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2lite.data import transforms as T
from d2lite.data.transforms.polygon_clip import clip_polygon
from d2lite.data.transforms.transform import HFlip_rotated_box, Resize_rotated_box
from d2lite.structures import polygons_to_bitmask

FEW = settings(max_examples=40, deadline=None)
sides = st.integers(1, 40)


def smooth_image(h, w, channels=3, seed=0):
    """Waves, so that interpolation errors stay small; uint8."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:h, :w]
    waves = [
        np.sin(x * rng.uniform(0.05, 0.2) + y * rng.uniform(0.05, 0.2)) for _ in range(channels)
    ]
    return (np.stack(waves, axis=2) * 100 + 128).astype(np.uint8)


def square(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)


def area(points):
    x, y = points.T
    return abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def geometric_transforms(h, w):
    return {
        "hflip": T.HFlipTransform(w),
        "vflip": T.VFlipTransform(h),
        "crop": T.CropTransform(7, 5, w - 20, h - 12, orig_w=w, orig_h=h),
        "pad": T.PadTransform(3, 4, 5, 6, orig_w=w, orig_h=h),
        "resize": T.ResizeTransform(h, w, 2 * h, w // 2),
        "extent": T.ExtentTransform((-5.0, 4.0, w * 0.9, h * 1.1), (50, 70), seg_interp=0),
        "rotate": T.RotationTransform(h, w, 33.0),
        "rotate in place": T.RotationTransform(h, w, -20.0, expand=False),
        "quarter turn": T.RotationTransform(h, w, 90.0),
    }


@pytest.mark.parametrize("name", geometric_transforms(60, 80))
def test_a_polygon_covers_the_pixels_of_its_mask_after_a_transform(name):
    h, w = 60, 80
    transform = geometric_transforms(h, w)[name]
    polygon = np.array([[20.0, 10], [60, 14], [66, 40], [40, 52], [16, 44]])
    mask = polygons_to_bitmask([polygon.ravel()], h, w).astype(np.uint8)
    moved = transform.apply_segmentation(mask)
    parts = [p.ravel() for p in transform.apply_polygons([polygon.copy()])]
    drawn = polygons_to_bitmask(parts, *moved.shape)
    union = (moved.astype(bool) | drawn).sum()
    assert (moved.astype(bool) & drawn).sum() / union > 0.93


@pytest.mark.parametrize("name", geometric_transforms(60, 80))
def test_a_bright_spot_is_where_its_coordinates_say_after_a_transform(name):
    h, w = 60, 80
    transform = geometric_transforms(h, w)[name]
    image = np.zeros((h, w, 3), np.uint8)
    image[26:34, 36:44] = 255
    moved = transform.apply_image(image).astype(float)[..., 0]
    y, x = np.mgrid[: moved.shape[0], : moved.shape[1]] + 0.5
    centre = np.array([(x * moved).sum(), (y * moved).sum()]) / moved.sum()
    expected = transform.apply_coords(np.array([[40.0, 30.0]]))[0]
    np.testing.assert_allclose(centre, expected, atol=0.15)


@pytest.mark.parametrize("name", geometric_transforms(60, 80))
def test_a_box_holds_its_four_corners_after_a_transform(name):
    transform = geometric_transforms(60, 80)[name]
    box = np.array([[20.0, 10, 50, 40]])
    x0, y0, x1, y1 = transform.apply_box(box.copy())[0]
    corners = transform.apply_coords(square(20, 10, 50, 40))
    np.testing.assert_allclose([x0, y0], corners.min(0), atol=1e-9)
    np.testing.assert_allclose([x1, y1], corners.max(0), atol=1e-9)


@pytest.mark.parametrize(
    "name", ["hflip", "vflip", "pad", "resize", "rotate", "quarter turn", "crop"]
)
def test_the_inverse_brings_coordinates_and_the_image_size_back(name):
    h, w = 60, 80
    transform = geometric_transforms(h, w)[name]
    inverse = transform.inverse()
    points = np.random.RandomState(0).uniform(0, 60, (20, 2))
    back = inverse.apply_coords(transform.apply_coords(points.copy()))
    np.testing.assert_allclose(back, points, atol=1e-9)
    image = smooth_image(h, w)
    assert inverse.apply_image(transform.apply_image(image)).shape == image.shape


def test_a_quarter_turn_is_numpys_exactly():
    image = smooth_image(30, 50)
    np.testing.assert_array_equal(
        T.RotationTransform(30, 50, 90).apply_image(image), np.rot90(image)
    )


def test_turning_there_and_back_shows_the_same_middle():
    image = smooth_image(60, 80)
    turn = T.RotationTransform(60, 80, 25)
    back = turn.inverse().apply_image(turn.apply_image(image))
    difference = np.abs(back.astype(int) - image)[5:-5, 5:-5]
    assert difference.max() <= 6


def test_a_rotation_that_cut_corners_off_has_no_inverse():
    with pytest.raises(NotImplementedError, match="expand=True"):
        T.RotationTransform(10, 10, 5, expand=False).inverse()


def test_rotation_around_a_given_centre_keeps_that_point():
    turn = T.RotationTransform(60, 80, 40, expand=False, center=(10, 20))
    np.testing.assert_allclose(turn.apply_coords(np.array([[10.0, 20.0]])), [[10, 20]], atol=1e-9)


@pytest.mark.parametrize("shape", [(12, 17), (12, 17, 1), (12, 17, 3), (12, 17, 6)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_every_dtype_and_number_of_channels_keeps_both(shape, dtype):
    image = (np.random.RandomState(0).rand(*shape) * 3).astype(dtype)
    for transform in (
        T.ResizeTransform(12, 17, 20, 9),
        T.RotationTransform(12, 17, 30),
        T.ExtentTransform((1, 2, 12.5, 11), (8, 7)),
    ):
        moved = transform.apply_segmentation(image)
        assert moved.dtype == dtype
        assert moved.shape[2:] == shape[2:]


@pytest.mark.parametrize("size", [(40, 53), (31, 200), (150, 99), (77, 1), (64, 91)])
@pytest.mark.parametrize("filter", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_resized_images_are_within_one_grey_level_of_pillow(size, filter):
    image = np.random.RandomState(1).randint(0, 256, (77, 101, 3), dtype=np.uint8)
    ours = T.ResizeTransform(77, 101, *size, filter).apply_image(image)
    pillow = np.asarray(Image.fromarray(image).resize(size[::-1], filter))
    assert np.abs(ours.astype(int) - pillow).max() <= 1


@pytest.mark.parametrize("filter", [Image.Resampling.LANCZOS, Image.Resampling.BOX])
def test_filters_that_torch_lacks_are_pillows_own(filter):
    image = smooth_image(20, 30)
    ours = T.ResizeTransform(20, 30, 15, 44, filter).apply_image(image)
    np.testing.assert_array_equal(ours, Image.fromarray(image).resize((44, 15), filter))


@FEW
@given(sides, sides, sides, sides)
def test_nearest_resize_of_labels_equals_pillow_to_the_pixel(h, w, new_h, new_w):
    labels = np.random.RandomState(h * 41 + w).randint(0, 200, (h, w)).astype(np.uint8)
    ours = T.ResizeTransform(h, w, new_h, new_w).apply_segmentation(labels)
    pillow = Image.fromarray(labels).resize((new_w, new_h), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(ours, np.asarray(pillow))


@FEW
@given(sides, sides)
def test_flipping_twice_changes_nothing(h, w):
    image = np.random.RandomState(h + w).randint(0, 256, (h, w, 3), dtype=np.uint8)
    points = np.array([[0.0, 0.0], [w, h], [w / 3, h / 2]])
    for flip in (T.HFlipTransform(w), T.VFlipTransform(h)):
        np.testing.assert_array_equal(flip.apply_image(flip.apply_image(image)), image)
        twice = flip.apply_coords(flip.apply_coords(points.copy()))
        np.testing.assert_allclose(twice, points, atol=1e-9)


def test_a_flipped_view_can_be_resized():
    """A flip in numpy is a view of negative stride, which torch refuses."""
    image = smooth_image(20, 30)
    flipped = T.HFlipTransform(30).apply_image(image)
    resized = T.ResizeTransform(20, 30, 10, 15).apply_image(flipped)
    expected = T.ResizeTransform(20, 30, 10, 15).apply_image(image)[:, ::-1]
    np.testing.assert_allclose(resized.astype(int), expected, atol=1)


def test_floats_are_interpolated_without_rounding():
    image = smooth_image(8, 8).astype(np.float32) / 3
    resized = T.ResizeTransform(8, 8, 16, 16).apply_image(image)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(
        resized[1, 1],
        image[0, 0] * 9 / 16 + (image[0, 1] + image[1, 0]) * 3 / 16 + image[1, 1] / 16,
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "transform", [T.ResizeTransform(10, 10, 5, 5), T.RotationTransform(10, 10, 30)]
)
def test_an_image_of_another_size_than_announced_is_refused(transform):
    with pytest.raises(ValueError, match=r"height 10 and width 10.*\(9, 10, 3\)"):
        transform.apply_image(np.zeros((9, 10, 3), np.uint8))


@pytest.mark.parametrize("cls", [T.CropTransform, T.PadTransform])
def test_crop_and_pad_without_the_first_size_cannot_be_inverted(cls):
    with pytest.raises(ValueError, match="orig_w and orig_h"):
        cls(1, 2, 3, 4).inverse()


def test_blending_keeps_a_list_of_transforms_flat_and_geometry_untouched():
    blend = T.BlendTransform(src_image=0, src_weight=0.5, dst_weight=0.5)
    chain = T.TransformList([T.TransformList([blend, T.HFlipTransform(4)]), T.NoOpTransform()])
    assert len(chain) == 3
    np.testing.assert_array_equal(chain.apply_box(np.array([[0.0, 1, 2, 3]])), [[2, 1, 4, 3]])


# ------------------------------------------------------------------ clipping polygons
@FEW
@given(
    st.lists(st.tuples(st.integers(-10, 30), st.integers(-10, 30)), min_size=3, max_size=3),
    st.integers(0, 10),
    st.integers(11, 20),
)
def test_clipping_a_triangle_keeps_its_pixels_inside_the_window(corners, low, high):
    triangle = np.array(corners, dtype=float)
    parts = clip_polygon(triangle, low, low, high, high)
    # Oracle: fine samples of the plane, inside the triangle by the signs of three cross products.
    y, x = np.mgrid[-10:30:0.25, -10:30:0.25] + 0.125
    a, b, c = triangle
    signs = [
        (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))
    ]
    inside = (np.min(signs, axis=0) > 0) | (np.max(signs, axis=0) < 0)
    window = (x > low) & (x < high) & (y > low) & (y < high)
    expected = (inside & window).sum() / 16
    # An error of half a sample along the outline.
    assert abs(sum(map(area, parts)) - expected) <= 0.125 * 60
    for part in parts:
        assert part.min() >= low - 1e-9
        assert part.max() <= high + 1e-9


def test_a_polygon_inside_the_window_keeps_all_its_points():
    polygon = square(2, 3, 6, 8)
    (part,) = clip_polygon(polygon, 0, 0, 10, 10)
    assert {tuple(p) for p in part} == {tuple(p) for p in polygon}


def test_a_horseshoe_cut_across_falls_into_two_parts():
    horseshoe = np.array([[0.0, 0], [9, 0], [9, 9], [6, 9], [6, 3], [3, 3], [3, 9], [0, 9]])
    parts = clip_polygon(horseshoe, -1, 5, 10, 10)
    assert sorted(area(p) for p in parts) == [12, 12]
    assert all(len(p) == 4 for p in parts)


def test_a_horseshoe_with_a_hole_in_its_side_keeps_its_nesting():
    """The cut meets the outer and the inner rim; the pieces must not be joined across the gap."""
    ring = np.array(
        [
            [0.0, 0],
            [10, 0],
            [10, 10],
            [6, 10],
            [6, 8],
            [8, 8],
            [8, 2],
            [2, 2],
            [2, 8],
            [4, 8],
            [4, 10],
            [0, 10],
        ]
    )
    parts = clip_polygon(ring, 0, 0, 10, 9)
    assert sum(map(area, parts)) == pytest.approx(area(ring) - 8)
    parts = clip_polygon(ring, 0, 5, 10, 10)
    assert len(parts) == 2


def test_a_polygon_that_crosses_itself_is_cut_without_losing_the_rest():
    bow_tie = np.array([[0.0, 0], [10, 10], [10, 0], [0, 10]])
    parts = clip_polygon(bow_tie, 0, 0, 3, 10)
    assert all(p[:, 0].max() <= 3 for p in parts)
    drawn = polygons_to_bitmask([p.ravel() * 10 for p in parts], 100, 100) if parts else None
    assert drawn is not None
    assert drawn[:, 30:].sum() == 0


def test_a_polygon_outside_or_without_area_vanishes():
    assert clip_polygon(square(20, 20, 30, 30), 0, 0, 10, 10) == []
    assert clip_polygon(np.array([[1.0, 1], [5, 5], [9, 9]]), 0, 0, 10, 10) == []


def test_the_caller_keeps_his_polygon_when_it_is_cropped():
    polygon = square(2, 2, 8, 8)
    T.CropTransform(1, 1, 5, 5).apply_polygons([polygon])
    np.testing.assert_array_equal(polygon, square(2, 2, 8, 8))


# ------------------------------------------------------------------ colour and rotated boxes
def test_color_transform_applies_the_function_and_leaves_labels_alone():
    darker = T.ColorTransform(lambda image: image // 2)
    image = smooth_image(4, 5)
    np.testing.assert_array_equal(darker.apply_image(image), image // 2)
    assert darker.apply_segmentation(image) is image
    assert darker.apply_coords(image) is image
    assert isinstance(darker.inverse(), T.NoOpTransform)


def test_pil_color_transform_hands_a_pillow_image_to_the_function():
    image = smooth_image(4, 5)
    shown = T.PILColorTransform(lambda picture: picture.point(lambda v: 255 - v)).apply_image(image)
    np.testing.assert_array_equal(shown, 255 - image)


def test_color_transform_refuses_what_cannot_be_called():
    with pytest.raises(ValueError, match="function of an image"):
        T.ColorTransform(3)


def rotated_corners(box):
    cx, cy, w, h, angle = box
    a = np.deg2rad(angle)
    right, down = (
        np.array([np.cos(a), -np.sin(a)]) * w / 2,
        np.array([np.sin(a), np.cos(a)]) * h / 2,
    )
    return np.array(
        [np.array([cx, cy]) + i * right + j * down for i, j in itertools.product((-1, 1), (-1, 1))]
    )


def test_flipped_rotated_boxes_have_flipped_corners():
    box = np.array([[20.0, 30, 10, 6, 25]])
    flip = T.HFlipTransform(80)
    moved = rotated_corners(HFlip_rotated_box(flip, box.copy())[0])
    expected = flip.apply_coords(rotated_corners(box[0]))
    np.testing.assert_allclose(np.sort(moved, 0), np.sort(expected, 0), atol=1e-9)


@pytest.mark.parametrize("angle", [0, 90, -90, 180])
def test_rotated_boxes_along_the_axes_resize_like_plain_boxes(angle):
    box = np.array([[20.0, 30, 10, 6, angle]])
    resize = T.ResizeTransform(60, 80, 120, 240)
    moved = rotated_corners(Resize_rotated_box(resize, box.copy())[0])
    expected = resize.apply_coords(rotated_corners(box[0]))
    np.testing.assert_allclose(np.sort(moved, 0), np.sort(expected, 0), atol=1e-6)


def test_rotated_boxes_go_through_a_list_of_transforms():
    chain = T.TransformList(
        [T.NoOpTransform(), T.ResizeTransform(10, 10, 20, 20), T.HFlipTransform(20)]
    )
    moved = chain.apply_rotated_box(np.array([[2.0, 3, 4, 2, 30]]))
    np.testing.assert_allclose(moved, [[16, 6, 8, 4, -30]], atol=1e-9)


@pytest.mark.parametrize(
    "transform",
    [
        T.ResizeTransform(20, 10, 50, 30),
        T.HFlipTransform(10),
        T.VFlipTransform(20),
        T.CropTransform(2, 3, 6, 9),
        T.PadTransform(1, 2, 3, 4),
        T.ExtentTransform((1, 2, 8, 15), (30, 20)),
        T.RotationTransform(20, 10, 33.0),
        T.ScaleTransform(20, 10, 40, 30),
        T.NoOpTransform(),
    ],
    ids=lambda t: type(t).__name__,
)
def test_integer_coordinates_boxes_and_polygons_move_like_floats(transform):
    points = np.array([[2, 4], [9, 18], [2, 18]])
    exact = transform.apply_coords(points.astype(np.float64))
    assert np.abs(transform.apply_coords(points.copy()) - exact).max() < 1
    box = transform.apply_box(np.array([[2, 4, 9, 18]], dtype=np.float64))
    assert np.abs(transform.apply_box(np.array([[2, 4, 9, 18]])) - box).max() < 1
    [exact_polygon] = transform.apply_polygons([points.astype(np.float64)])
    [polygon] = transform.apply_polygons([points.copy()])
    assert np.abs(polygon - exact_polygon).max() < 1


def test_integer_rotated_boxes_are_scaled():
    box = np.array([[4, 8, 4, 6, 0]])
    moved = T.ResizeTransform(20, 10, 50, 30).apply_rotated_box(box)
    np.testing.assert_allclose(moved, [[12, 20, 12, 15, 0]])
