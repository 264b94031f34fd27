"""Mosaic, MixUp and CopyPaste: labels follow the pixels, samples follow from the position."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lite.config import get_cfg
from d2lite.data import DatasetMapper, build_detection_train_loader
from d2lite.data import transforms as T
from d2lite.data.augmenting.copy_paste import CopyPaste
from d2lite.data.augmenting.labelled_image import LabelledImage
from d2lite.data.augmenting.mixing import (
    MixingAugmentation,
    PartnerSource,
    WholeImageAugmentation,
    fit_into,
)
from d2lite.data.augmenting.mixup import MixUp
from d2lite.data.augmenting.mosaic import Mosaic
from d2lite.data.augmenting.parsing import read_augmentation
from d2lite.data.augmenting.whole_image_steps import WholeImageSteps
from d2lite.data.samplers import RandomSubsetTrainingSampler, RepeatFactorTrainingSampler
from d2lite.data.samplers.stream import RepeatOrder
from d2lite.utils.errors import ConfigError, DataError
from d2lite.utils.keyed_rng import at_position, keyed_draws
from tests.data import figures

FEW = settings(max_examples=40, deadline=None)
FLIP = np.array([1, 0])


def read(record):
    return LabelledImage(
        figures.read(record["file_name"]),
        [dict(a) for a in record["annotations"]],
        figures.read(record["sem_seg_file_name"]).astype(np.int32),
        hflip_indices=FLIP,
    )


def run(texts, key, *, rle=False, first=None, size=figures.COUNT):
    """An image after some steps, and its objects too."""
    records = [figures.record(i, rle=rle) for i in range(size)]
    steps = WholeImageSteps([read_augmentation(text) for text in texts])
    steps = steps.with_partners(records, None)
    with keyed_draws(key):
        labelled, to_do = steps(read(records[key % size if first is None else first]), read)
        labelled.carry_objects(to_do)
    return labelled


@FEW
@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.sampled_from(
        [
            ["Mosaic(size=(80, 90), min_visible=0, fill=0)"],
            ["CopyPaste(share=0.7, prob=1)"],
            ["RandomFlip", "CopyPaste(prob=1)"],
            ["Mosaic(size=(120, 100), scale=(0.5, 1), min_visible=0, fill=0)", "CopyPaste(prob=1)"],
            ["RandomCrop('relative', (0.7, 0.8))", "CopyPaste(share=1, prob=1)", "RandomFlip"],
            ["Mosaic(size=(90, 120), min_visible=0, fill=0)", "RandomFlip(prob=1)"],
        ]
    ),
)
def test_objects_lie_on_their_pixels_after_mixing(key, rle, texts):
    figures.check(run(texts, key, rle=rle))


def test_a_mosaic_shows_four_pictures_around_a_point():
    labelled = run(["Mosaic(size=(200, 240), scale=(1, 1), centre=(0.5, 0.5), fill=9)"], 3)
    assert labelled.size == (200, 240)
    numbers = {(a["colour"][0] - 50) // 40 for a in labelled.annotations}
    assert len(numbers) >= 2
    assert (labelled.image == 9).any()
    unknown = labelled.image.astype(int).sum(axis=2) == 27
    assert set(np.unique(labelled.sem_seg[figures.shrunk(unknown)])) <= {figures.IGNORED}


def test_a_mosaic_drops_what_is_hardly_seen():
    counts = [
        len(run([f"Mosaic(size=(60, 60), scale=(2, 2), min_visible={share})"], 7).annotations)
        for share in (0, 0.99)
    ]
    assert counts[0] > counts[1]


@FEW
@given(st.integers(0, 10**6))
def test_a_blend_is_the_weighted_sum_and_holds_the_objects_of_both(key):
    plain = read(figures.record(1))
    partner = read(figures.record(3))
    with keyed_draws(key):
        mixed = MixUp(prob=1).mix(read(figures.record(1)), lambda: partner)
        np.random.seed(0)
    with keyed_draws(key):
        weight = np.random.beta(32, 32)
    expected = plain.image * weight + partner.image * (1 - weight)
    assert np.abs(mixed.image - expected).max() <= 0.5 + 1e-4
    assert len(mixed.annotations) == len(plain.annotations) + len(partner.annotations)
    same = plain.sem_seg == partner.sem_seg
    assert np.array_equal(mixed.sem_seg[same], plain.sem_seg[same])
    assert (mixed.sem_seg[~same] == figures.IGNORED).all()
    assert np.array_equal(plain.image, figures.read("figures://1")), "the input was changed"


def test_pasting_takes_from_the_objects_below_what_is_hidden():
    below = LabelledImage(
        np.full((20, 20, 3), 10, np.uint8),
        [
            {"category_id": 0, "bbox": [0, 0, 10, 20], "bbox_mode": 0,
             "segmentation": [[0, 0, 10, 0, 10, 20, 0, 20]],
             "keypoints": [2, 2, 2, 8, 15, 2]},
            {"category_id": 1, "bbox": [8, 12, 10, 14], "bbox_mode": 0,
             "segmentation": [[8, 12, 10, 12, 10, 14, 8, 14]]},
            {"category_id": 2, "bbox": [8, 12, 10, 14], "bbox_mode": 0},
            {"category_id": 2, "bbox": [12, 0, 20, 8], "bbox_mode": 0},
        ],
    )  # fmt: skip
    above = LabelledImage(
        np.full((20, 20, 3), 200, np.uint8),
        [
            {"category_id": 3, "bbox": [0, 10, 20, 20], "bbox_mode": 0,
             "segmentation": [[0, 10, 20, 10, 20, 20, 0, 20]]},
            {"category_id": 4, "bbox": [0, 0, 5, 5], "bbox_mode": 0},
        ],
    )  # fmt: skip
    mixed = CopyPaste(share=1, prob=1).mix(below, lambda: above)
    assert (mixed.image[:10] == 10).all()
    assert (mixed.image[10:] == 200).all()
    left, untouched, pasted = mixed.annotations
    assert [a["category_id"] for a in mixed.annotations] == [0, 2, 3]
    assert left["bbox"] == [0, 0, 10, 10]
    assert left["segmentation"].sum() == 100
    assert left["keypoints"][:, 2].tolist() == [2, 1]
    assert untouched["bbox"] == [12, 0, 20, 8]
    assert np.asarray(pasted["bbox"]).tolist() == [0, 10, 20, 20]


def test_a_blurred_edge_changes_only_pixels_near_the_cut():
    sharp, soft = (run([f"CopyPaste(share=1, prob=1, edge_blur={b})"], 4) for b in (0, 1.5))
    differs = (sharp.image != soft.image).any(axis=2)
    assert differs.any()
    assert sharp.annotations[-1]["category_id"] == soft.annotations[-1]["category_id"]
    assert not shrink_of_everything(differs).any()


def shrink_of_everything(mask):
    return figures.shrunk(mask, 7)


def test_an_image_without_objects_mixes_like_any_other():
    image = np.zeros((20, 30, 3), np.uint8)
    for text in ("Mosaic(size=(50, 50))", "MixUp(prob=1)", "CopyPaste(prob=1)"):
        steps = WholeImageSteps([read_augmentation(text)]).with_partners([{}], None)
        made, _ = steps(LabelledImage(image, []), lambda record: LabelledImage(image, []))
        assert made.annotations == []


def test_a_grey_image_and_one_of_five_channels_mix():
    for shape in ((20, 30), (20, 30, 1), (20, 30, 5)):
        for text in ("Mosaic(size=(50, 40))", "MixUp(prob=1)", "CopyPaste(edge_blur=1, prob=1)"):
            image = np.zeros(shape, np.uint8)
            steps = WholeImageSteps([read_augmentation(text)]).with_partners([{}], None)
            anno = {"category_id": 0, "bbox": [1, 1, 9, 9], "bbox_mode": 0,
                    "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]]}  # fmt: skip
            made, _ = steps(
                LabelledImage(image, [anno]), lambda _, i=image, a=anno: LabelledImage(i, [a])
            )
            assert made.image.shape[2:] == shape[2:]
            assert made.image.dtype == np.uint8


def test_partners_of_another_size_are_cut_or_laid_inside():
    large = LabelledImage(np.arange(60, dtype=np.uint8).reshape(6, 10))
    with keyed_draws(1):
        part, x0, y0 = fit_into(large, (8, 4))
    assert part.size == (6, 4)
    assert (x0, 0 <= y0 <= 2) == (0, True)
    assert part.image[0, 1] - part.image[0, 0] == 1


# ------------------------------------------------------------------ the stream
def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(
        ["SEED", 3, "INPUT.FORMAT", "RGB", "SOLVER.IMS_PER_BATCH", 3, "INPUT.RANDOM_FLIP", "none",
         "INPUT.MIN_SIZE_TRAIN", (64,), "MODEL.MASK_ON", True, "INPUT.MASK_FORMAT", "bitmask",
         "SOLVER.MAX_ITER", 10, "DATALOADER.FILTER_EMPTY_ANNOTATIONS", False, *options]
    )  # fmt: skip
    return cfg


STEPS = ("INPUT.AUGMENTATIONS",
         ["Mosaic(size=(80, 80), prob=0.7)", "RandomAffine", "MixUp", "CopyPaste",
          "RandAugment", "Default"])  # fmt: skip


def records(**options):
    return [figures.record(i, **options) for i in range(figures.COUNT)]


def batches(cfg, count, *, start=0, workers=0, data=None, **options):
    loader = build_detection_train_loader(
        cfg, dataset=records() if data is None else data, num_workers=workers, **options
    )
    loader.seek(start)
    return [batch for batch, _ in zip(loader, range(count), strict=False)]


def told(batch):
    """What a batch holds, in a form that compares."""
    return [
        (
            s["file_name"],
            s["image"].numpy().tobytes(),
            s["sem_seg"].numpy().tobytes(),
            s["instances"].gt_boxes.tensor.numpy().tobytes(),
            s["instances"].gt_masks.tensor.numpy().tobytes(),
            s["draw_key"],
        )
        for s in batch
    ]


def test_mixed_samples_follow_from_the_position_for_any_workers_and_after_a_resume():
    cfg = config(*STEPS)
    whole = list(map(told, batches(cfg, 5)))
    assert list(map(told, batches(cfg, 5, workers=2))) == whole
    assert list(map(told, batches(cfg, 2, start=3))) == whole[3:]
    assert len({sample[1] for batch in whole for sample in batch}) == 15


def test_batches_of_two_processes_make_up_those_of_one(as_rank):
    cfg = config(*STEPS, "SOLVER.IMS_PER_BATCH", 4)
    whole = list(map(told, batches(cfg, 2)))
    halves = []
    for rank in range(2):
        as_rank(rank, 2)
        halves.append(list(map(told, batches(cfg, 2))))
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_mixing_ends_before_the_last_iterations_by_position_alone():
    cfg = config(
        "INPUT.AUGMENTATIONS", ["Mosaic(size=(50, 70))", "Resize(shape=(40, 40))"],
        "INPUT.MIXING_OFF_LAST_ITERS", 4, "DATALOADER.ASPECT_RATIO_GROUPING", False,
    )  # fmt: skip
    plain = config("INPUT.AUGMENTATIONS", ["Resize(shape=(40, 40))"])
    mixed, alone = batches(cfg, 8), batches(plain, 8)
    equal = [
        all(torch.equal(a["image"], b["image"]) for a, b in zip(x, y, strict=True))
        for x, y in zip(mixed, alone, strict=True)
    ]
    assert equal == [False] * 6 + [True] * 2
    assert told(batches(cfg, 1, start=6)[0]) == told(mixed[6])


def test_partners_come_from_the_samplers_subset():
    sampler = RandomSubsetTrainingSampler(5, 0.4, seed_shuffle=1, seed_subset=2)
    chosen = set(sampler.order.epoch(0).tolist())
    source = PartnerSource(list(range(5)), sampler.order)
    drawn = set()
    for position in range(40):
        with keyed_draws(position), at_position(position):
            drawn.add(source.draw())
    assert drawn == chosen
    assert len(chosen) == 2


def test_partners_are_drawn_as_often_as_the_sampler_repeats_them():
    source = PartnerSource(["rare", "common"], RepeatOrder(np.array([3.0, 1.0]), seed=0))
    with keyed_draws(0):
        drawn = [source.draw() for _ in range(400)]
    assert 270 <= drawn.count("rare") <= 330
    assert isinstance(RepeatFactorTrainingSampler(torch.ones(2), seed=0).order, RepeatOrder)


def test_a_bad_partner_is_replaced_and_not_held_against_the_image_that_drew_it():
    data = records()
    data[2]["file_name"] = "figures://gone.png"
    cfg = config(*STEPS, "DATALOADER.MAX_BAD_SHARE", 0.3)
    loader = build_detection_train_loader(cfg, dataset=data, num_workers=0)
    for batch, _ in zip(loader, range(12), strict=False):
        assert len(batch) == 3
    assert set(loader.bad_images) <= {2}


def test_images_that_are_all_bad_are_reported():
    steps = WholeImageSteps([Mosaic()]).with_partners([{}], None)

    def fail(record):
        raise DataError("cannot be read")

    with pytest.raises(DataError, match="cannot be read"):
        steps(LabelledImage(np.zeros((4, 4, 3), np.uint8)), fail)


def test_a_mapper_that_knows_no_other_pictures_says_what_to_do():
    mapper = DatasetMapper(config("INPUT.AUGMENTATIONS", ["MixUp(prob=1)"]), True)
    assert mapper.needs_partners
    with pytest.raises(ConfigError, match=r"with_partners\(dataset\)"):
        mapper(figures.record(0))
    assert mapper.with_partners(records())(figures.record(0))["image"].shape == (3, 72, 96)


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
@pytest.mark.parametrize("with_masks", [False, True])
def test_the_model_gets_boxes_of_what_is_seen(mask_format, with_masks):
    cfg = config(
        "INPUT.AUGMENTATIONS", ["Mosaic(size=(80, 90), fill=0)"], "INPUT.MASK_FORMAT", mask_format,
        "MODEL.MASK_ON", with_masks, "MODEL.KEYPOINT_ON", False,
    )  # fmt: skip
    found = 0
    for batch in batches(cfg, 4):
        for sample in batch:
            things = sample["instances"]
            assert things.has("gt_masks") == with_masks
            found += len(things)
            boxes = things.gt_boxes.tensor
            assert (boxes >= 0).all()
            assert (boxes <= torch.tensor([90.0, 80, 90, 80])).all()
    assert found > 10


def test_partners_are_drawn_one_at_a_time():
    """No more images than needed are alive: the one being laid, and the canvas."""
    alive = []

    class Counted(WholeImageAugmentation):
        needs_partners = True

        def __call__(self, labelled, draw_partner):
            alive.extend(draw_partner().size for _ in range(3))
            return labelled

    steps = WholeImageSteps([T.Resize((10, 12)), Counted()]).with_partners(records(), None)
    steps(read(figures.record(0)), read)
    assert alive == [(10, 12)] * 3


# ------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mosaic(size=(1, 50)), "height and a width of 2"),
        (lambda: Mosaic(scale=(0, 1)), "above 0"),
        (lambda: Mosaic(centre=(0.5, 1.2)), "from 0 to 1"),
        (lambda: Mosaic(prob=1.5), "not a probability"),
        (lambda: MixUp(alpha=0), "above 0"),
        (lambda: CopyPaste(share=2), "from 0 to 1"),
        (lambda: CopyPaste(edge_blur=-1), "0 or more"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_base_classes_say_what_a_subclass_must_write():
    labelled = LabelledImage(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(
        NotImplementedError, match="WholeImageAugmentation does not define __call__"
    ):
        WholeImageAugmentation()(labelled, lambda: labelled)
    with pytest.raises(NotImplementedError, match="does not define mix"):
        MixingAugmentation(1.0)(labelled, lambda: labelled)


def sizes(made):
    return [{tuple(sample["image"].shape[1:]) for sample in batch} for batch in made]


def test_one_size_is_drawn_for_all_images_of_a_batch_and_again_after_a_resume():
    shapes = [(32, 32), (40, 40), (48, 48)]
    keys = ["INPUT.AUGMENTATIONS", ["RandomFlip", f"RandomResize({shapes})"]]
    keys += ["DATALOADER.ASPECT_RATIO_GROUPING", False]
    cfg = config(*keys, "INPUT.SIZE_BY_BATCH", True)
    whole = batches(cfg, 12)
    assert all(len(of_batch) == 1 for of_batch in sizes(whole))
    assert set.union(*sizes(whole)) == set(shapes)
    assert list(map(told, batches(cfg, 4, start=8, workers=2))) == list(map(told, whole[8:]))
    alone = batches(config(*keys), 12)
    assert any(len(of_batch) > 1 for of_batch in sizes(alone))


def test_strong_steps_end_with_the_mixing_ones_or_alone():
    plain = ["Resize(shape=(40, 40))"]
    strong = ["RandomBrightness(0.5, 0.6)", "RandomFlip(prob=1.0)"]
    off = ["RandomBrightness"]
    for first in ([], ["Mosaic(size=(50, 70))"]):
        cfg = config(
            "INPUT.AUGMENTATIONS", [*first, *strong, *plain],
            "INPUT.MIXING_OFF_LAST_ITERS", 4,
            "INPUT.OFF_WITH_MIXING", off,
            "DATALOADER.ASPECT_RATIO_GROUPING", False,
        )  # fmt: skip
        weak = config("INPUT.AUGMENTATIONS", [strong[1], *plain])
        equal = [
            all(torch.equal(a["image"], b["image"]) for a, b in zip(x, y, strict=True))
            for x, y in zip(batches(cfg, 8), batches(weak, 8), strict=True)
        ]
        assert equal == [False] * 6 + [True] * 2


def test_the_end_may_be_given_in_epochs():
    """Five images in batches of three: an epoch has 5/3 iterations."""
    cfg = config(
        "INPUT.AUGMENTATIONS", ["MixUp"],
        "SOLVER.MAX_EPOCHS", 6.0, "SOLVER.IMS_PER_BATCH", 5,
        "INPUT.MIXING_OFF_LAST_EPOCHS", 2.0,
    )  # fmt: skip
    mapper = DatasetMapper(cfg, True).with_partners(list(range(5)))
    assert mapper.steps.mixing_ends_at == 4 * 5


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["INPUT.SIZE_BY_BATCH", True], "ASPECT_RATIO_GROUPING would exchange"),
        (
            [
                "INPUT.SIZE_BY_BATCH", True, "DATALOADER.ASPECT_RATIO_GROUPING", False,
                "INPUT.AUGMENTATIONS", ["Resize(shape=(8, 8))"],
            ],
            "has no RandomResize or ResizeShortestEdge",
        ),
        (["INPUT.OFF_WITH_MIXING", ["ResizeShortestEdge"]], "but not when"),
        (
            ["INPUT.OFF_WITH_MIXING", ["RandomFlop"], "INPUT.MIXING_OFF_LAST_ITERS", 2],
            "names RandomFlop, which INPUT.AUGMENTATIONS does not have; it has Resize",
        ),
        (
            ["INPUT.MIXING_OFF_LAST_EPOCHS", -1.0, "INPUT.AUGMENTATIONS", ["MixUp"]],
            "must be 0 or more",
        ),
    ],
)  # fmt: skip
def test_ends_and_sizes_that_make_no_sense_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        DatasetMapper(config(*keys), True)
