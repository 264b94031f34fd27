"""Rotated boxes: from annotations, through transforms and the mapper."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2lite.config import get_cfg
from d2lite.data import transforms as T
from d2lite.data.augmenting import Mosaic
from d2lite.data.dataset_mapper import DatasetMapper
from d2lite.data.rotated_boxes import rotated_box, rotated_instances
from d2lite.engine.reports.summary import _comparable
from d2lite.structures import Boxes, BoxMode, Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError

BOX = [40.0, 30.0, 30.0, 12.0, 25.0]


def corners(box) -> np.ndarray:
    """(4, 2) corners, sorted: which comes first says nothing about the rectangle."""
    cx, cy, w, h, angle = box
    turn = np.deg2rad(angle)
    along, across = np.array([np.cos(turn), -np.sin(turn)]), np.array([np.sin(turn), np.cos(turn)])
    points = [
        np.array([cx, cy]) + i * w / 2 * along + j * h / 2 * across
        for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    return np.array(points)


def same_rectangle(first: np.ndarray, second: np.ndarray, atol: float = 1e-6) -> bool:
    distances = np.linalg.norm(first[:, None] - second[None], axis=2)
    return bool((distances.min(axis=0) < atol).all() and (distances.min(axis=1) < atol).all())


@pytest.mark.parametrize(
    "transform",
    [
        T.CropTransform(10, 5, 50, 40, 80, 60),
        T.VFlipTransform(60),
        T.HFlipTransform(80),
        T.RotationTransform(60, 80, 30, expand=True),
        T.RotationTransform(60, 80, -100, expand=False),
        T.PadTransform(3, 4, 5, 6),
        T.ResizeTransform(60, 80, 120, 160),
    ],
    ids=lambda step: f"{type(step).__name__}",
)
def test_corners_of_a_moved_box_are_the_moved_corners(transform):
    moved = transform.apply_rotated_box(np.array([BOX]))[0]
    assert same_rectangle(corners(moved), transform.apply_coords(corners(BOX)))


def test_turning_the_image_left_turns_the_box_left():
    moved = T.RotationTransform(60, 60, 30, expand=False).apply_rotated_box(
        np.array([[30.0, 30, 20, 8, 10]])
    )
    np.testing.assert_allclose(moved, [[30, 30, 20, 8, 40]], atol=1e-6)


def test_transform_of_a_user_moves_rotated_boxes_by_its_points():
    class Shift(T.Transform):
        def apply_image(self, img):
            return img

        def apply_coords(self, coords):
            return coords + 3

    chain = T.TransformList([Shift(), T.HFlipTransform(80)])
    np.testing.assert_allclose(
        chain.apply_rotated_box(np.array([BOX])), [[37, 33, 30, 12, -25]], atol=1e-6
    )


@given(
    st.floats(20, 200), st.floats(20, 200), st.floats(2, 100), st.floats(2, 100),
    st.floats(-180, 180),
)  # fmt: skip
def test_four_corners_give_their_rectangle_with_the_longer_side_as_width(x, y, w, h, angle):
    outline = corners([x, y, w, h, angle])
    box = rotated_box({"segmentation": [outline.ravel().tolist()], "bbox": [0, 0, 1, 1]})
    assert box[2] >= box[3]
    assert -90 < box[4] <= 90
    assert same_rectangle(corners(box), outline, atol=0.02)


def test_bitmap_gives_the_rectangle_around_its_pixels():
    mask = np.zeros((60, 80), np.uint8)
    cv2.fillPoly(mask, [corners(BOX).round().astype(np.int32)], 1)
    box = rotated_box({"segmentation": mask, "bbox": [0, 0, 1, 1]})
    np.testing.assert_allclose(box, [40.5, 30.5, 31, 13, 25], atol=2)


def test_box_of_five_numbers_goes_before_the_mask_and_four_without_one_are_upright():
    assert rotated_box({"bbox": BOX, "segmentation": [[0, 0, 9, 0, 9, 9]]}).tolist() == BOX
    upright = rotated_box({"bbox": [10, 20, 30, 8], "bbox_mode": BoxMode.XYWH_ABS})
    assert upright.tolist() == [25, 24, 30, 8, 0]


def test_object_whose_centre_leaves_the_image_is_left_out():
    annotations = [
        {"bbox": BOX, "category_id": 0},
        {"bbox": [70.0, 30, 30, 12, 25], "category_id": 1},
    ]
    crop = T.CropTransform(0, 0, 60, 60, 80, 60)
    # The padding makes room again, but the object stays cut off.
    made = rotated_instances(annotations, [crop, T.PadTransform(0, 0, 40, 0)], (60, 100))
    assert made.gt_classes.tolist() == [0]
    np.testing.assert_allclose(made.gt_boxes.tensor.numpy(), [BOX], atol=1e-5)


@pytest.fixture
def sample(tmp_path):
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "a.png")
    one = {"bbox": BOX, "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 1, "iscrowd": 0}
    return {
        "file_name": str(tmp_path / "a.png"),
        "height": 60,
        "width": 80,
        "annotations": [one, {**one, "iscrowd": 1}],
    }


def test_mapper_of_a_rotated_model_gives_rotated_boxes(sample):
    cfg = get_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "RRPN"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = [120], "none"
    instances = DatasetMapper(cfg, is_train=True)(sample)["instances"]
    np.testing.assert_allclose(instances.gt_boxes.tensor, [[80, 60, 60, 24, 25]], atol=1e-4)
    assert instances.gt_classes.tolist() == [1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"use_instance_mask": True},
        {"use_keypoint": True},
        {"augmentations": [Mosaic(size=(64, 64))]},
    ],
)
def test_masks_keypoints_and_mixing_are_refused_with_rotated_boxes(wrong):
    options = {"augmentations": [], "image_format": "BGR", "use_rotated_boxes": True}
    with pytest.raises(ConfigError, match=r"MODEL\.MASK_ON"):
        DatasetMapper(True, **(options | wrong))


def test_pictures_show_the_truth_as_a_rotated_model_learns_it():
    corners = [4.0, 0, 8, 4, 4, 8, 0, 4]
    upright = {"bbox": [0, 0, 8, 8], "bbox_mode": BoxMode.XYXY_ABS, "segmentation": [corners]}
    record = {"annotations": [{**upright, "category_id": 0}]}
    found = Instances((9, 9), pred_boxes=RotatedBoxes(torch.zeros(0, 5)))
    (shown,) = _comparable(record, found)["annotations"]
    assert shown["bbox"] == pytest.approx(rotated_box(upright).tolist())
    assert shown["bbox"][2:4] == pytest.approx([32**0.5, 32**0.5], abs=1e-4)
    assert shown["bbox_mode"] == BoxMode.XYWHA_ABS
    found = Instances((9, 9), pred_boxes=Boxes(torch.zeros(0, 4)))
    assert _comparable(record, found)["annotations"][0]["bbox"] == [0, 0, 8, 8]


def test_resizing_changes_float_arrays_in_place_and_copies_integers():
    resize = T.ResizeTransform(10, 20, 5, 40)
    for change, row in (
        (resize.apply_coords, [4.0, 6.0]),
        (resize.apply_rotated_box, [4.0, 6.0, 2.0, 3.0, 0.0]),
    ):
        floats = np.array([row], dtype=np.float32)
        assert change(floats) is floats
        integers = np.array([row], dtype=np.int64)
        np.testing.assert_allclose(change(integers), floats, rtol=1e-6)
        np.testing.assert_array_equal(integers, [row])
        # Visibilities of keypoints, for instance.
        more = np.array([[*integers[0], 9]], dtype=np.float32)
        np.testing.assert_allclose(change(more), [[*floats[0], 9]], rtol=1e-6)
