"""Augmentations draw within their bounds, from numpy's global generator alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lite.data import transforms as T

FEW = settings(max_examples=50, deadline=None)
sides = st.integers(1, 300)

EVERY = [
    T.ResizeShortestEdge((20, 40), 60),
    T.ResizeShortestEdge((20, 30), 60, "choice"),
    T.RandomFlip(),
    T.RandomFlip(horizontal=False, vertical=True),
    T.Resize((20, 30)),
    T.Resize(25),
    T.ResizeScale(0.5, 2.0, 30, 40),
    T.RandomResize([(20, 30), (40, 10)]),
    T.FixedSizeCrop((32, 32)),
    T.RandomCrop("relative_range", (0.3, 0.5)),
    T.RandomCrop_CategoryAreaConstraint("relative", (0.5, 0.5), 0.7, 255),
    T.MinIoURandomCrop(),
    T.RandomRotation((-30, 30)),
    T.RandomRotation([0, 90], expand=False, sample_style="choice", center=(0.3, 0.4)),
    T.RandomExtent((0.5, 1.2), (0.3, 0.3)),
    T.RandomContrast(0.5, 1.5),
    T.RandomBrightness(0.5, 1.5),
    T.RandomSaturation(0.5, 1.5),
    T.RandomLighting(25.5),
    T.RandomApply(T.RandomBrightness(0.5, 1.5), 0.5),
    T.AugmentationList([T.HFlipTransform(60), T.RandomCrop("absolute", (20, 20))]),
]


def aug_input(h=40, w=60):
    rng = np.random.RandomState(3)
    return T.AugInput(
        rng.randint(0, 256, (h, w, 3), dtype=np.uint8),
        boxes=np.array([[5.0, 5, 25, 30], [30, 10, 55, 35]]),
        sem_seg=rng.randint(0, 4, (h, w)).astype(np.uint8),
    )


@pytest.mark.parametrize("augmentation", EVERY, ids=repr)
def test_the_returned_transform_is_what_was_done_to_the_input(augmentation):
    for seed in range(4):
        np.random.seed(seed)
        done, raw = aug_input(), aug_input()
        transform = augmentation(done)
        np.testing.assert_array_equal(done.image, transform.apply_image(raw.image))
        np.testing.assert_allclose(done.boxes, transform.apply_box(raw.boxes))
        inside = done.sem_seg != raw.ignore_value
        moved = transform.apply_segmentation(raw.sem_seg)
        np.testing.assert_array_equal(done.sem_seg[inside], moved[inside])
        assert (moved[~inside] == 0).all()
        assert done.image.shape[:2] == done.sem_seg.shape
        assert done.image.dtype == np.uint8


@pytest.mark.parametrize("augmentation", EVERY, ids=repr)
def test_draws_follow_from_numpys_global_generator(augmentation):
    """The loader keys it for each sample; that is what makes resuming exact."""
    results = []
    for _ in range(2):
        np.random.seed(11)
        augmented = aug_input()
        augmentation(augmented)
        results.append(augmented.image)
    np.testing.assert_array_equal(*results)


@FEW
@given(sides, sides, st.integers(1, 200), st.integers(1, 300))
def test_shortest_edge_gives_the_shape_its_rule_says(h, w, short, limit):
    new_h, new_w = T.ResizeShortestEdge.get_output_shape(h, w, short, limit)
    scale = min(short / min(h, w), limit / max(h, w))
    assert abs(new_h - max(h * scale, 1)) <= 0.51
    assert abs(new_w - max(w * scale, 1)) <= 0.51
    assert max(new_h, new_w) <= limit


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((480, 640, 800, 1333), (800, 1067)),
        ((427, 640, 800, 1333), (800, 1199)),
        ((100, 1000, 800, 1333), (133, 1333)),
    ],
)
def test_shapes_of_known_photographs(arguments, expected):
    """By hand: 640 * 800 / 480 = 1066.67; 1333 / 1000 * 100 = 133.3."""
    assert T.ResizeShortestEdge.get_output_shape(*arguments) == expected


def test_a_line_of_one_pixel_keeps_its_pixel():
    assert T.ResizeShortestEdge.get_output_shape(20000, 1, 800, 1333) == (1333, 1)


def test_a_short_side_of_zero_leaves_the_image_alone():
    transform = T.ResizeShortestEdge(0).get_transform(np.zeros((4, 5, 3), np.uint8))
    assert isinstance(transform, T.NoOpTransform)


def test_range_draws_all_lengths_and_choice_only_the_given_ones():
    image = np.zeros((10, 10, 3), np.uint8)
    ranged = {T.ResizeShortestEdge((5, 8)).get_transform(image).new_h for _ in range(100)}
    chosen = {
        T.ResizeShortestEdge((5, 8), sample_style="choice").get_transform(image).new_h
        for _ in range(50)
    }
    assert ranged == {5, 6, 7, 8}
    assert chosen == {5, 8}


def test_flip_probability_zero_and_one_are_never_and_always():
    image = np.zeros((4, 6, 3), np.uint8)
    assert all(
        isinstance(T.RandomFlip(0.0).get_transform(image), T.NoOpTransform) for _ in range(20)
    )
    assert all(
        isinstance(T.RandomFlip(1.0).get_transform(image), T.HFlipTransform) for _ in range(20)
    )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: T.RandomFlip(horizontal=True, vertical=True), "both directions"),
        (lambda: T.RandomFlip(horizontal=False), "no direction"),
        (lambda: T.ResizeShortestEdge((1, 2, 3)), "two ascending numbers"),
        (lambda: T.ResizeShortestEdge((64, 32)), "two ascending numbers"),
        (lambda: T.ResizeShortestEdge((), sample_style="choice"), "MIN_SIZE_TRAIN"),
        (lambda: T.ResizeShortestEdge(3, sample_style="any"), "'range' or 'choice'"),
        (lambda: T.ResizeShortestEdge((8, -8), sample_style="choice"), "lengths are above 0"),
        (lambda: T.ResizeShortestEdge(8, -1), "lengths are above 0"),
        (lambda: T.RandomCrop("square", (1, 1)), "absolute_range"),
        (lambda: T.RandomCrop("relative", (2, 1)).get_crop_size((4, 5)), "INPUT.CROP.SIZE"),
        (lambda: T.RandomApply(T.NoOpTransform(), 2), "not a probability"),
        (lambda: T.RandomRotation((1, 2, 3)), "two values"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@FEW
@given(
    sides,
    sides,
    st.sampled_from(
        [
            ("relative", (0.3, 0.9)),
            ("relative_range", (0.1, 0.5)),
            ("absolute", (50, 1000)),
            ("absolute_range", (20, 100)),
        ]
    ),
)
def test_crops_lie_inside_the_image_and_have_pixels(h, w, kind):
    crop = T.RandomCrop(*kind).get_transform(np.zeros((h, w, 3), np.uint8))
    assert 0 <= crop.x0 <= crop.x0 + crop.w <= w
    assert 0 <= crop.y0 <= crop.y0 + crop.h <= h
    assert crop.w > 0
    assert crop.h > 0


def test_category_constraint_avoids_crops_of_one_class():
    """A thin stripe of class 1 in class 0: the crop must hold enough of it."""
    sem_seg = np.zeros((40, 40), np.uint8)
    sem_seg[:, 20:] = 1
    image = np.zeros((40, 40, 3), np.uint8)
    augmentation = T.RandomCrop_CategoryAreaConstraint("absolute", (10, 10), 0.9)
    shares = []
    for _ in range(40):
        part = augmentation.get_transform(image, sem_seg).apply_segmentation(sem_seg)
        shares.append(max(part.mean(), 1 - part.mean()))
    assert np.mean(np.array(shares) < 0.9) > 0.6


def test_fixed_size_crop_pads_small_and_cuts_large_images():
    augmentation = T.FixedSizeCrop((30, 30), pad_value=7, seg_pad_value=9)
    for h, w in ((20, 50), (10, 10), (60, 60)):
        done = T.AugInput(np.ones((h, w, 3), np.uint8), sem_seg=np.ones((h, w), np.uint8))
        augmentation(done)
        assert done.image.shape == (30, 30, 3)
        assert (done.image[h:] == 7).all()
        assert (done.sem_seg[:, w:] == 9).all()


def test_fixed_size_crop_without_padding_leaves_small_images_small():
    done = T.AugInput(np.ones((20, 50, 3), np.uint8))
    T.FixedSizeCrop((30, 30), pad=False)(done)
    assert done.image.shape == (20, 30, 3)


def test_min_iou_crop_holds_the_drawn_overlap_with_every_box():
    boxes = np.array([[10.0, 10, 60, 60], [30, 20, 80, 70]])
    image = np.zeros((100, 100, 3), np.uint8)
    for seed in range(20):
        np.random.seed(seed)
        crop = T.MinIoURandomCrop(min_ious=(0.3,)).get_transform(image, boxes)
        if isinstance(crop, T.NoOpTransform):
            continue
        assert 30 <= crop.w + 1 <= 101
        assert 0.45 <= crop.h / crop.w <= 2.1


def test_min_iou_crop_without_boxes_or_success_does_nothing():
    image = np.zeros((100, 100, 3), np.uint8)
    assert isinstance(T.MinIoURandomCrop().get_transform(image, None), T.NoOpTransform)
    # No crop of at least half the image overlaps two far, tiny boxes by 0.9.
    boxes = np.array([[0.0, 0, 2, 2], [98, 98, 100, 100]])
    hopeless = T.MinIoURandomCrop(min_ious=(0.9,), mode_trials=1, crop_trials=5)
    for _ in range(20):
        assert isinstance(hopeless.get_transform(image, boxes), T.NoOpTransform | T.CropTransform)


def test_min_iou_crop_of_an_image_without_objects_is_any_crop():
    image = np.zeros((100, 100, 3), np.uint8)
    made = {type(T.MinIoURandomCrop().get_transform(image, np.zeros((0, 4)))) for _ in range(60)}
    assert T.CropTransform in made


def test_weights_at_their_ends_give_grey_black_and_colourless():
    image = np.random.RandomState(0).randint(0, 256, (6, 7, 3), dtype=np.uint8)
    even = T.RandomContrast(0, 0).get_transform(image).apply_image(image)
    assert np.ptp(even) == 0
    assert T.RandomBrightness(0, 0).get_transform(image).apply_image(image).max() == 0
    grey = T.RandomSaturation(0, 0).get_transform(image).apply_image(image)
    assert np.ptp(grey, axis=2).max() == 0
    for kind in (T.RandomContrast, T.RandomBrightness, T.RandomSaturation):
        np.testing.assert_array_equal(kind(1, 1).get_transform(image).apply_image(image), image)


def test_lighting_shifts_all_pixels_alike():
    image = np.full((4, 5, 3), 100, np.uint8)
    lit = T.RandomLighting(100.0).get_transform(image).apply_image(image)
    assert np.ptp(lit.reshape(-1, 3), axis=0).max() == 0


@pytest.mark.parametrize("kind", [T.RandomSaturation(1, 1), T.RandomLighting(1)])
def test_colour_augmentations_refuse_grey_images(kind):
    with pytest.raises(ValueError, match="colour images"):
        kind.get_transform(np.zeros((4, 5, 1), np.uint8))


def test_random_apply_follows_its_probability():
    always, never = (T.RandomApply(T.HFlipTransform(60), p) for p in (1.0, 0.0))
    assert isinstance(always(aug_input()), T.HFlipTransform)
    assert isinstance(never(aug_input()), T.NoOpTransform)
    assert isinstance(never.get_transform(), T.NoOpTransform)


# ------------------------------------------------------------------ the contract of Augmentation
class _BlackBoxes(T.Augmentation):
    """A user's augmentation that looks at an attribute of the user's own input."""

    def __init__(self, level=3):
        super().__init__()
        self._init(locals())

    def get_transform(self, image, secret):
        return T.ColorTransform(lambda pixels: np.full_like(pixels, self.level + secret))


def test_an_augmentation_gets_the_attributes_that_its_arguments_name():
    holder = aug_input()
    holder.secret = 4
    _BlackBoxes()(holder)
    assert (holder.image == 7).all()


def test_an_input_without_the_wanted_attribute_is_named():
    with pytest.raises(AttributeError, match="secret"):
        _BlackBoxes()(aug_input())


def test_a_get_transform_of_nameless_arguments_is_refused():
    class Nameless(T.Augmentation):
        def get_transform(self, *args):
            return T.NoOpTransform()

    with pytest.raises(TypeError, match="input_args"):
        Nameless()(aug_input())


def test_a_get_transform_that_returns_no_transform_is_refused():
    class Forgetful(T.Augmentation):
        def get_transform(self, image):
            return None

    with pytest.raises(TypeError, match="NoOpTransform"):
        Forgetful()(aug_input())


def test_the_base_class_has_no_transform():
    with pytest.raises(NotImplementedError, match="get_transform"):
        T.Augmentation().get_transform()


def test_only_augmentations_and_transforms_can_be_listed():
    with pytest.raises(TypeError, match="int"):
        T.AugmentationList([3])


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ([[1]], TypeError),
        (np.zeros((2, 2), np.int64), TypeError),
        (np.zeros((2, 2, 3, 1), np.uint8), ValueError),
    ],
)
def test_an_input_must_be_an_image_array(image, error):
    with pytest.raises(error, match=r"numpy array|dtype|shape"):
        T.AugInput(image)


def test_apply_augmentations_takes_an_image_or_an_input():
    image = aug_input().image
    flipped, done = T.apply_augmentations([T.RandomFlip(1.0)], image)
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    assert [type(t) for t in done] == [T.HFlipTransform]
    holder, _ = T.apply_transform_gens([T.HFlipTransform(60)], aug_input())
    np.testing.assert_array_equal(holder.image, image[:, ::-1])


def test_texts_show_what_differs_from_the_defaults():
    assert repr(_BlackBoxes(5)) == "_BlackBoxes(level=5)"
    assert repr(T.RandomFlip()) == "RandomFlip()"
    assert repr(T.AugmentationList([T.RandomFlip(1.0)])) == "AugmentationList[RandomFlip(prob=1.0)]"


def test_rand_range_has_its_three_forms():
    augmentation = T.Augmentation()
    assert 0 <= augmentation._rand_range() < 1
    assert 5 <= augmentation._rand_range(5, 6) < 6
    assert augmentation._rand_range(5, 6, 3).shape == (3,)


@pytest.mark.parametrize(
    "augmentation", [T.RandomApply(T.HFlipTransform(60), 0.3), T.RandomFlip(0.3)], ids=repr
)
@pytest.mark.parametrize("drawn", [0.2, 0.4])
def test_code_of_others_can_replace_the_draw(monkeypatch, augmentation, drawn):
    monkeypatch.setattr(augmentation, "_rand_range", lambda *args: drawn, raising=True)
    transform = augmentation.get_transform(np.zeros((40, 60, 3), np.uint8))
    assert isinstance(transform, T.HFlipTransform) == (drawn < 0.3)


def test_a_fixed_transform_is_returned_as_it_is():
    flip = T.HFlipTransform(60)
    assert T.RandomApply(flip, 1.0).get_transform(np.zeros((40, 60, 3))) is flip


def test_a_range_of_crop_sizes_is_checked_when_it_is_used():
    crop = T.RandomCrop("absolute_range", (20, 10))
    with pytest.raises(AssertionError, match=r"least, greatest.*INPUT\.CROP\.SIZE"):
        crop.get_transform(np.zeros((40, 60, 3), np.uint8))


@pytest.mark.parametrize(
    "fail",
    [
        lambda: T.AugInput("no array"),
        lambda: T.AugInput(np.zeros((2, 2), np.int64)),
        lambda: T.AugmentationList([3]),
        lambda: T.RandomRotation((1, 2, 3)),
        lambda: T.ResizeShortestEdge(3, sample_style="any"),
        lambda: T.RandomSaturation(0.5, 1.5).get_transform(np.zeros((4, 4))),
        lambda: T.ResizeTransform(4, 4, 2, 2).apply_image(np.zeros((3, 4))),
        lambda: T.RotationTransform(4, 4, 30).apply_image(np.zeros((3, 4))),
        lambda: T.CropTransform(0, 0, 2, 2).inverse(),
    ],
)
def test_code_that_catches_assertion_errors_goes_on_working(fail):
    with pytest.raises(AssertionError):
        fail()


def test_a_single_argument_of_any_name_is_the_image():
    class Dark(T.Augmentation):
        def get_transform(self, img):
            return T.ColorTransform(lambda pixels: pixels * 0 + img.shape[0])

    holder = aug_input()
    Dark()(holder)
    assert (holder.image == holder.image.shape[0]).all()
