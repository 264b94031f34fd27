"""Words that people know from Ultralytics and MMDetection, and what they are called here.

docs/from_ultralytics.md and docs/from_mmdetection.md explain them; a test compares the three.
"""

import re
from pathlib import Path

__all__ = ["COMMANDS", "OPTIONS", "called_here", "is_mmdet_config"]

_MIXED = "INPUT.AUGMENTATIONS, see docs/augmentation.md"

OPTIONS = {
    "amp": "SOLVER.AMP.ENABLED True",
    "augment": "TEST.AUG.ENABLED True",
    "batch": "SOLVER.IMS_PER_BATCH, of all GPUs together",
    "cfg_options": "KEY VALUE pairs at the end",
    "classes": "?classes=cat,dog at the end of the dataset string",
    "close_mosaic": "INPUT.MIXING_OFF_LAST_ITERS",
    "conf": "--threshold of d2lite predict",
    "copy_paste": _MIXED,
    "cos_lr": "SOLVER.LR_SCHEDULER_NAME WarmupCosineLR",
    "data": "DATA, the first word: d2lite train DATA",
    "device": "MODEL.DEVICE, or --num-gpus for several",
    "epochs": "SOLVER.MAX_EPOCHS",
    "format": "--to of d2lite export",
    "fraction": "?fraction=0.1 at the end of the dataset string",
    "freeze": "MODEL.BACKBONE.FREEZE_AT",
    "imgsz": "INPUT.MIN_SIZE_TRAIN, INPUT.MAX_SIZE_TRAIN, and the same of TEST",
    "iou": "MODEL.ROI_HEADS.NMS_THRESH_TEST, or that of another model",
    "load_from": "MODEL.WEIGHTS",
    "lr0": "SOLVER.BASE_LR",
    "lrf": "SOLVER.BASE_LR_END",
    "max_det": "TEST.DETECTIONS_PER_IMAGE",
    "mixup": _MIXED,
    "model": "--config-file to train, RUN otherwise: d2lite predict RUN INPUT",
    "momentum": "SOLVER.MOMENTUM",
    "mosaic": _MIXED,
    "name": "OUTPUT_DIR",
    "optimizer": "SOLVER.OPTIMIZER",
    "patience": "SOLVER.EARLY_STOPPING.METRIC and SOLVER.EARLY_STOPPING.PATIENCE",
    "pretrained": "MODEL.WEIGHTS",
    "project": "OUTPUT_DIR",
    "resume": "--resume",
    "save": "what d2lite predict does; --save-as says in which formats",
    "save_crop": "--save-as crops",
    "save_period": "SOLVER.CHECKPOINT_EPOCHS",
    "save_txt": "--save-as yolo",
    "seed": "SEED",
    "source": "INPUT, after the run: d2lite predict RUN INPUT",
    "tracker": "--track of d2lite predict",
    "warmup_epochs": "SOLVER.WARMUP_EPOCHS",
    "weight_decay": "SOLVER.WEIGHT_DECAY",
    "work_dir": "OUTPUT_DIR",
    "workers": "DATALOADER.NUM_WORKERS",
}
"""Option of another library -> what it is here."""

COMMANDS = {
    "demo": "predict",
    "detect": "train",
    "infer": "predict",
    "obb": "train",
    "pose": "train",
    "segment": "train",
    "test": "eval",
    "track": "predict --track",
    "val": "eval",
}
"""Command or task of another library -> command; the task of a training follows from its data."""


def called_here(word: str) -> str | None:
    """What an option of another library is here; None for any other word.

    Args:
        word: as it was written: "epochs", "epochs=3", "--work-dir".
    """
    return OPTIONS.get(word.partition("=")[0].lstrip("-").replace("-", "_").lower())


_OF_MMDET = re.compile(
    r"^(_base_|default_scope)\s*=|^train_pipeline\s*=\s*\[|^train_dataloader\s*=\s*dict\("
    r"|^from mmengine\.config import read_base",
    re.MULTILINE,
)


def is_mmdet_config(path: Path) -> bool:
    """Whether a file is a config of MMDetection in Python."""
    is_python = path.suffix == ".py" and path.is_file()
    return is_python and _OF_MMDET.search(path.read_text("utf-8", "replace")) is not None
