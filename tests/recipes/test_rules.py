"""Each rule of a recipe on facts that were made up for it."""

import dataclasses
import shlex

import numpy as np
import pytest

from d2lite.config import find_config_file, get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.projects import add_project_configs
from d2lite.recipes import (
    RECIPES,
    Facts,
    Memory,
    Setting,
    apply_setting,
    data_rules,
    explain,
    gather_facts,
    make_recipe,
    model_rules,
    schedule_rules,
)
from d2lite.recipes.keys import Keys
from tests.data.spec_files import picture


def facts(num_images=100, image=(480, 640), boxes=((60, 60),), **changes):
    """Images of one size, each with the same boxes."""
    count = len(boxes)
    made = Facts(
        np.tile(np.array(image, float), (num_images, 1)),
        np.tile(np.array(boxes, float), (num_images, 1)),
        np.repeat(np.arange(num_images), count),
        ("a", "b"),
        (num_images, num_images),
    )
    return dataclasses.replace(made, **changes)


def base(name="fast"):
    cfg = get_cfg()
    add_project_configs(cfg)
    cfg.merge_from_file(find_config_file(RECIPES[name]))
    return cfg


def keys(name="fast", **changes):
    cfg = base(name)
    made = Keys(cfg)
    for key, value in changes.items():
        cfg.derive(key.replace("__", "."), value, "a test")
    return made


def test_task_follows_from_what_the_objects_have():
    assert data_rules.task(facts(), keys(), "fast").keys == {"MODEL.MASK_ON": False}
    assert data_rules.task(facts(with_masks=1.0), keys(), "fast").keys["MODEL.MASK_ON"]
    some = data_rules.task(facts(with_masks=0.6), keys(), "fast")
    assert some.keys["MODEL.MASK_ON"] is False, "four of ten objects would be lost"
    bitmaps = data_rules.task(facts(with_masks=1.0, with_bitmaps=0.1), keys(), "fast")
    assert bitmaps.keys["INPUT.MASK_FORMAT"] == "bitmask"
    points = data_rules.task(facts(with_keypoints=1.0, num_keypoints=5), keys(), "fast").keys
    assert points["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS"] == 5
    assert len(points["TEST.KEYPOINT_OKS_SIGMAS"]) == 5
    rotated = data_rules.task(facts(rotated=1.0), keys(), "fast").keys
    assert rotated["MODEL.PROPOSAL_GENERATOR.NAME"] == "RRPN"
    given = keys()
    given.cfg.merge_from_list(["MODEL.MASK_ON", True], origin="command line")
    assert data_rules.task(facts(rotated=1.0, with_masks=1.0), given, "fast").value.endswith(
        "masks"
    )


@pytest.mark.parametrize(
    ("corners", "rotated"),
    [
        ([[30, 10, 50, 30, 40, 40, 20, 20]], 1.0),
        ([[10, 10, 50, 10, 50, 30, 10, 30]], 0.0),
        ([[30, 10, 50, 30, 20, 20, 40, 40]], 0.0),
        ([[30, 10, 50, 30, 40, 40, 30, 30, 20, 20]], 0.0),
    ],
    ids=["turned", "upright", "not a rectangle", "five corners"],
)
def test_four_corners_are_rotated_boxes(corners, rotated, tmp_path):
    """DOTA and YOLO OBB write them so; a folder of them was trained with masks."""
    record = {
        "file_name": str(picture(tmp_path / "a.jpg", size=(64, 64))),
        "image_id": 1, "height": 64, "width": 64,
        "annotations": [
            {"bbox": [10, 10, 50, 40], "bbox_mode": 0, "category_id": 0, "segmentation": corners}
        ],
    }  # fmt: skip
    DatasetCatalog.register("corners", lambda: [record])
    MetadataCatalog.get("corners").set(thing_classes=["boat"])
    try:
        assert gather_facts(["corners"], has_test=False).rotated == rotated
    finally:
        DatasetCatalog.remove("corners")
        MetadataCatalog.remove("corners")


@pytest.mark.parametrize("recipe", ["fast", "balanced"])
def test_keypoints_of_a_small_network_have_a_small_head(recipe):
    """The head of COCO's persons took nine tenths of each step on a CPU."""
    assert sum(keys(recipe)["MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS"]) <= 512


def test_few_objects_of_a_class_are_said_where_nothing_is_trained_before():
    few, many = facts(num_images=30), facts(num_images=50)
    hint = "15 objects a class are too few to learn from scratch"
    assert hint in model_rules.model_size(few, keys(), "fast").line()
    assert "too few" not in model_rules.model_size(many, keys(), "fast").line()
    assert "too few" not in model_rules.model_size(few, keys("accurate"), "accurate").line()


@pytest.mark.parametrize(
    ("box", "image", "recipe", "side"),
    [
        (20, (480, 640), "fast", 400),  # 20 of 480 pixels: 480 would be wanted
        (40, (480, 640), "fast", 240),
        (30, (480, 640), "fast", 320),
        (20, (480, 640), "balanced", 480),
        (200, (480, 640), "accurate", 480),
        (40, (128, 128), "fast", 128),  # never enlarged
        (4, (2000, 3000), "accurate", 800),
    ],
)
def test_image_size_makes_small_objects_large_enough(box, image, recipe, side):
    setting = data_rules.image_size(facts(image=image, boxes=[(box, box)]), keys(), recipe)
    assert setting.keys["INPUT.MIN_SIZE_TEST"] == side
    low, *_, high = setting.keys["INPUT.MIN_SIZE_TRAIN"]
    assert low < side < high
    assert setting.keys["INPUT.MAX_SIZE_TEST"] >= side * max(image) / min(image) - 16


def test_few_images_are_varied_more():
    few = data_rules.augmentation(facts(50), keys(), "fast").keys["INPUT.AUGMENTATIONS"]
    many = data_rules.augmentation(facts(5000), keys(), "fast").keys["INPUT.AUGMENTATIONS"]
    assert few[0] == many[0] == "Default"
    assert len(few) > len(many) == 1


def test_rare_classes_are_repeated_and_balanced_ones_are_not():
    assert data_rules.repeats(facts(), keys(), "fast") is None
    assert data_rules.repeats(facts(classes=("a",), images_of_class=(3,)), keys(), "fast") is None
    setting = data_rules.repeats(facts(images_of_class=(100, 4)), keys(), "fast")
    assert setting.keys["DATALOADER.SAMPLER_TRAIN"] == "RepeatFactorTrainingSampler"
    assert "b is in 4 images" in setting.evidence
    # A class that never occurs cannot be repeated.
    assert data_rules.repeats(facts(images_of_class=(100, 0)), keys(), "fast") is None


@pytest.mark.parametrize(
    ("cores", "processes", "count"), [(1, 1, 1), (2, 1, 1), (8, 1, 7), (64, 1, 8), (64, 8, 7)]
)
def test_workers_share_the_cores_that_training_leaves(cores, processes, count):
    setting = data_rules.workers(facts(cores=cores, processes=processes), keys(), "fast")
    assert setting.keys == {"DATALOADER.NUM_WORKERS": count}


def test_coverage_counts_boxes_with_a_fitting_anchor():
    boxes = np.array([(10.0, 10.0), (10.0, 40.0), (100.0, 100.0)])
    assert model_rules.coverage(boxes, [[10]], [[1.0]]) == pytest.approx(1 / 3)
    # A square of 20 covers 10 x 40 by 200 / 600.
    assert model_rules.coverage(boxes, [[10], [20]], [[1.0]]) == pytest.approx(1 / 3)
    assert model_rules.coverage(boxes, [[10, 100], [20]], [[1.0, 4.0]]) == 1


def test_anchors_are_left_where_they_fit_and_made_where_they_do_not():
    usual = facts(boxes=[(100, 100), (150, 150)])
    assert model_rules.anchors(usual, keys(INPUT__MIN_SIZE_TEST=240), "fast") is None
    long = facts(boxes=[(400, 100), (100, 400), (200, 40)])
    setting = model_rules.anchors(long, keys(INPUT__MIN_SIZE_TEST=240), "fast")
    sizes = setting.keys["MODEL.ANCHOR_GENERATOR.SIZES"]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)
    assert min(setting.keys["MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"][0]) < 1


def test_batch_follows_images_and_processes():
    def count(**changes):
        return schedule_rules.batch(facts(**changes), keys(), "fast").keys["SOLVER.IMS_PER_BATCH"]

    assert count() == 4
    assert count(num_images=3) == 3
    assert count(num_images=1) == 1
    assert count(processes=2) == 8


@pytest.mark.parametrize(
    ("gib", "processes", "images", "passes"),
    [
        # The model takes 3 GiB, the heaviest image 2.
        (80.0, 1, 16, 1),
        (80.0, 8, 16, 1),
        (80.0, 32, 32, 1),
        (20.0, 1, 8, 1),
        (12.0, 1, 4, 1),
        (10.0, 1, 4, 2),
        (6.0, 1, 4, 4),
        (6.0, 2, 8, 4),
        (2.0, 1, 4, 4),
    ],
)
def test_batch_of_a_gpu_is_what_its_memory_holds(gib, processes, images, passes):
    asked = []

    def measure(cfg, records, class_names):
        asked.append((cfg.INPUT.MIN_SIZE_TRAIN, records, class_names))
        return Memory(3.0, 2.0)

    used = keys(INPUT__MIN_SIZE_TRAIN=(800,))
    known = facts(
        gpu_memory=gib, processes=processes, heaviest=["large", "full"], measure_memory=measure
    )
    setting = schedule_rules.batch(known, used, "accurate")
    assert setting.keys["SOLVER.IMS_PER_BATCH"] == images
    assert setting.keys.get("SOLVER.ACCUMULATE_STEPS", 1) == passes
    assert asked == [((800,), ["large", "full"], ("a", "b"))]
    assert "2.00 GiB" in setting.evidence


def test_few_images_are_seen_more_often():
    def epochs(count):
        setting = schedule_rules.iterations(facts(count), keys(), "balanced")
        return setting.keys["SOLVER.MAX_ITER"] * 4 / count

    seen = [epochs(count) for count in (10, 100, 1000, 100000)]
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 12
    assert schedule_rules.iterations(facts(1), keys(), "fast").keys["SOLVER.MAX_ITER"] >= 100


def test_periods_fit_the_run_however_short_it_is():
    for count in (1, 10, 100, 5000, 500000):
        changes = schedule_rules.periods(facts(), keys(SOLVER__MAX_ITER=count), "fast").keys
        assert changes["SOLVER.WARMUP_ITERS"] <= max(count / 2, 0)
    assert changes["SOLVER.WARMUP_ITERS"] == 1000
    longer = keys("accurate", SOLVER__MAX_ITER=27000)
    steps = schedule_rules.periods(facts(), longer, "accurate").keys["SOLVER.STEPS"]
    assert steps == (21000, 25000), "a tenth of those of the published schedule"
    assert "SOLVER.STEPS" not in changes, "the rate of the fast recipe falls as a cosine"


def test_rate_follows_the_batch_by_the_rule_of_its_optimizer():
    adam = keys(SOLVER__IMS_PER_BATCH=16)
    assert schedule_rules.rate(facts(), adam, "fast").keys["SOLVER.BASE_LR"] == pytest.approx(0.002)
    sgd = keys("accurate", SOLVER__IMS_PER_BATCH=4)
    assert schedule_rules.rate(facts(), sgd, "accurate").keys["SOLVER.BASE_LR"] == 0.005


def test_patience_is_for_long_runs_with_something_to_evaluate_on():
    assert schedule_rules.evaluation(facts(), keys(SOLVER__MAX_ITER=500), "fast") is None
    long = keys(SOLVER__MAX_ITER=20000)
    assert schedule_rules.evaluation(facts(has_test=False), long, "fast") is None
    changes = schedule_rules.evaluation(facts(), long, "fast").keys
    assert changes["TEST.EVAL_PERIOD"] == 2000
    assert changes["SOLVER.BEST_CHECKPOINT.METRIC"] == "segm/AP"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_gives_a_config_whose_parts_fit(recipe):
    cfg = base(recipe)
    made = make_recipe(cfg, facts(), recipe)
    levels = len(cfg.MODEL.RPN.IN_FEATURES)
    assert len(cfg.MODEL.ANCHOR_GENERATOR.SIZES) in (1, levels)
    assert cfg.MODEL.MASK_ON is False
    assert cfg.SOLVER.WARMUP_ITERS < cfg.SOLVER.MAX_ITER
    assert len(explain(made).splitlines()) == len(made)


def test_what_the_user_has_set_wins_and_later_rules_follow_it():
    cfg = base()
    cfg.merge_from_list(["SOLVER.MAX_ITER", 40, "SOLVER.IMS_PER_BATCH", 16])
    made = make_recipe(cfg, facts(), "fast", pinned=["SOLVER.MAX_ITER", "SOLVER.IMS_PER_BATCH"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH) == (40, 16)
    assert cfg.SOLVER.WARMUP_ITERS == 20
    text = explain(made)
    assert "iterations: as you have set it (SOLVER.MAX_ITER)" in text
    assert "pin: SOLVER.MAX_ITER" not in text


def test_a_users_model_is_left_alone():
    cfg = base("accurate")
    model = cfg.MODEL.clone()
    names = [setting.name for setting, _ in make_recipe(cfg, facts(), "fast", has_model=True)]
    assert model == cfg.MODEL
    assert not {"task", "model", "anchors"} & set(names)
    assert "iterations" in names


def test_a_line_has_value_evidence_and_a_pin_for_the_shell():
    setting = Setting("data", {"DATASETS.TRAIN": ("auto:a b",)}, "auto:a b", "it is there")
    assert setting.line() == (
        "data: auto:a b, since it is there [pin: DATASETS.TRAIN \"('auto:a b',)\"]"
    )
    words = shlex.split(setting.line().partition("pin: ")[2].rstrip("]"))
    cfg = get_cfg()
    cfg.merge_from_list(words)
    assert tuple(cfg.DATASETS.TRAIN) == ("auto:a b",)
    apply_setting(cfg, setting, [])
    assert "rule" in str(cfg.origin("DATASETS.TRAIN"))
