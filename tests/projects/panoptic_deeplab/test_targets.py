"""What the branches learn, against the definition, and the samples of the mapper."""

import numpy as np
import pytest
import torch

from d2lite.config import get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids
from d2lite.data.images.image_io import read_image
from d2lite.projects.panoptic_deeplab import (
    PanopticDeeplabDatasetMapper,
    PanopticDeepLabTargetGenerator,
)
from d2lite.utils.errors import ConfigError, DataError

from .small import small_cfg

VOID, CAR, GROUP, ROAD = 0, 7, 8, 9


def scene():
    """A car of 3 x 4 pixels, a group of people, road, and void around them."""
    panoptic = np.zeros((20, 30), dtype=np.int64)
    panoptic[2:5, 10:14] = CAR
    panoptic[8:12, 2:6] = GROUP
    panoptic[14:, :] = ROAD
    segments = [
        {"id": CAR, "category_id": 1, "iscrowd": 0},
        {"id": GROUP, "category_id": 2, "iscrowd": 1},
        {"id": ROAD, "category_id": 5, "iscrowd": 0},
        {"id": 12345, "category_id": 1, "iscrowd": 0},
    ]
    return panoptic, segments


def targets(**options):
    return PanopticDeepLabTargetGenerator(255, [1, 2], sigma=2, **options)(*scene())


def test_every_pixel_has_the_class_of_its_segment():
    made, (panoptic, _) = targets(), scene()
    lookup = {VOID: 255, CAR: 1, GROUP: 2, ROAD: 5}
    expected = np.vectorize(lookup.get)(panoptic)
    np.testing.assert_array_equal(made["sem_seg"].numpy(), expected)
    assert made["sem_seg"].dtype == torch.int64
    skipped = targets(ignore_crowd_in_semantic=True)["sem_seg"].numpy()
    np.testing.assert_array_equal(skipped, np.where(panoptic == GROUP, 255, expected))


def test_centres_are_gaussians_at_the_middle_of_objects():
    """Of height 1 at the rounded mean, up to 3 sigma + 1 pixels away; the greater of two counts."""
    made = targets()
    assert made["center_points"] == [[3.0, 11.5], [9.5, 3.5]]
    middles = [(3, round(11.5)), (round(9.5), round(3.5))]
    for y in range(20):
        for x in range(30):
            heights = [
                np.exp(-((y - my) ** 2 + (x - mx) ** 2) / 8)
                for my, mx in middles
                if abs(y - my) <= 7 and abs(x - mx) <= 7
            ]
            assert made["center"][y, x] == pytest.approx(max(heights, default=0), abs=1e-6)


def test_offsets_lead_from_each_pixel_of_an_object_to_its_middle():
    made, (panoptic, _) = targets(), scene()
    yy, xx = np.nonzero(panoptic == CAR)
    reached = made["offset"].numpy()[:, yy, xx] + np.stack([yy, xx])
    np.testing.assert_allclose(reached, np.tile([[3.0], [11.5]], len(yy)), rtol=1e-6)
    assert (made["offset"].numpy()[:, (panoptic == ROAD) | (panoptic == VOID)] == 0).all()


@pytest.mark.parametrize("ignore_stuff", [True, False])
def test_groups_void_and_maybe_stuff_have_no_weight(ignore_stuff):
    made, (panoptic, _) = targets(ignore_stuff_in_offset=ignore_stuff), scene()
    counted = (panoptic == CAR) | (panoptic == ROAD)
    np.testing.assert_array_equal(made["center_weights"].numpy(), counted)
    in_offset = panoptic == CAR if ignore_stuff else counted
    np.testing.assert_array_equal(made["offset_weights"].numpy(), in_offset)


def test_small_objects_weigh_more_in_the_semantic_loss():
    made, (panoptic, _) = targets(small_instance_area=13, small_instance_weight=3), scene()
    expected = np.where(panoptic == CAR, 3, 1)
    np.testing.assert_array_equal(made["sem_seg_weights"].numpy(), expected)


def test_an_image_of_void_alone_has_targets():
    generator = PanopticDeepLabTargetGenerator(255, [1], sigma=2)
    made = generator(np.zeros((5, 6), dtype=np.int64), [])
    assert (made["sem_seg"] == 255).all()
    assert made["center_points"] == []
    assert made["center"].sum() == made["offset"].abs().sum() == made["center_weights"].sum() == 0


def test_an_object_at_the_corner_keeps_its_part_of_the_gaussian():
    panoptic = np.zeros((6, 6), dtype=np.int64)
    panoptic[0, 0] = 1
    made = PanopticDeepLabTargetGenerator(255, [1], sigma=2)(
        panoptic, [{"id": 1, "category_id": 1, "iscrowd": 0}]
    )
    assert made["center"][0, 0] == 1
    assert made["center"][0, 3] == pytest.approx(np.exp(-9 / 8))


def test_samples_of_shapes_fit_their_image():
    cfg = small_cfg(
        *("INPUT.MIN_SIZE_TRAIN", [100], "INPUT.CROP.ENABLED", True),
        *("INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE", [64, 80]),
    )
    record = DatasetCatalog.get("shapes_train_panoptic_joint")[3]
    before = repr(record)
    sample = PanopticDeeplabDatasetMapper(cfg)(record)
    assert repr(record) == before
    assert sample["image"].shape == (3, 64, 80)
    assert sample["sem_seg"].shape == sample["center"].shape == (64, 80)
    assert sample["offset"].shape == (2, 64, 80)
    assert set(sample["sem_seg"].unique().tolist()) <= set(range(6))
    assert not {"annotations", "pan_seg_file_name"} & set(sample)


def test_classes_of_pixels_are_those_of_segments():
    """The joint sets of shapes: the ground is the class after the figures."""
    for record in DatasetCatalog.get("shapes_val_panoptic_joint")[:10]:
        ids = rgb_to_segment_ids(read_image(record["pan_seg_file_name"]))
        labels = read_image(record["sem_seg_file_name"])
        for segment in record["segments_info"]:
            assert set(labels[ids == segment["id"]].tolist()) == {segment["category_id"]}
    assert len(MetadataCatalog.get("shapes_val_sem_seg").stuff_classes) == 6


def test_sets_without_segments_are_refused():
    cfg = small_cfg("DATASETS.TRAIN", ["shapes_train"])
    with pytest.raises(ConfigError, match="shapes_train_panoptic_joint"):
        PanopticDeeplabDatasetMapper(cfg)
    mapper = PanopticDeeplabDatasetMapper(small_cfg())
    with pytest.raises(DataError, match="pan_seg_file_name"):
        mapper(DatasetCatalog.get("shapes_train")[0])
    assert get_cfg().SOLVER.OPTIMIZER == "SGD"
