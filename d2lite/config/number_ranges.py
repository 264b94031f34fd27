"""The ranges of the numbers of `defaults`, and the check of a whole config."""

from typing import Any

from d2lite.utils.errors import ConfigError

from .config import get_cfg
from .node import CfgNode

__all__ = ["check_numbers"]

# Key -> the least and the largest number; of a missing one there is no limit.
_RANGES = {
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

    Args:
        cfg: the whole config.

    Raises:
        ConfigError: naming the key and its limit.
    """
    numbers = {key for key, value in get_cfg().keys_and_values() if _is_number(value)}
    values = dict(cfg.keys_and_values())
    for key, value in values.items():
        if key in numbers and isinstance(value, str):
            raise ConfigError(
                f"{key} is the text {value!r}, set by code; it must be a number, without quotes."
            )
    for key, (least, largest) in _RANGES.items():
        number = values.get(key)
        if number is None or not _is_number(number):
            continue  # left out, or set by code to what parts take too, such as two sides
        if least is not None and number < least:
            raise ConfigError(f"{key} is {number}; it must be {least} or more.")
        if largest is not None and number > largest:
            raise ConfigError(f"{key} is {number}; it must be {largest} or less.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
