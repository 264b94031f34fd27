"""DETR, Deformable DETR and DINO small enough to run in milliseconds."""

import torch

from d2lite.config import CfgNode
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model

from ..rtdetr.small import NUM_CLASSES

NUM_QUERIES = 12
REFINED = ["MODEL.DETR.WITH_BOX_REFINE", True]
# Recipe and further keys of each kind of model.
KINDS = {
    "detr": ("Base-DETR.yaml", []),
    "deformable": ("Base-DeformableDETR.yaml", []),
    "refined": ("Base-DeformableDETR.yaml", REFINED),
    "two stages": ("Base-DeformableDETR.yaml", [*REFINED, "MODEL.DETR.TWO_STAGE", True]),
    "dino": ("dino_r50_4scale_12ep.yaml", []),
}
SIZES = [
    "MODEL.DETR.NUM_CLASSES", NUM_CLASSES,
    "MODEL.DETR.NUM_OBJECT_QUERIES", NUM_QUERIES,
    "MODEL.DETR.HIDDEN_DIM", 16,
    "MODEL.DETR.NHEADS", 2,
    "MODEL.DETR.DIM_FEEDFORWARD", 24,
    "MODEL.DETR.ENC_LAYERS", 1,
    "MODEL.DETR.DEC_LAYERS", 2,
    "MODEL.DETR.DENOISING.QUERIES", 4,
    "MODEL.RESNETS.DEPTH", 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
    "MODEL.BACKBONE.FREEZE_AT", 0,
    "TEST.DETECTIONS_PER_IMAGE", 10,
]  # fmt: skip


def base_cfg(kind: str, *opts) -> CfgNode:
    """The recipe of a kind of model, on the CPU and without weights."""
    name, more = KINDS[kind]
    return setup_cfg(name, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *more, *opts])


def small_cfg(kind: str, *opts) -> CfgNode:
    """The configuration of a narrow model of two decoder layers."""
    return base_cfg(kind, *SIZES, *opts)


def build(kind: str, *opts, seed: int = 0):
    """A small model with start values of a seed."""
    torch.manual_seed(seed)
    return build_model(small_cfg(kind, *opts))


# Further keys of a whole run whose steps take some 50 ms.
TINY = [
    *(str(opt) for opt in SIZES[2:]),
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.RESNETS.NORM", "BN",
    "MODEL_EMA.ENABLED", "True",
    "DATASETS.TRAIN", "('shapes_train',)",
    "INPUT.AUGMENTATIONS", "['RandomFlip', 'Resize(64)']",
    "INPUT.AUGMENTATIONS_TEST", "['Resize(64)']",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.MAX_EPOCHS", "0",
    "SOLVER.CHECKPOINT_EPOCHS", "0",
    "SOLVER.WARMUP_ITERS", "0",
    "SOLVER.STEP_EPOCHS", "()",
    "SOLVER.STEPS", "()",
    "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR",
    "TEST.EVAL_PERIOD", "0",
    "TEST.EVAL_EPOCHS", "0",
    "SEED", "1",
]  # fmt: skip
