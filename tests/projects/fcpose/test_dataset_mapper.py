"""Samples of FCPose: heat maps follow the image, also where it is mirrored."""

import numpy as np
import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data import transforms as T
from d2lite.projects.fcpose import (
    DatasetMapperWithBasis,
    FCPoseDatasetMapper,
    build_train_mapper,
    draw_heatmaps,
)
from d2lite.projects.fcpose.dataset_mapper import draw_classes
from d2lite.structures import BitMasks, Instances
from d2lite.utils.errors import ConfigError

from .small import small_cfg


@pytest.fixture
def cfg():
    return small_cfg("INPUT.MIN_SIZE_TRAIN", "(128,)")


def mapped(cfg, steps, record):
    mapper = FCPoseDatasetMapper(cfg, True)
    mapper.augmentations = T.AugmentationList(steps)
    return mapper(record)


def test_heat_maps_are_those_of_the_transformed_keypoints(cfg):
    record = DatasetCatalog.get("shapes_train")[3]
    sample = mapped(cfg, [T.Resize((96, 112))], record)
    truth = sample["instances"]
    assert sample["keypoint_heatmaps"].shape == (5, 48, 56)
    expected = draw_heatmaps(truth.gt_keypoints.tensor, (96, 112), 2, [1.8] * 5)
    torch.testing.assert_close(sample["keypoint_heatmaps"], expected)


def test_a_mirrored_image_has_mirrored_maps_with_left_and_right_exchanged(cfg):
    """Keypoints move to the centres of their cells first: mirrored cells are then cells again."""
    record = DatasetCatalog.get("shapes_train")[3]
    for obj in record["annotations"]:
        points = np.array(obj["keypoints"]).reshape(-1, 3)
        points[:, :2] = points[:, :2] // 2 * 2 + 1
        obj["keypoints"] = points.flatten().tolist()
    plain = mapped(cfg, [], record)["keypoint_heatmaps"]
    flipped = mapped(cfg, [T.HFlipTransform(record["width"])], record)["keypoint_heatmaps"]
    names = MetadataCatalog.get("shapes_train").keypoint_names
    assert names == ("centre", "top", "bottom", "left", "right")
    torch.testing.assert_close(flipped.flip(2)[[0, 1, 2, 4, 3]], plain)
    assert not torch.equal(flipped, plain)


def test_images_without_objects_and_evaluation(cfg):
    record = {**DatasetCatalog.get("shapes_train")[3], "annotations": []}
    assert mapped(cfg, [], record)["keypoint_heatmaps"].sum() == 0
    assert "keypoint_heatmaps" not in FCPoseDatasetMapper(cfg, False)(record)


def test_the_key_switches_the_mapper(cfg):
    assert isinstance(build_train_mapper(cfg), FCPoseDatasetMapper)
    assert build_train_mapper(small_cfg("MODEL.FCPOSE_ON", False)) is None


BASIS = ["MODEL.BASIS_MODULE.LOSS_ON", True, "MODEL.MASK_ON", True]


def test_of_several_objects_at_a_pixel_the_smallest_counts():
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 1:3] = masks[1, :, :4] = masks[2, 3, 3:] = True
    objects = Instances((4, 6), gt_masks=BitMasks(masks), gt_classes=torch.tensor([4, 0, 2]))
    expected = [[1, 1, 1, 1, 0, 0], [1, 5, 5, 1, 0, 0], [1, 5, 5, 1, 0, 0], [1, 1, 1, 3, 3, 3]]
    assert draw_classes(objects).tolist() == expected
    assert not draw_classes(objects[:0]).any()


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_classes_of_pixels_follow_the_image(mask_format):
    cfg = small_cfg(*BASIS, "INPUT.MASK_FORMAT", mask_format)
    record = DatasetCatalog.get("shapes_train")[3]
    mapper = DatasetMapperWithBasis(cfg, True)
    found = []
    for steps in ([], [T.HFlipTransform(record["width"])]):
        mapper.augmentations = T.AugmentationList(steps)
        found.append(mapper(record)["basis_sem"])
    plain, flipped = found
    assert plain.shape == (record["height"], record["width"])
    present = {obj["category_id"] + 1 for obj in record["annotations"]}
    assert set(plain.unique().tolist()) == present | {0}
    # Pixels whose centres are on a border may go either way.
    assert (flipped.flip(1) == plain).float().mean() > 0.99
    assert "basis_sem" in FCPoseDatasetMapper(cfg, True)(record)
    assert "basis_sem" not in DatasetMapperWithBasis(cfg, False)(record)
    assert "basis_sem" not in DatasetMapperWithBasis(small_cfg(), True)(record)


def test_classes_of_pixels_need_masks():
    with pytest.raises(ConfigError, match=r"set MODEL\.MASK_ON True"):
        DatasetMapperWithBasis(small_cfg("MODEL.BASIS_MODULE.LOSS_ON", True), True)
