"""Annotations follow their image and become Instances."""

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lite.data import annotations as A
from d2lite.data import transforms as T
from d2lite.data.rotated_boxes import annotations_to_instances_rotated
from d2lite.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from d2lite.utils.errors import ConfigError, DataError

FEW = settings(max_examples=30, deadline=None)


def annotation(**changes):
    base = {
        "bbox": [10.0, 20, 30, 20],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 3,
        "segmentation": [[10.0, 20, 40, 20, 40, 40, 10, 40]],
        "keypoints": [12.0, 22, 2, 38, 38, 1, 0, 0, 0],
        "iscrowd": 0,
    }
    return base | changes


def drawn_mask(h=60, w=80):
    mask = np.zeros((h, w), np.uint8)
    mask[20:40, 10:40] = 1
    return mask


def test_box_polygon_and_points_are_flipped_together_in_the_dict():
    source = annotation()
    moved = A.transform_instance_annotations(
        source, T.HFlipTransform(80), (60, 80), keypoint_hflip_indices=np.arange(3)
    )
    np.testing.assert_array_equal(moved["bbox"], [40, 20, 70, 40])
    assert moved["bbox_mode"] == BoxMode.XYXY_ABS
    np.testing.assert_array_equal(moved["segmentation"][0], [70, 20, 40, 20, 40, 40, 70, 40])
    np.testing.assert_array_equal(moved["keypoints"], [[68, 22, 2], [42, 38, 1], [0, 0, 0]])
    assert moved is source


def test_a_list_of_transforms_is_done_in_order():
    steps = [T.ResizeTransform(60, 80, 120, 160), T.CropTransform(20, 40, 60, 40)]
    moved = A.transform_instance_annotations(annotation(), steps, (40, 60))
    np.testing.assert_allclose(moved["bbox"], [0, 0, 60, 40])
    np.testing.assert_allclose(
        sorted(map(tuple, moved["segmentation"][0].reshape(-1, 2))),
        [(0, 0), (0, 40), (60, 0), (60, 40)],
    )


@pytest.mark.parametrize("kind", ["rle", "counts", "bitmap"])
def test_bitmaps_and_rle_follow_the_image(kind):
    mask = drawn_mask()
    packed = mask_util.encode(np.asfortranarray(mask))
    changes = np.flatnonzero(np.diff(mask.ravel(order="F"))) + 1
    counts = np.diff([0, *changes, mask.size]).tolist()
    source = {"rle": packed, "counts": {"counts": counts, "size": [60, 80]}, "bitmap": mask}[kind]
    moved = A.transform_instance_annotations(
        annotation(segmentation=source),
        T.HFlipTransform(80),
        (60, 80),
        keypoint_hflip_indices=np.arange(3),
    )
    np.testing.assert_array_equal(moved["segmentation"], mask[:, ::-1])


def test_a_mask_of_another_size_than_the_image_is_refused():
    with pytest.raises(DataError, match=r"\(30, 30\).*\(60, 80\)"):
        A.transform_instance_annotations(
            annotation(segmentation=np.ones((30, 30), np.uint8)), T.NoOpTransform(), (60, 80)
        )


def test_a_segmentation_of_no_known_kind_is_refused():
    with pytest.raises(DataError, match="list of"):
        A.transform_instance_annotations(annotation(segmentation="?"), T.NoOpTransform(), (60, 80))


@FEW
@given(st.integers(0, 2**31 - 1))
def test_boxes_stay_inside_the_image_and_around_their_polygon(seed):
    """Any chain of resize, flip and crop."""
    np.random.seed(seed)
    image = T.AugInput(np.zeros((60, 80, 3), np.uint8))
    chain = image.apply_augmentations(
        [T.ResizeScale(0.5, 2, 60, 80), T.RandomFlip(), T.RandomCrop("relative_range", (0.4, 0.4))]
    )
    h, w = image.image.shape[:2]
    moved = A.transform_instance_annotations(
        annotation(), chain, (h, w), keypoint_hflip_indices=np.arange(3)
    )
    x0, y0, x1, y1 = moved["bbox"]
    assert 0 <= x0 <= x1 <= w
    assert 0 <= y0 <= y1 <= h
    for part in moved["segmentation"]:
        points = part.reshape(-1, 2)
        np.testing.assert_array_less([x0 - 1e-6, y0 - 1e-6], points.min(0))
        np.testing.assert_array_less(points.max(0), [x1 + 1e-6, y1 + 1e-6])


@pytest.mark.parametrize(
    ("flips", "is_swapped"),
    [("", False), ("h", True), ("v", True), ("hv", False), ("hh", False), ("hvh", True)],
)
def test_left_and_right_change_names_after_an_odd_number_of_flips(flips, is_swapped):
    steps = [T.HFlipTransform(80) if f == "h" else T.VFlipTransform(60) for f in flips]
    points = A.transform_keypoint_annotations(
        [10.0, 20, 2, 30, 40, 1], T.TransformList(steps), (60, 80), np.array([1, 0])
    )
    assert points[:, 2].tolist() == ([1, 2] if is_swapped else [2, 1])


def test_a_mirrored_image_needs_to_know_left_and_right():
    with pytest.raises(ValueError, match="create_keypoint_hflip_indices"):
        A.transform_keypoint_annotations([10.0, 20, 2], T.HFlipTransform(80), (60, 80))


def test_points_outside_after_a_crop_become_unlabelled():
    points = A.transform_keypoint_annotations(
        [10.0, 20, 2, 30, 40, 1], T.CropTransform(20, 20, 40, 40), (40, 40)
    )
    np.testing.assert_array_equal(points, [[0, 0, 0], [10, 20, 1]])


def test_other_numbers_of_points_and_names_are_refused():
    with pytest.raises(DataError, match=r"2 keypoints.*names 3"):
        A.transform_keypoint_annotations([1.0] * 6, T.NoOpTransform(), (9, 9), np.arange(3))


# ------------------------------------------------------------------ Instances
def transformed(**changes):
    return A.transform_instance_annotations(annotation(**changes), T.NoOpTransform(), (60, 80))


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_annotations_become_instances(mask_format):
    target = A.annotations_to_instances([transformed(), transformed()], (60, 80), mask_format)
    np.testing.assert_array_equal(target.gt_boxes.tensor, [[10, 20, 40, 40]] * 2)
    assert target.gt_classes.tolist() == [3, 3]
    assert target.gt_classes.dtype == torch.int64
    assert target.gt_keypoints.tensor.shape == (2, 3, 3)
    expected = {"polygon": PolygonMasks, "bitmask": BitMasks}[mask_format]
    assert isinstance(target.gt_masks, expected)
    if mask_format == "bitmask":
        np.testing.assert_array_equal(target.gt_masks.tensor[0], drawn_mask())


def test_polygons_and_rle_mix_as_bitmaps():
    rle = mask_util.encode(np.asfortranarray(drawn_mask()))
    annos = [transformed(), annotation(segmentation=rle), transformed(segmentation=drawn_mask())]
    masks = A.annotations_to_instances(annos, (60, 80), "bitmask").gt_masks.tensor
    assert (masks == masks[0]).all()


def test_bitmaps_in_a_polygon_run_name_the_key():
    with pytest.raises(ConfigError, match=r"INPUT\.MASK_FORMAT bitmask"):
        A.annotations_to_instances([transformed(segmentation=drawn_mask())], (60, 80))


def test_an_unknown_mask_format_is_refused():
    with pytest.raises(ConfigError, match="polygon, bitmask"):
        A.annotations_to_instances([], (60, 80), "rle")


def test_no_annotations_give_empty_instances():
    target = A.annotations_to_instances([], (60, 80))
    assert len(target) == 0
    assert target.gt_boxes.tensor.shape == (0, 4)
    assert target.gt_classes.dtype == torch.int64
    assert len(A.filter_empty_instances(target)) == 0


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_an_object_without_mask_or_points_beside_one_with_both_is_held(mask_format):
    bare = transformed()
    del bare["segmentation"], bare["keypoints"]
    target = A.annotations_to_instances([bare, transformed()], (60, 80), mask_format)
    assert target.gt_masks.nonempty().tolist() == [False, True]
    assert target.gt_keypoints.tensor[0].abs().sum() == 0


def test_objects_of_unequal_numbers_of_keypoints_are_refused():
    with pytest.raises(DataError, match=r"1 keypoints.* 3"):
        A.annotations_to_instances([transformed(keypoints=[1.0, 2, 2]), transformed()], (60, 80))


def test_rotated_annotations_become_instances():
    annos = [{"bbox": [10, 20, 8, 4, 30], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 1}]
    target = annotations_to_instances_rotated(annos, (60, 80))
    np.testing.assert_allclose(target.gt_boxes.tensor, [[10, 20, 8, 4, 30]])
    assert target.gt_classes.tolist() == [1]
    assert annotations_to_instances_rotated([], (60, 80)).gt_boxes.tensor.shape == (0, 5)


def instances_of(boxes, polygons=None):
    target = Instances((60, 80))
    target.gt_boxes = Boxes(torch.tensor(boxes))
    if polygons is not None:
        target.gt_masks = PolygonMasks(polygons)
    return target


def test_empty_boxes_and_masks_are_dropped():
    whole = [np.array([0.0, 0, 9, 0, 9, 9])]
    target = instances_of([[0.0, 0, 9, 9], [5, 5, 5, 9], [0, 0, 9, 9]], [whole, whole, []])
    kept, keep = A.filter_empty_instances(target, return_mask=True)
    assert keep.tolist() == [True, False, False]
    assert len(kept) == 1
    assert len(A.filter_empty_instances(target, by_mask=False)) == 2
    assert len(A.filter_empty_instances(target, by_box=False)) == 2
    assert len(A.filter_empty_instances(target, by_mask=False, box_threshold=9.5)) == 0


def test_filtering_by_nothing_is_refused():
    with pytest.raises(ValueError, match="by_box or by_mask"):
        A.filter_empty_instances(instances_of([[0.0, 0, 1, 1]]), by_box=False, by_mask=False)


# ------------------------------------------------------------------ proposals, crops
def test_proposals_are_transformed_cut_and_limited():
    sample = {
        "proposal_boxes": np.array(
            [[0, 0, 10, 10], [90, 0, 99, 9], [70, 10, 95, 20], [1, 1, 9, 9]]
        ),
        "proposal_bbox_mode": BoxMode.XYXY_ABS,
        "proposal_objectness_logits": np.array([3.0, 2, 1, 0]),
    }
    A.transform_proposals(sample, (60, 80), T.HFlipTransform(80), proposal_topk=2)
    assert sample.keys() == {"proposals"}
    proposals = sample["proposals"]
    # The second is outside the image.
    np.testing.assert_array_equal(
        proposals.proposal_boxes.tensor, [[70, 0, 80, 10], [0, 10, 10, 20]]
    )
    assert proposals.objectness_logits.tolist() == [3, 1]


def test_a_sample_without_proposals_stays_as_it_is():
    sample = {"image_id": 1}
    A.transform_proposals(sample, (60, 80), T.NoOpTransform(), proposal_topk=2)
    assert sample == {"image_id": 1}


@FEW
@given(st.integers(0, 59), st.integers(0, 79), st.integers(1, 60), st.integers(1, 80))
def test_a_crop_around_an_object_holds_its_middle(y, x, h, w):
    box = {"bbox": [x, y, x + 1, y + 1], "bbox_mode": BoxMode.XYXY_ABS}
    crop = A.gen_crop_transform_with_instance((h, w), (60, 80), box)
    assert crop.x0 <= x + 0.5 <= crop.x0 + w
    assert crop.y0 <= y + 0.5 <= crop.y0 + h
    assert 0 <= crop.x0 <= 80 - w
    assert 0 <= crop.y0 <= 60 - h


def test_a_crop_larger_than_the_image_or_around_nothing_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        A.gen_crop_transform_with_instance((61, 10), (60, 80), annotation())
    with pytest.raises(ValueError, match="outside"):
        A.gen_crop_transform_with_instance((9, 9), (60, 80), annotation(bbox=[200, 200, 5, 5]))


def test_bitmaps_of_another_size_than_the_image_are_taken_as_they_are():
    objects = [annotation(segmentation=drawn_mask(50, 80)) for _ in range(2)]
    instances = A.annotations_to_instances(objects, (60, 80), mask_format="bitmask")
    assert tuple(instances.gt_masks.tensor.shape) == (2, 50, 80)
    assert instances.gt_masks.tensor.sum(dim=(1, 2)).tolist() == [600, 600]


def test_run_length_codes_of_another_size_are_scaled_with_their_image():
    code = mask_util.encode(np.asfortranarray(drawn_mask(30, 40)))
    steps = [T.HFlipTransform(40), T.ScaleTransform(30, 40, 40, 40, "bilinear")]
    moved = A.transform_instance_annotations(
        annotation(segmentation=code), steps, (40, 40), keypoint_hflip_indices=np.arange(3)
    )
    assert moved["segmentation"].shape == (40, 40)
    A.annotations_to_instances([moved, moved], (60, 80), mask_format="bitmask")


def test_masks_of_two_sizes_in_one_image_are_refused():
    objects = [annotation(segmentation=drawn_mask(50, 80)), annotation()]
    with pytest.raises(DataError, match=r"\(50, 80\), \(60, 80\)"):
        A.annotations_to_instances(objects, (60, 80), mask_format="bitmask")
