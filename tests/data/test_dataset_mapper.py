"""DatasetMapper: one dataset dict in, one model input out."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.config import get_cfg
from d2lite.data import transforms as T
from d2lite.data.catalog import MetadataCatalog
from d2lite.data.dataset_mapper import DatasetMapper, build_augmentation
from d2lite.structures import BitMasks, BoxMode, PolygonMasks
from d2lite.utils.errors import ConfigError, UserError
from d2lite.utils.keyed_rng import keyed_draws


@pytest.fixture
def sample(tmp_path):
    """An image of 60 x 80 with a bright object, a crowd, and labels."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[20:40, 10:40] = [200, 100, 50]
    Image.fromarray(pixels).save(tmp_path / "image.png")
    Image.fromarray(pixels[..., 0] // 200).save(tmp_path / "labels.png")
    thing = {
        "bbox": [10, 20, 30, 20],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": [[10, 20, 40, 20, 40, 40, 10, 40]],
        "keypoints": [12, 22, 2, 38, 38, 2],
    }
    return {
        "file_name": str(tmp_path / "image.png"),
        "image_id": 7,
        "height": 60,
        "width": 80,
        "annotations": [thing, thing | {"iscrowd": 1}],
    }


def mapper(**changes):
    settings = {
        "augmentations": [T.ResizeShortestEdge(120), T.RandomFlip(1.0)],
        "image_format": "BGR",
        "use_instance_mask": True,
        "use_keypoint": True,
        "keypoint_hflip_indices": np.array([1, 0]),
    }
    return DatasetMapper(True, **(settings | changes))


def test_image_and_objects_arrive_together(sample):
    made = mapper()(sample)
    assert made["image"].shape == (3, 120, 160)
    assert made["image"].dtype == torch.uint8
    assert made["image"].is_contiguous()
    assert made["image"][:, 60, 110].tolist() == [50, 100, 200]
    assert (made["image_id"], made["height"], made["width"]) == (7, 60, 80)
    things = made["instances"]
    assert things.image_size == (120, 160)
    np.testing.assert_allclose(things.gt_boxes.tensor, [[80, 40, 140, 80]])
    assert things.gt_classes.tolist() == [1]
    np.testing.assert_allclose(things.gt_keypoints.tensor[0, :, :2], [[84, 76], [136, 44]])
    assert "annotations" not in made


def test_the_dataset_dict_is_not_changed(sample):
    before = copy.deepcopy(sample)
    mapper()(sample)
    assert sample == before


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_the_mask_lies_on_the_bright_pixels(sample, mask_format):
    made = mapper(instance_mask_format=mask_format)(sample)
    masks = made["instances"].gt_masks
    if mask_format == "polygon":
        masks = BitMasks.from_polygon_masks(masks, 120, 160)
    bright = made["image"][2] > 100
    assert (masks.tensor[0] == bright).float().mean() > 0.99


def test_masks_and_points_that_are_not_used_are_left_out(sample):
    things = mapper(use_instance_mask=False, use_keypoint=False)(sample)["instances"]
    assert set(things.get_fields()) == {"gt_boxes", "gt_classes"}


def test_labels_follow_the_image(sample):
    sample["sem_seg_file_name"] = sample["file_name"].replace("image.png", "labels.png")
    made = mapper()(sample)
    assert made["sem_seg"].dtype == torch.int64
    assert ((made["sem_seg"] == 1) == (made["image"][2] > 100)).float().mean() > 0.99


@pytest.mark.parametrize("kind", ["palette", "16 bit", "colour", "one bit"])
def test_labels_of_every_kind_of_file_keep_their_numbers(sample, tmp_path, kind):
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 10:40] = {"colour": 7, "one bit": 1}.get(kind, 200)
    image = Image.fromarray(labels)
    if kind == "palette":
        image = Image.frombytes("P", (80, 60), labels.tobytes())
        image.putpalette([255, 0, 0] * 256)
    elif kind == "16 bit":
        image = Image.fromarray(labels.astype(np.uint16) * 5)
    elif kind == "colour":
        image = image.convert("RGB")
    elif kind == "one bit":
        image = Image.fromarray(labels.astype(bool))
    image.save(tmp_path / "kind.png")
    made = mapper(augmentations=[])(sample | {"sem_seg_file_name": str(tmp_path / "kind.png")})
    expected = labels.astype(int) * (5 if kind == "16 bit" else 1)
    np.testing.assert_array_equal(made["sem_seg"], expected)


def test_testing_leaves_the_truth_out(sample):
    test_mapper = DatasetMapper(False, augmentations=[T.ResizeShortestEdge(30)], image_format="L")
    made = test_mapper(sample | {"sem_seg_file_name": "not read"})
    assert made["image"].shape == (1, 30, 40)
    assert not {"instances", "annotations", "sem_seg", "sem_seg_file_name"} & made.keys()


@pytest.mark.parametrize(
    ("mask_format", "kind"), [("polygon", PolygonMasks), ("bitmask", BitMasks)]
)
def test_an_image_without_objects_has_all_fields_and_no_rows(sample, mask_format, kind):
    made = mapper(instance_mask_format=mask_format)(sample | {"annotations": []})
    things = made["instances"]
    assert len(things) == 0
    assert isinstance(things.gt_masks, kind)
    assert things.gt_keypoints.tensor.shape == (0, 2, 3)


def test_an_object_that_a_crop_cut_away_is_dropped(sample):
    made = mapper(augmentations=[T.CropTransform(50, 0, 30, 60)])(sample)
    assert len(made["instances"]) == 0


def test_boxes_are_drawn_anew_around_masks_if_asked(sample):
    sample["annotations"][0]["bbox"] = [5, 15, 50, 40]
    kept = mapper(augmentations=[])(sample)["instances"].gt_boxes.tensor
    anew = mapper(augmentations=[], recompute_boxes=True)(sample)["instances"].gt_boxes.tensor
    np.testing.assert_allclose(kept, [[5, 15, 55, 55]])
    np.testing.assert_allclose(anew, [[10, 20, 40, 40]])


def test_stored_proposals_follow_the_image(sample):
    sample |= {
        "proposal_boxes": np.array([[10, 20, 40, 40], [0, 0, 5, 5]]),
        "proposal_bbox_mode": BoxMode.XYXY_ABS,
        "proposal_objectness_logits": np.array([2.0, 1]),
    }
    proposals = mapper(precomputed_proposal_topk=1)(sample)["proposals"]
    np.testing.assert_allclose(proposals.proposal_boxes.tensor, [[80, 40, 140, 80]])


def test_augmentations_can_look_at_the_boxes(sample):
    crop = mapper(augmentations=[T.MinIoURandomCrop(min_ious=(0.5,), min_crop_size=0.5)])
    np.random.seed(0)
    sizes = {tuple(crop(sample)["image"].shape) for _ in range(10)}
    assert len(sizes) > 1


def test_the_same_key_gives_the_same_sample(sample):
    random_mapper = mapper(
        augmentations=[T.RandomCrop("relative_range", (0.3, 0.3)), T.RandomFlip()]
    )
    made = []
    for _ in range(2):
        with keyed_draws(123):
            made.append(random_mapper(sample))
    assert torch.equal(made[0]["image"], made[1]["image"])


@pytest.mark.parametrize("wrap", [T.AugmentationList, tuple])
def test_other_augmentations_can_be_set_afterwards(sample, wrap):
    """As code for detectron2 does it."""
    built = mapper()
    assert [type(step) for step in built.augmentations.augs] == [T.ResizeShortestEdge, T.RandomFlip]
    built.augmentations = wrap([T.ResizeShortestEdge(30)])
    made = built(sample)
    assert made["image"].shape == (3, 30, 40)
    assert made["instances"].gt_boxes.tensor.tolist() == [[5, 10, 20, 20]]


def test_recomputed_boxes_without_masks_are_refused():
    with pytest.raises(ConfigError, match=r"MODEL\.MASK_ON"):
        mapper(use_instance_mask=False, recompute_boxes=True)


def test_an_unknown_mask_format_is_refused_at_once():
    with pytest.raises(ConfigError, match=r"INPUT\.MASK_FORMAT"):
        mapper(instance_mask_format="rle")


# ------------------------------------------------------------------ from a configuration
def test_the_default_configuration_resizes_and_flips():
    cfg = get_cfg()
    resize, flip = build_augmentation(cfg, True)
    assert (tuple(resize.short_edge_length), resize.max_size) == ((800,), 1333)
    assert flip.horizontal
    (resize,) = build_augmentation(cfg, False)
    assert tuple(resize.short_edge_length) == (800, 800)


@pytest.mark.parametrize(("value", "number"), [("none", 1), ("horizontal", 2), ("vertical", 2)])
def test_the_flip_follows_its_key(value, number):
    cfg = get_cfg()
    cfg.INPUT.RANDOM_FLIP = value
    assert len(build_augmentation(cfg, True)) == number


def test_an_unknown_flip_is_refused():
    cfg = get_cfg()
    cfg.INPUT.RANDOM_FLIP = "sideways"
    with pytest.raises(ConfigError, match=r"INPUT\.RANDOM_FLIP is 'sideways'"):
        build_augmentation(cfg, True)


def test_a_mapper_is_built_from_a_configuration():
    MetadataCatalog.get("h5_people").set(
        keypoint_names=["left", "right"], keypoint_flip_map=[("left", "right")]
    )
    try:
        cfg = get_cfg()
        cfg.INPUT.CROP.ENABLED = True
        cfg.INPUT.MASK_FORMAT = "bitmask"
        cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = cfg.MODEL.LOAD_PROPOSALS = True
        cfg.DATASETS.TRAIN = ("h5_people",)
        built = DatasetMapper(cfg, True)
    finally:
        MetadataCatalog.pop("h5_people")
    assert isinstance(built.augmentations.augs[0], T.RandomCrop)
    assert built.recompute_boxes
    assert built.keypoint_hflip_indices.tolist() == [1, 0]
    assert built.proposal_topk == cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN
    assert built.instance_mask_format == "bitmask"
    assert not DatasetMapper(get_cfg(), is_train=False).is_train


def test_dict_without_a_file_name_is_refused_with_what_it_has():
    """A KeyError as before, for code that catches it, but with a message."""
    with pytest.raises(KeyError, match="no 'file_name'") as caught:
        mapper()({"image_id": 3, "height": 5})
    assert isinstance(caught.value, UserError)
    assert "image_id, height" in str(caught.value)


def test_objects_without_keypoints_have_unlabelled_ones(sample):
    """Others of the set have them; the losses skip what is not labelled."""
    for obj in sample["annotations"]:
        del obj["keypoints"]
    things = mapper()(sample)["instances"]
    assert things.gt_keypoints.tensor.shape == (1, 2, 3)
    assert not things.gt_keypoints.tensor.any()
