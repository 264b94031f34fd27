"""Whole runs on the built-in shapes: train, go on, evaluate, draw, and learn from nothing."""

import pytest
import torch

from d2lite.engine import DefaultTrainer, setup_cfg

from ..runs import check_drawing, check_resume, metrics, train

TINY = [
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.NORM", "BN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM", "32",
    "MODEL.SEM_SEG_HEAD.MASK_DIM", "16",
    "MODEL.MASK_FORMER.HIDDEN_DIM", "16",
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD", "32",
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64",
    "MODEL.MASK_FORMER.DROPOUT", "0.1",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.WARMUP_ITERS", "0",
]  # fmt: skip
PANOPTIC = [
    "DATASETS.TRAIN", "('shapes_train_panoptic_joint',)",
    "DATASETS.TEST", "('shapes_val_panoptic_joint',)",
    "INPUT.DATASET_MAPPER_NAME", "mask_former_panoptic",
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "True",
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "True",
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0",
]  # fmt: skip
SEMANTIC = [
    "DATASETS.TRAIN", "('shapes_train_sem_seg',)",
    "DATASETS.TEST", "('shapes_val_sem_seg',)",
    "INPUT.DATASET_MAPPER_NAME", "mask_former_semantic",
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "True",
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON", "False",
]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "scores"),
    [
        ([], ["segm/AP", "bbox/AP"]),
        (PANOPTIC, ["panoptic_seg/PQ", "sem_seg/mIoU"]),
        (SEMANTIC, ["sem_seg/mIoU"]),
    ],
    ids=["instance", "panoptic", "semantic"],
)
def test_train_go_on_and_evaluate(run, tmp_path, task, scores):
    """The number of classes follows from the set: figures alone, or the ground too."""
    options = ["--config-file", "mask2former_shapes.yaml", *TINY, *task, "OUTPUT_DIR", tmp_path]
    first = run("train_net", *options, "DATASETS.TEST", "()")
    assert first.status == 0, first.err
    resumed = run("train_net", "--resume", *options, "SOLVER.MAX_ITER", 3)
    assert resumed.status == 0, resumed.err
    assert "going on at iteration 2" in resumed.out
    lines = metrics(tmp_path)
    assert any("loss_dice_2" in line for line in lines)
    for score in scores:
        assert 0 <= lines[-1][score] <= 100
    weights = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    classes = weights["sem_seg_head.predictor.class_embed.bias"]
    assert len(classes) == (7 if task else 6)


def test_the_demo_draws_what_a_run_has_learnt(run, tmp_path):
    options = ["--config-file", "mask2former_shapes.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    trained = run("train_net", *options, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", "()")
    assert trained.status == 0, trained.err
    assert {"category_name", "segmentation", "bbox", "score"} <= check_drawing(run, tmp_path)


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    """The points of matching and losses, and dropout, follow from the position."""
    check_resume("mask2former_shapes.yaml", TINY, tmp_path)


def test_mixed_precision_trains(tmp_path):
    options = [*TINY, "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "bfloat16"]
    weights = train("mask2former_shapes.yaml", options, tmp_path, 2)
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.parametrize("task", [[], PANOPTIC, SEMANTIC], ids=["instance", "panoptic", "semantic"])
def test_validation_losses_are_measured_on_samples_of_its_mapper(tmp_path, task):
    cfg = setup_cfg("mask2former_shapes.yaml", [*TINY, *task, "OUTPUT_DIR", str(tmp_path)])
    model = DefaultTrainer.build_model(cfg).train()
    loader = DefaultTrainer.build_validation_loader(cfg, cfg.DATASETS.TEST[0])
    batch = next(iter(loader))
    assert len(batch[0]["instances"]) > 0
    assert batch[0]["image"].shape[1:] == batch[0]["instances"].image_size
    assert all(loss.isfinite() for loss in model(batch).values())


@pytest.mark.slow
def test_it_learns_the_shapes_from_nothing(tmp_path):
    """Some ten minutes on one core. It is not tuned; AP50 17.4 was measured."""
    options = ["MODEL.DEVICE", "cpu", "SOLVER.MAX_ITER", 800, "OUTPUT_DIR", str(tmp_path)]
    trainer = DefaultTrainer(setup_cfg("mask2former_shapes.yaml", options))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert metrics(tmp_path)[-1]["segm/AP50"] > 10
