"""The ranges of the numbers of `defaults`, and the check of a whole config."""

from typing import Any

from d2lite.utils.errors import ConfigError

from .config import get_cfg
from .node import CfgNode

__all__ = ["check_numbers"]

# Key -> the least and the largest value of a number, or of each number in a list; None where
# there is no limit.
_RANGES = {
    "INPUT.MIN_SIZE_TRAIN": (0, None),
    "INPUT.MAX_SIZE_TRAIN": (0, None),
    "INPUT.MIN_SIZE_TEST": (0, None),
    "INPUT.MAX_SIZE_TEST": (0, None),
    "INPUT.MIXING_OFF_LAST_ITERS": (0, None),
    "INPUT.MIXING_OFF_LAST_EPOCHS": (0, None),
    "DATALOADER.REPEAT_THRESHOLD": (0, None),
    "SOLVER.GAMMA": (0, None),
    "SOLVER.MOMENTUM": (0, None),
    "SOLVER.WARMUP_FACTOR": (0, None),
    "SOLVER.WEIGHT_DECAY_NORM": (0, None),
    "SOLVER.WEIGHT_DECAY_BIAS": (0, None),
    "SOLVER.BIAS_LR_FACTOR": (0, None),
    "SOLVER.CHECKPOINT_MAX_TO_KEEP": (0, None),
    "SOLVER.REFERENCE_WORLD_SIZE": (0, None),
    "SOLVER.NONFINITE.MAX_SKIPS": (0, None),
    "SOLVER.NONFINITE.CHECK_PERIOD": (1, None),
    "TEST.IMS_PER_BATCH": (1, None),
    "TEST.LOG_PERIOD": (0, None),
    "MODEL.ROI_BOX_HEAD.NUM_FC": (0, None),
    "MODEL.ROI_BOX_HEAD.NUM_CONV": (0, None),
    "MODEL.ROI_BOX_HEAD.FC_DIM": (1, None),
    "MODEL.RPN.NMS_THRESH": (0, None),
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": (0, None),
    "MODEL.RPN.PRE_NMS_TOPK_TEST": (0, None),
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": (0, None),
    "MODEL.RPN.POST_NMS_TOPK_TEST": (0, None),
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": (0, None),
    "TEST.AUG.MIN_SIZES": (1, None),
    "TEST.AUG.MAX_SIZE": (1, None),
    "SOLVER.IMS_PER_BATCH": (1, 2**20),
    "SOLVER.CHECKPOINT_PERIOD": (1, None),
    "SOLVER.BASE_LR": (0, None),
    "SOLVER.WEIGHT_DECAY": (0, None),
    "DATALOADER.NUM_WORKERS": (0, 1024),
    "DATALOADER.PREFETCH": (1, 1024),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": (1, None),
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": (1, None),
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION": (1, None),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": (1, None),
    "MODEL.RPN.POSITIVE_FRACTION": (0, 1),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": (1, None),
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": (0, 1),
    "LOG_PERIOD": (1, None),
    "TEST.LOSS_PERIOD": (0, None),
    "SEED": (None, 2**63 - 1),
}


def check_numbers(cfg: CfgNode) -> None:
    """Check numbers that would end in a trace later, start processes without end, or train nothing.

    Raises:
        ConfigError: naming the key and its limit.
    """
    defaults = dict(get_cfg().keys_and_values())
    numbers = {key for key, value in defaults.items() if _is_number(value)}
    lists = {key for key, value in defaults.items() if value and _numbers(value)} - numbers
    values = dict(cfg.keys_and_values())
    for key, value in values.items():
        if key in numbers and isinstance(value, str):
            raise ConfigError(
                f"{key} is the text {value!r}, set by code; it must be a number, without quotes."
            )
        parts = value if key in lists and isinstance(value, list | tuple) else ()
        if texts := [part for part in parts if isinstance(part, str)]:
            raise ConfigError(f"{key} has the text {texts[0]!r}; it must have numbers alone.")
        if any(number != number for number in _numbers(value)):
            raise ConfigError(f"{key} is {value}; nan is not a number.")
    for key, (least, largest) in _RANGES.items():
        for number in _numbers(values.get(key)):
            if least is not None and number < least:
                raise ConfigError(f"{key} is {values[key]}; it must be {least} or more.")
            if largest is not None and number > largest:
                raise ConfigError(f"{key} is {values[key]}; it must be {largest} or less.")


def _numbers(value: Any) -> list[float]:
    """A number, or the numbers of a list; parts take other things too, which code may set."""
    listed = value if isinstance(value, list | tuple) else [value]
    return [number for number in listed if _is_number(number)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
