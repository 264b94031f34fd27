"""Accumulated gradients are those of one pass, for models whose losses count things."""

import tempfile
from pathlib import Path

import pytest
import torch

from d2lite.engine import DefaultTrainer, setup_cfg

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "configs/quick_start.yaml"
DENSE = {"MODEL.MASK_ON": False}
CASES = {
    "Mask R-CNN": {},
    "Cascade R-CNN": {
        "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
        "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.5],
        "MODEL.ROI_HEADS.IOU_LABELS": [0, 1],
    },
    "RetinaNet": {
        **DENSE,
        "MODEL.META_ARCHITECTURE": "RetinaNet",
        "MODEL.RETINANET.IN_FEATURES": ["p2", "p3", "p4"],
    },
    "FCOS": {
        **DENSE,
        "MODEL.META_ARCHITECTURE": "FCOS",
        "MODEL.FCOS.IN_FEATURES": ["p2", "p3", "p4"],
    },
    "Panoptic FPN": {
        "MODEL.META_ARCHITECTURE": "PanopticFPN",
        "DATASETS.TRAIN": ("shapes_train_panoptic",),
    },
    "semantic": {
        "MODEL.META_ARCHITECTURE": "SemanticSegmentor",
        "MODEL.MASK_ON": False,
        "DATASETS.TRAIN": ("shapes_train_panoptic",),
    },
}


def weights_after_a_step(passes: int, options: dict, config: Path) -> dict[str, torch.Tensor]:
    cfg = setup_cfg(str(config), [])
    fixed = {
        "MODEL.DEVICE": "cpu",
        "DATALOADER.NUM_WORKERS": 0,
        "DATASETS.TEST": (),
        "SOLVER.IMS_PER_BATCH": 5,
        "SOLVER.MAX_ITER": 1,
        "SOLVER.OPTIMIZER": "SGD",
        # So large that the weights hold the update alone.
        "SOLVER.BASE_LR": 1000.0,
        "SOLVER.WEIGHT_DECAY": 0.0,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.ACCUMULATE_STEPS": passes,
        "INPUT.MIN_SIZE_TRAIN": [64],
    }
    for key, value in (fixed | options).items():
        cfg.merge_from_list([key, value])
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder
        torch.manual_seed(0)
        trainer = DefaultTrainer(cfg)
        trainer.train()
    return trainer.model.state_dict()


def assert_same_update(options: dict, config: Path = SMALL, tolerance: float = 2e-5) -> None:
    whole = weights_after_a_step(1, options, config)
    # Parts of one, two and two images of other sizes.
    parts = weights_after_a_step(3, options, config)
    for module in {name.split(".")[0] for name in whole}:
        pairs = [
            (whole[name].double(), parts[name].double())
            for name in whole
            if name.startswith(f"{module}.") and whole[name].is_floating_point()
        ]
        size = sum(float(first.square().sum()) for first, _ in pairs) ** 0.5
        apart = sum(float((first - second).square().sum()) for first, second in pairs) ** 0.5
        assert apart <= tolerance * size, module


@pytest.mark.parametrize("name", CASES)
def test_update_of_three_passes_is_that_of_one(name):
    assert_same_update(CASES[name])


def test_update_of_solov2_in_passes_is_that_of_one():
    options = {"DATASETS.TRAIN": ("shapes_train",), "MODEL.RESNETS.NORM": "GN"}
    assert_same_update(options, ROOT / "projects/solov2/configs/fruit_nuts_solov2_R_18_FPN.yaml")


def test_update_of_mask2former_in_passes_is_that_of_one():
    """A factor of 1/3 that is missing in a loss would be far beyond this tolerance.

    Deformable attention starts at centres of cells, where the gradient of a place jumps, so that
    the last digit of a sum decides about it.
    """
    options = {"SOLVER.CLIP_GRADIENTS.ENABLED": False, "SOLVER.LR_SCHEDULER_NAME": "WarmupPolyLR"}
    shapes = ROOT / "projects/mask2former/configs/mask2former_shapes.yaml"
    assert_same_update(options, shapes, tolerance=1e-3)
