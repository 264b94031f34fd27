"""The bridge to Albumentations: what it does to pixels is done to all that is on them."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lite.data.augmenting.albumentations_bridge import Albumentations
from d2lite.data.augmenting.mixing import WholeImageAugmentation
from d2lite.data.augmenting.parsing import read_augmentation
from d2lite.utils.errors import ConfigError
from d2lite.utils.keyed_rng import keyed_draws
from tests.data import figures


def apply(text, number, key=0, rle=False):
    step = read_augmentation(f"Albumentations({text})")
    assert isinstance(step, WholeImageAugmentation)
    with keyed_draws(key):
        return step(figures.labelled(number, rle), lambda: pytest.fail("no partner is needed"))


MOVING = [
    "HorizontalFlip(p=1)",
    "Affine(rotate=(-20, 20), scale=(0.8, 1.2), p=1)",
    "RandomCrop(height=40, width=50, p=1)",
    "Resize(144, 192, p=1)",
    "RandomSizedBBoxSafeCrop(40, 50, p=1)",
    "Perspective(p=1)",
    "OneOf([Transpose(p=1), HorizontalFlip(p=1)], p=1), PadIfNeeded(120, 130)",
]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(MOVING))
def test_objects_lie_on_their_pixels(key, rle, text):
    pytest.importorskip("albumentations")
    figures.check(apply(text, key % figures.COUNT, key, rle))


def test_a_mirror_exchanges_left_and_right_and_a_turn_does_not():
    pytest.importorskip("albumentations")
    before = figures.labelled(2).annotations[0]["keypoints"]
    mirrored = apply("HorizontalFlip(p=1)", 2).annotations[0]["keypoints"]
    width = figures.SIZE[1]
    np.testing.assert_allclose(mirrored[0], [width - before[3], before[4], 2])
    turned = apply("Affine(rotate=180, p=1)", 2).annotations[0]["keypoints"]
    height = figures.SIZE[0]
    np.testing.assert_allclose(turned[0], [width - before[0], height - before[1], 2], atol=1e-3)


def test_draws_follow_the_key():
    pytest.importorskip("albumentations")
    text = "Affine(rotate=(-90, 90), p=0.9), RandomBrightnessContrast(p=1)"
    same = [apply(text, 1, key).image.tobytes() for key in (5, 5, 6)]
    assert same[0] == same[1]
    assert same[0] != same[2]


def test_pixels_from_outside_have_no_class():
    pytest.importorskip("albumentations")
    made = apply("Affine(translate_px={'x': 30}, p=1)", 1)
    assert (made.sem_seg[:, :29] == figures.IGNORED).all()
    assert made.sem_seg[0, -1] != figures.IGNORED


def test_objects_outside_are_dropped_and_points_outside_forgotten():
    pytest.importorskip("albumentations")
    made = apply("Crop(x_min=0, y_min=0, x_max=20, y_max=36)", 4)
    assert len(made.annotations) <= 1
    for anno in made.annotations:
        points = np.asarray(anno["keypoints"])
        assert (points[points[:, 0] >= 20] == 0).all()


def test_colours_alone_move_nothing_and_warn_of_nothing():
    pytest.importorskip("albumentations")
    made, before = apply("RandomGamma(p=1)", 2), figures.labelled(2)
    boxes = [[np.asarray(a["bbox"]) for a in p.annotations] for p in (made, before)]
    np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-3)


def test_anything_that_is_called_like_it_will_do():
    """So the successor works too, and what people compose in code."""
    seen = {}

    def flip(**given):
        seen.update(given)
        width = given["image"].shape[1]
        boxes = [[width - b[2], b[1], width - b[0], b[3]] for b in given["bboxes"]]
        points = np.asarray(given["keypoints"]) * [-1, 1] + [width - 1, 0]
        # It loses its last point, as some do.
        return {
            "image": given["image"][:, ::-1],
            "bboxes": boxes,
            "box_ids": given["box_ids"],
            "mask": given["mask"][:, ::-1],
            "masks": [mask[:, ::-1] for mask in given.get("masks", [])],
            "keypoints": points[:-1],
            "point_ids": given["point_ids"][:-1],
        }

    step = Albumentations(compose=flip)
    for rle in (False, True):
        made = step(figures.labelled(3, rle), lambda: None)
        figures.check(made)
        lost = np.asarray(made.annotations[-1]["keypoints"])
        assert (lost[0] == 0).all()
    assert set(seen) == {"image", "bboxes", "box_ids", "keypoints", "point_ids", "mask", "masks"}
    assert "compose" not in repr(step)
    assert repr(step).startswith("Albumentations(<function")


def test_without_the_package_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(ConfigError, match=r"pip install 'd2lite\[albumentations\]'"):
        read_augmentation("Albumentations(HorizontalFlip(p=1))")


def test_no_transforms_and_unknown_ones_are_refused():
    with pytest.raises(ConfigError, match="needs its transforms"):
        Albumentations()
    pytest.importorskip("albumentations")
    with pytest.raises(ConfigError, match="has no 'Nonsense'"):
        read_augmentation("Albumentations(Nonsense())")
    with pytest.raises(ConfigError, match="has no '_x'"):
        read_augmentation("Albumentations(_x())")
    with pytest.raises(ConfigError, match="give it to the transforms inside"):
        read_augmentation("Albumentations(HorizontalFlip(p=1), prob=0.5)")
