"""Every augmentation, alone and chained: labels stay on the pixels (hypothesis)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lite.data import transforms as T
from d2lite.data.annotations import transform_instance_annotations
from d2lite.data.augmenting.parsing import read_augmentation
from d2lite.data.transforms.affine import affine_matrix
from d2lite.data.transforms.labels import transform_labels, transform_mask
from d2lite.structures import polygons_to_bitmask
from d2lite.utils.keyed_rng import keyed_draws
from tests.data import figures

# No vertical flips here: they exchange left and right, and our oracle looks along x.
MOVING = [
    "RandomAffine(angle=25, translate=0.2, scale=(0.7, 1.4), shear=10, fill=0)",
    "RandomAffine(fill=0, prob=0.5)",
    "RandomCrop('relative_range', (0.5, 0.5))",
    "RandomCrop('absolute', (40, 60))",
    "MinIoURandomCrop",
    "FixedSizeCrop((60, 120), pad_value=0)",
    "FixedSizeCrop((60, 70), pad=False)",
    "RandomExtent((0.6, 1.3), (0.3, 0.3))",
    "RandomRotation((-30, 30))",
    "RandomRotation((-30, 30), expand=False, center=((0.3, 0.3), (0.7, 0.7)))",
    "RandomFlip",
    "RandomResize([(90, 120), (60, 70)])",
    "Resize(shape=(100, 90))",
    "ResizeScale(0.6, 1.7, 90, 90)",
    "ResizeShortestEdge((60, 110), 130)",
    "RandomChoice([RandomAffine(fill=0), RandomFlip(prob=1), RandomRotation((-9, 9))], count=2)",
    "RandAugment(num_ops=3, magnitude=15, fill=0,"
    " ops=['rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'])",
]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.booleans(), st.lists(st.sampled_from(MOVING), min_size=1, max_size=2)
)
def test_labels_stay_on_the_pixels(key, rle, texts):
    steps = T.AugmentationList([read_augmentation(text) for text in texts])
    made = figures.labelled(key % figures.COUNT, rle)
    with keyed_draws(key):
        made.carry_objects(made.augment(steps))
    # Two enlargements by 1.7 mix colours over 2 * 1.7 pixels of the edge, one of them over fewer.
    figures.check(made, rim=2 + len(texts))
    assert (made.sem_seg.shape, made.image.dtype) == (made.size, np.uint8)


@pytest.mark.parametrize(
    "transform",
    [
        T.AffineTransform(affine_matrix(72, 96, 20, 1.1, (5, -3), (8, 4)), 72, 96, fill=0),
        T.RotationTransform(72, 96, 25),
        T.ExtentTransform((-20, -10, 100, 90), (60, 80), seg_interp=0, fill=77),
        T.PadTransform(5, 6, 7, 8, pad_value=9, seg_pad_value=255),
    ],
)
def test_there_is_no_object_and_no_class_outside_the_image(transform):
    ones = np.ones((72, 96), np.uint8)
    seen = transform_mask(transform, ones)
    labels = transform_labels(transform, ones, 255)
    assert set(np.unique(labels)) == {1, 255}
    assert np.array_equal(seen > 0, labels == 1)
    assert set(np.unique(seen)) == {0, 1}
    made = transform_instance_annotations({"segmentation": ones}, transform, seen.shape)
    assert np.array_equal(made["segmentation"], seen)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-180, 180), st.floats(0.5, 2), st.floats(-30, 30), st.floats(-30, 30),
    st.floats(-20, 20), st.floats(-20, 20),
)  # fmt: skip
def test_an_affine_step_moves_pixels_where_it_moves_points(angle, scale, sx, sy, dx, dy):
    matrix = affine_matrix(60, 80, angle, scale, (sx, sy), (dx, dy))
    step = T.AffineTransform(matrix, 60, 80, fill=0)
    polygon = np.array([[28.0, 22], [52, 25], [50, 40], [27, 38]])
    mask = polygons_to_bitmask([polygon.ravel()], 60, 80).astype(np.uint8)
    moved = step.apply_segmentation(mask).astype(bool)
    parts = [part.ravel() for part in step.apply_polygons([polygon.copy()])]
    drawn = polygons_to_bitmask(parts, 60, 80)
    assert not (figures.shrunk(moved) & ~drawn).any()
    assert not (figures.shrunk(drawn) & ~moved).any()
    assert not step.is_mirroring
    # The middle goes to the middle, but for the shift.
    np.testing.assert_allclose(step.apply_coords([[40.0, 30.0]]), [[40 + dx, 30 + dy]], atol=1e-9)


def test_a_quarter_turn_and_a_shift_by_whole_pixels_are_exact():
    image = np.random.RandomState(0).randint(0, 256, (20, 20, 5), dtype=np.uint8)
    turn = T.AffineTransform(affine_matrix(20, 20, 90), 20, 20)
    np.testing.assert_array_equal(turn.apply_image(image), np.rot90(image))
    shift = T.AffineTransform(affine_matrix(20, 20, shift=(3, 0)), 20, 20, fill=7)
    moved = shift.apply_image(image)
    np.testing.assert_array_equal(moved[:, 3:], image[:, :-3])
    assert (moved[:, :3] == 7).all()
    mirror = T.AffineTransform(np.array([[-1.0, 0, 20], [0, 1, 0]]), 20, 20)
    assert mirror.is_mirroring
    made = transform_instance_annotations(
        {"keypoints": [2, 3, 2, 9, 3, 2]}, mirror, (20, 20), keypoint_hflip_indices=np.array([1, 0])
    )
    np.testing.assert_allclose(made["keypoints"], [[11, 3, 2], [18, 3, 2]])


def test_an_affine_step_refuses_an_image_of_another_size():
    with pytest.raises(ValueError, match=r"height 10 and width 10.*\(9, 10, 3\)"):
        T.AffineTransform(np.eye(3)[:2], 10, 10).apply_image(np.zeros((9, 10, 3), np.uint8))


# ------------------------------------------------------------------ choices
def test_a_choice_follows_count_and_weights():
    tags = [T.ColorTransform(lambda image, i=i: image + np.uint8(i)) for i in (1, 10, 100)]
    image = np.zeros((2, 2, 3), np.uint8)
    sums = []
    for _ in range(200):
        held = T.AugInput(image.copy())
        T.RandomChoice(tags, count=2, weights=(1, 1, 0))(held)
        sums.append(int(held.image[0, 0, 0]))
    assert set(sums) == {11}
    singles = []
    for _ in range(300):
        held = T.AugInput(image.copy())
        transforms = T.RandomChoice(tags, weights=(3, 0, 1))(held)
        assert np.array_equal(transforms.apply_image(image), held.image)
        singles.append(int(held.image[0, 0, 0]))
    assert set(singles) == {1, 100}
    assert 180 < singles.count(1) < 270


@pytest.mark.parametrize("shape", [(12, 17), (12, 17, 1), (12, 17, 3), (12, 17, 5)])
@pytest.mark.parametrize("name", T.RandAugment.names())
def test_every_operation_keeps_shape_and_type_and_grows_with_the_magnitude(name, shape):
    image = np.random.RandomState(0).randint(30, 220, shape, dtype=np.uint8)
    change = []
    for magnitude in (0, 30):
        np.random.seed(0)
        step = T.RandAugment(1, magnitude, ops=[name]).get_transform(image)
        made = step.apply_image(image)
        assert (made.shape, made.dtype) == (image.shape, np.uint8)
        change.append(np.abs(made.astype(int) - image).mean())
    if name not in ("autocontrast", "equalize"):
        assert change[0] <= 1
    grey = name == "saturation" and (len(shape) == 2 or shape[2] == 1)
    assert grey or change[1] > 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.RandomAffine(scale=(0, 1)), "above 0"),
        (lambda: T.RandomAffine(angle=(5, -5)), "least and greatest"),
        (lambda: T.RandomAffine(translate=-1), "least and greatest"),
        (lambda: T.RandomAffine(shear=90), "between -90 and 90"),
        (lambda: T.RandomChoice([], count=1), "cannot be chosen"),
        (lambda: T.RandomChoice([T.RandomFlip()], weights=[1, 2]), "give 1 numbers"),
        (lambda: T.RandomChoice([T.RandomFlip()], weights=[0]), "fewer augmentations weigh"),
        (lambda: T.RandAugment(magnitude=31), "from 0 to 30"),
        (lambda: T.RandAugment(ops=["cutout"]), "Unknown operations cutout; known are brightness"),
        (lambda: T.RandAugment(ops=[]), "ops is empty"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
