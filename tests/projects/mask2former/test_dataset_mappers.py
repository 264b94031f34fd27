"""The published mappers: what they make of small sets of their own."""

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.data import transforms as T
from d2lite.projects import build_project_mapper
from d2lite.projects.mask2former import (
    COCOInstanceNewBaselineDatasetMapper,
    COCOPanopticNewBaselineDatasetMapper,
    MaskFormerInstanceDatasetMapper,
    MaskFormerPanopticDatasetMapper,
    MaskFormerSemanticDatasetMapper,
)
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError
from d2lite.utils.keyed_rng import keyed_draws

from .small import small_cfg

HEIGHT, WIDTH = 40, 60


@pytest.fixture
def record(tmp_path) -> dict:
    """Two objects, a group of objects and ground, in all three kinds of annotation."""
    rng = np.random.RandomState(0)
    Image.fromarray(rng.randint(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(
        tmp_path / "image.png"
    )
    ids = np.full((HEIGHT, WIDTH), 70_000)
    ids[5:15, 5:20] = 255
    ids[20:35, 40:55] = 300
    ids[25:30, 5:10] = 9
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "segments.png")
    classes = np.select([ids == 255, ids == 300, ids == 9], [1, 2, 255], 4).astype(np.uint8)
    Image.fromarray(classes).save(tmp_path / "classes.png")
    boxes = {1: [5, 5, 20, 15], 2: [40, 20, 55, 35]}
    return {
        "file_name": str(tmp_path / "image.png"),
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": 7,
        "sem_seg_file_name": str(tmp_path / "classes.png"),
        "pan_seg_file_name": str(tmp_path / "segments.png"),
        "segments_info": [
            {"id": 255, "category_id": 1, "iscrowd": 0},
            {"id": 300, "category_id": 2, "iscrowd": 0},
            {"id": 9, "category_id": 2, "iscrowd": 1},
            {"id": 70_000, "category_id": 4, "iscrowd": 0},
        ],
        "annotations": [
            {
                "bbox": box,
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": label,
                "segmentation": [[box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]],
                "iscrowd": 0,
            }
            for label, box in boxes.items()
        ],
    }


def made(kind, augmentations, side: int = -1):
    options = {"augmentations": augmentations, "image_format": "RGB", "size_divisibility": side}
    if kind is not MaskFormerInstanceDatasetMapper:
        options["ignore_label"] = 255
    return kind(True, **options)


KINDS = [
    (MaskFormerSemanticDatasetMapper, [1, 2, 4]),
    (MaskFormerPanopticDatasetMapper, [1, 2, 4]),
    (MaskFormerInstanceDatasetMapper, [1, 2]),
]


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_objects_have_classes_masks_and_their_boxes(kind, classes, record):
    """Groups of objects and void pixels are no objects."""
    before = dict(record)
    sample = made(kind, [])(record)
    truth = sample["instances"]
    assert truth.gt_classes.tolist() == classes
    assert truth.gt_masks.dtype == torch.bool
    assert truth.gt_masks.shape == (len(classes), HEIGHT, WIDTH)
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    expected[5:15, 5:20] = True
    assert torch.equal(truth.gt_masks[0], expected)
    assert truth.gt_boxes.tensor[1].tolist() == [40, 20, 55, 35]
    assert sample["image"].shape == (3, HEIGHT, WIDTH)
    assert (sample["height"], sample["width"], sample["image_id"]) == (HEIGHT, WIDTH, 7)
    assert record == before


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_masks_that_vanish_in_a_crop_are_left_out(kind, classes, record):
    """As empty objects they ruin a training (Mask2Former, issue 215)."""
    crop = T.CropTransform(30, 0, 30, HEIGHT, orig_w=WIDTH, orig_h=HEIGHT)
    truth = made(kind, [crop])(record)["instances"]
    assert truth.gt_classes.tolist() == classes[1:]
    assert truth.gt_masks.flatten(1).any(dim=1).all()
    assert truth.gt_boxes.tensor[0].tolist() == [10, 20, 25, 35]


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_a_crop_without_an_object_gives_no_object(kind, classes, record):
    corner = T.CropTransform(6, 26, 3, 3, orig_w=WIDTH, orig_h=HEIGHT)
    truth = made(kind, [corner])(record)["instances"]
    assert len(truth) == 0
    assert truth.gt_masks.shape == (0, 3, 3)


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_small_samples_are_padded_to_a_square(kind, classes, record):
    sample = made(kind, [], 64)(record)
    assert sample["image"].shape == (3, 64, 64)
    assert (sample["image"][:, HEIGHT:] == 128).all()
    masks = sample["instances"].gt_masks
    assert masks.shape == (len(classes), 64, 64)
    assert not masks[:, HEIGHT:].any()
    assert not masks[:, :, WIDTH:].any()
    assert made(kind, [], 50)(record)["image"].shape == (3, 50, WIDTH)


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        (COCOInstanceNewBaselineDatasetMapper, {1, 2}),
        (COCOPanopticNewBaselineDatasetMapper, {1, 2, 4}),
    ],
)
def test_jitter_gives_squares_whose_padding_is_no_segment(kind, classes, record):
    """Segments are numbered freely; one here has the number that padding has."""
    cfg = small_cfg("INPUT.IMAGE_SIZE", 48, "INPUT.MIN_SCALE", 0.5, "INPUT.MAX_SCALE", 0.6)
    mapper = kind(cfg, True)
    with keyed_draws(3):
        sample = mapper(record)
    assert sample["image"].shape == (3, 48, 48)
    truth = sample["instances"]
    assert set(truth.gt_classes.tolist()) == classes
    assert not truth.gt_masks[:, 32:].any()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mask_former_semantic", MaskFormerSemanticDatasetMapper),
        ("mask_former_panoptic", MaskFormerPanopticDatasetMapper),
        ("mask_former_instance", MaskFormerInstanceDatasetMapper),
        ("coco_instance_lsj", COCOInstanceNewBaselineDatasetMapper),
        ("coco_panoptic_lsj", COCOPanopticNewBaselineDatasetMapper),
    ],
)
def test_the_key_chooses_the_mapper(name, kind):
    assert type(build_project_mapper(small_cfg("INPUT.DATASET_MAPPER_NAME", name))) is kind


def test_crops_and_colours_follow_the_keys(record):
    opts = (
        "INPUT.CROP.ENABLED", True,
        "INPUT.CROP.TYPE", "absolute",
        "INPUT.CROP.SIZE", (32, 32),
        "INPUT.COLOR_AUG_SSD", True,
        "INPUT.MIN_SIZE_TRAIN", (48,),
        "INPUT.SIZE_DIVISIBILITY", 40,
    )  # fmt: skip
    for kind, _ in KINDS:
        mapper = kind(small_cfg(*opts), True)
        assert any(isinstance(a, T.PhotometricDistortion) for a in mapper.augmentations.augs)
        with keyed_draws(1):
            assert mapper(record)["image"].shape == (3, 40, 40)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (MaskFormerSemanticDatasetMapper, "sem_seg_file_name"),
        (MaskFormerPanopticDatasetMapper, "pan_seg_file_name"),
        (MaskFormerInstanceDatasetMapper, "annotations"),
    ],
)
def test_a_set_of_another_kind_is_refused(kind, key, record):
    del record[key]
    with pytest.raises(DataError, match=rf"image.png has no {key}, .*INPUT.DATASET_MAPPER_NAME"):
        made(kind, [])(record)
