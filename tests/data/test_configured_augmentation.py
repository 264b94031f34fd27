"""Augmentations that keys switch on, and what they do to images and objects."""

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.config import get_cfg
from d2lite.data import DatasetMapper
from d2lite.data import transforms as T
from d2lite.data.augmenting.parsing import AUGMENTATION_REGISTRY
from d2lite.data.dataset_mapper import build_augmentation
from d2lite.structures import BoxMode
from d2lite.utils.errors import ConfigError, UnknownNameError
from d2lite.utils.keyed_rng import keyed_draws


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    return cfg


@pytest.fixture
def record(tmp_path):
    """A white rectangle on black, with its box and polygon."""
    pixels = np.zeros((60, 80, 3), dtype=np.uint8)
    pixels[15:40, 20:50] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    polygon = [20, 15, 50, 15, 50, 40, 20, 40]
    obj = {
        "category_id": 0,
        "bbox": [20, 15, 50, 40],
        "bbox_mode": BoxMode.XYXY_ABS,
        "segmentation": [polygon],
    }
    return {"file_name": str(tmp_path / "a.png"), "height": 60, "width": 80, "annotations": [obj]}


def kinds(cfg, is_train=True):
    return [type(a).__name__ for a in build_augmentation(cfg, is_train)]


JITTER = (
    "INPUT.AUG.LARGE_SCALE_JITTER.ENABLED", True,
    "INPUT.AUG.LARGE_SCALE_JITTER.SIZE", (96, 64),
    "INPUT.AUG.LARGE_SCALE_JITTER.SCALE", (0.5, 3.0),
)  # fmt: skip
COLOUR = ("INPUT.AUG.PHOTOMETRIC.ENABLED", True)
CROP = ("INPUT.AUG.MIN_IOU_CROP.ENABLED", True)


def test_all_keys_are_off_by_default_and_in_tests():
    assert kinds(config()) == ["ResizeShortestEdge", "RandomFlip"]
    everything = config(*JITTER, *COLOUR, *CROP)
    assert kinds(everything) == [
        "MinIoURandomCrop", "ResizeScale", "PhotometricDistortion", "FixedSizeCrop", "RandomFlip",
    ]  # fmt: skip
    assert kinds(everything, is_train=False) == ["ResizeShortestEdge"]


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize("options", [JITTER, CROP, JITTER + CROP])
def test_boxes_and_masks_stay_on_the_pixels(record, options, with_masks):
    """Whatever was drawn: the white pixels are where the box says."""
    size = ("INPUT.MIN_SIZE_TRAIN", (60,), "MODEL.MASK_ON", with_masks)
    mapper = DatasetMapper(config(*options, *size), True)
    assert mapper.recompute_boxes == with_masks
    shapes = set()
    for key in range(30):
        with keyed_draws(key):
            sample = mapper(record)
        shapes.add(tuple(sample["image"].shape[1:]))
        rows, columns = np.nonzero((sample["image"][0] > 127).numpy())
        instances = sample["instances"]
        if len(instances) and len(rows):
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            box = instances.gt_boxes.tensor[0].numpy()
            np.testing.assert_allclose(box, seen, atol=3)
    if "INPUT.AUG.LARGE_SCALE_JITTER.ENABLED" in options:
        assert max(h for h, _ in shapes) <= 96
        assert max(w for _, w in shapes) == 64
        assert len(shapes) > 5


def test_samples_are_the_same_for_the_same_draws(record):
    mapper = DatasetMapper(config(*JITTER, *COLOUR, *CROP), True)
    samples = []
    for _ in range(2):
        with keyed_draws(5):
            samples.append(mapper(record)["image"])
    assert torch.equal(*samples)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)


def test_distortion_keeps_shape_and_type_and_moves_nothing(photo):
    augmentation = T.PhotometricDistortion()
    results = [augmentation.get_transform(photo) for _ in range(20)]
    images = [t.apply_image(photo) for t in results]
    assert all(i.dtype == np.uint8 and i.shape == photo.shape for i in images)
    assert len({i.tobytes() for i in images}) > 5
    box = np.array([[1.0, 2, 5, 6]])
    assert np.array_equal(results[0].apply_box(box), box)


def test_ranges_of_nothing_change_nothing(photo):
    still = T.PhotometricDistortion(0, (1, 1), (1, 1), 0)
    for _ in range(10):
        assert np.array_equal(still.get_transform(photo).apply_image(photo), photo)


def test_each_range_does_what_it_says(photo):
    def all_of(**ranges):
        none = {"brightness": 0, "contrast": (1, 1), "saturation": (1, 1), "hue": 0}
        made = T.PhotometricDistortion(**{**none, **ranges})
        images = (made.get_transform(photo).apply_image(photo) for _ in range(40))
        return [i.astype(int) for i in images if not np.array_equal(i, photo)]

    plain = photo.astype(int)
    darker = all_of(contrast=(0.5, 0.5))
    assert all(np.abs(i - plain / 2).max() <= 0.5 for i in darker)
    assert 8 < len(darker) < 32
    grey = all_of(saturation=(0, 0))[0]
    assert np.abs(grey - plain.max(axis=2, keepdims=True)).max() <= 1
    for image in all_of(brightness=20):
        inner = (plain > 20) & (plain < 235)
        assert np.ptp((image - plain)[inner]) <= 1
        assert np.abs(image - plain).max() <= 20
    for image in all_of(hue=120):
        # A turn keeps the brightest and the darkest channel of each pixel.
        assert np.abs(image.max(axis=2) - plain.max(axis=2)).max() <= 1
        assert np.abs(image.min(axis=2) - plain.min(axis=2)).max() <= 1


def test_distortions_that_make_no_sense_are_refused(photo):
    with pytest.raises(ValueError, match="least and greatest"):
        T.PhotometricDistortion(contrast=(1.5, 0.5))
    with pytest.raises(ValueError, match="0 or more"):
        T.PhotometricDistortion(hue=-1)
    with pytest.raises(ValueError, match="colour image"):
        T.PhotometricDistortion().get_transform(photo[:, :, 0])
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT RGB or BGR, found 'L'"):
        build_augmentation(config(*COLOUR, "INPUT.FORMAT", "L"), True)
    with pytest.raises(ConfigError, match=r"INPUT\.AUG\.PHOTOMETRIC: brightness -1"):
        build_augmentation(config(*COLOUR, "INPUT.AUG.PHOTOMETRIC.BRIGHTNESS", -1.0), True)


# ------------------------------------------------------------------ INPUT.AUGMENTATIONS
def listed(*texts, extra=(), is_train=True):
    key = "INPUT.AUGMENTATIONS" if is_train else "INPUT.AUGMENTATIONS_TEST"
    return build_augmentation(config(key, list(texts), *extra), is_train)


EVERY = [
    "Albumentations(HorizontalFlip(p=0.5), OneOf([RandomGamma(p=1), Blur(p=1)], p=0.3))",
    "CopyPaste(share=0.5, prob=0.5)",
    "FixedSizeCrop(crop_size=(640, 640))",
    "MinIoURandomCrop()",
    "MixUp(alpha=32.0, prob=0.15)",
    "Mosaic(size=(640, 640), scale=(0.4, 1.0))",
    "PhotometricDistortion(hue=9)",
    "RandAugment(num_ops=2, magnitude=9)",
    "RandomAffine(angle=(-10, 10), fill=114)",
    "RandomApply(RandomRotation(angle=[-10, 10]), prob=0.3)",
    "RandomBrightness(0.5, 1.5)",
    "RandomChoice([RandomBrightness(0.5, 1.5), RandomContrast(0.5, 1.5)], weights=[1, 2])",
    "RandomContrast(0.5, 1.5)",
    "RandomCrop('relative_range', (0.5, 0.5))",
    "RandomCrop_CategoryAreaConstraint('absolute', (512, 512), 0.75, 255)",
    "RandomExtent(scale_range=(0.5, 1.2), shift_range=(0.3, 0.3))",
    "RandomFlip(horizontal=False, vertical=True)",
    "RandomLighting(25.5)",
    "RandomResize([(640, 640), (800, 800)])",
    "RandomRotation(angle=[0, 90, 180], sample_style='choice')",
    "RandomSaturation(0.5, 1.5)",
    "Resize(shape=(640, 640))",
    "ResizeScale(0.1, 2.0, 1024, 1024)",
    "ResizeShortestEdge([640, 800], 1333, 'range')",
]


@pytest.mark.parametrize("text", EVERY)
def test_every_augmentation_can_be_named(text):
    if text.startswith("Albu"):
        pytest.importorskip("albumentations")
    (made,) = listed(text, extra=("INPUT.MASK_FORMAT", "bitmask"))
    assert type(made).__name__ == text.partition("(")[0]


def test_the_registry_holds_no_more_and_no_less():
    names = {text.partition("(")[0] for text in EVERY} | {"AugmentationList"}
    assert {name for name, _ in AUGMENTATION_REGISTRY} == names


def test_default_stands_for_the_other_keys():
    names = [type(a).__name__ for a in listed("RandAugment", "Default", extra=COLOUR)]
    assert names == ["RandAugment", "ResizeShortestEdge", "PhotometricDistortion", "RandomFlip"]
    assert repr(listed("Default")) == repr(build_augmentation(config(), True))


def test_what_is_named_without_arguments_takes_them_from_the_other_keys():
    resize, crop = listed(
        "ResizeShortestEdge", "RandomCrop()",
        extra=("INPUT.MIN_SIZE_TRAIN", (320, 352), "INPUT.CROP.SIZE", [0.7, 0.6]),
    )  # fmt: skip
    assert (tuple(resize.short_edge_length), resize.max_size) == ((320, 352), 1333)
    assert list(crop.crop_size) == [0.7, 0.6]


def test_a_probability_wraps_what_has_none():
    (made,) = listed("RandomRotation(angle=9, prob=0.25)")
    assert (made.prob, type(made.aug).__name__) == (0.25, "RandomRotation")
    (flip,) = listed("RandomFlip(prob=0.25)")
    assert (type(flip).__name__, flip.prob) == ("RandomFlip", 0.25)


def test_the_list_survives_a_file_and_names_can_be_added(tmp_path):
    @AUGMENTATION_REGISTRY.register()
    class Mine(T.Augmentation):
        def get_transform(self, image):
            return T.NoOpTransform()

    cfg = config("INPUT.AUGMENTATIONS", "['RandomAffine(angle=(-5, 5))', 'Mine', 'Default']")
    (tmp_path / "a.yaml").write_text(cfg.dump())
    again = get_cfg()
    again.merge_from_file(str(tmp_path / "a.yaml"))
    AUGMENTATION_REGISTRY._obj_map.pop("Mine")
    assert again.INPUT.AUGMENTATIONS == cfg.INPUT.AUGMENTATIONS
    with pytest.raises(UnknownNameError, match="has nothing named 'Mine'"):
        build_augmentation(again, True)


def test_boxes_are_drawn_anew_where_objects_may_have_been_cut():
    def recomputes(*texts):
        cfg = config("INPUT.AUGMENTATIONS", list(texts), "MODEL.MASK_ON", True)
        return DatasetMapper(cfg, True).recompute_boxes

    assert not recomputes("Default", "RandomBrightness(0.9, 1.1)")
    assert recomputes("RandomRotation(9)")
    assert recomputes("Mosaic")
    assert recomputes("RandomChoice([RandomFlip(), RandomCrop('relative', (0.5, 0.5))])")
    assert recomputes("RandomApply(RandomAffine())")
    assert not recomputes("RandomApply(RandomFlip())")


def test_a_test_resizes_as_it_is_told(record):
    cfg = config("INPUT.AUGMENTATIONS_TEST", ["ResizeScale(1, 1, 90, 200)"])
    assert DatasetMapper(cfg, False)(record)["image"].shape == (3, 90, 120)
    assert kinds(config(), is_train=False) == kinds(
        config("INPUT.AUGMENTATIONS_TEST", ["Default"]), is_train=False
    )
    with pytest.raises(ConfigError, match=r"RandomFlip.*brought back.*TEST\.AUG"):
        listed("RandomFlip", is_train=False)
    with pytest.raises(ConfigError, match="has Mosaic"):
        listed("Mosaic", is_train=False)


@pytest.mark.parametrize(
    ("texts", "extra", "message"),
    [
        (["RandomFlip("], (), "cannot be read. Write a name with arguments"),
        (["RandomFlip(prob=2*3)"], (), "RandomFlip"),
        (["RandomFlip(**{})"], (), "write the arguments out"),
        (["RandomFlip(wrong=1)"], (), "unexpected keyword argument 'wrong'"),
        (["RandomAffine(scale=(0, 1))"], (), "least and greatest, above 0"),
        (["__import__('os').system('true')"], (), "INPUT.AUGMENTATIONS"),
        (["(1, 2)"], (), "is not an augmentation"),
        ([3], (), "texts are expected"),
        (["RandomApply(Mosaic())"], (), "Mosaic cannot stand inside RandomApply.*own prob"),
        (["RandomChoice([Mosaic(), RandomFlip()])"], (), "cannot stand inside RandomChoice"),
        (["RandomFlip"], COLOUR, r"INPUT\.AUG\.PHOTOMETRIC\.ENABLED is True.*Add 'Default'"),
        (["CopyPaste"], ("MODEL.MASK_ON", True), r"Set INPUT\.MASK_FORMAT bitmask"),
        (["Mosaic"], ("MODEL.LOAD_PROPOSALS", True), "Mosaic cannot carry stored proposals"),
        (["Default"], ("INPUT.MIXING_OFF_LAST_ITERS", 9), "mixes no images"),
        ([], ("INPUT.MIXING_OFF_LAST_ITERS", 9), "mixes no images"),
    ],
)  # fmt: skip
def test_lists_that_make_no_sense_are_refused(texts, extra, message):
    with pytest.raises(ConfigError, match=message):
        listed(*texts, extra=extra)


def test_an_unknown_name_lists_near_ones_and_a_negative_number_is_refused():
    with pytest.raises(UnknownNameError, match=r"(?s)'Mosiac'.*Known: Mosaic"):
        listed("Mosiac")
    with pytest.raises(ConfigError, match="must be 0 or more"):
        DatasetMapper(
            config("INPUT.MIXING_OFF_LAST_ITERS", -1, "INPUT.AUGMENTATIONS", ["MixUp"]), True
        )


def test_labels_above_a_byte_keep_their_ignored_class(record, tmp_path):
    Image.fromarray(np.full((60, 80), 7, np.uint8)).save(tmp_path / "labels.png")
    record["sem_seg_file_name"] = str(tmp_path / "labels.png")
    cfg = config(
        "INPUT.AUGMENTATIONS", ["RandomAffine(translate=(0.5, 0.5))"],
        "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", 65535,
    )  # fmt: skip
    assert set(DatasetMapper(cfg, True)(record)["sem_seg"].unique().tolist()) == {7, 65535}
