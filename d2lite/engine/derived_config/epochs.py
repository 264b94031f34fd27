"""follow_epochs: convert what a config counts in epochs to iterations."""

import logging
import math
from typing import Any

from d2lite.config import CfgNode
from d2lite.data.samplers.stream import epochs_to_iterations
from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)

# What counts epochs -> what counts iterations, beside the steps of the schedule.
_PERIODS = {
    "SOLVER.MAX_EPOCHS": "SOLVER.MAX_ITER",
    "SOLVER.WARMUP_EPOCHS": "SOLVER.WARMUP_ITERS",
    "SOLVER.CHECKPOINT_EPOCHS": "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_EPOCHS": "TEST.EVAL_PERIOD",
    "TEST.LOSS_EPOCHS": "TEST.LOSS_PERIOD",
}


def epoch_length(data_loader: Any) -> float | None:
    """The number of batches that show every training image once.

    Args:
        data_loader: of the training; its `batches_per_epoch` is read.

    Returns:
        It may be a fraction; None if it is not known, as for an iterable dataset.
    """
    length = getattr(data_loader, "batches_per_epoch", None)
    return None if length is None or not 0 < length < math.inf else float(length)


def follow_epochs(cfg: CfgNode, data_loader: Any) -> None:
    """Derive iterations from the keys that count epochs.

    If SOLVER.STEPS and SOLVER.MAX_EPOCHS come from different sources (say, a file and the command
    line), the steps keep their share of the run: one after two thirds stays after two thirds.

    Args:
        cfg: changed in place, also where it is frozen.
        data_loader: of the training; its `batches_per_epoch` is read.

    Raises:
        ConfigError: if a number is negative, or the length of an epoch is not known.
    """
    values = dict(cfg.keys_and_values())
    counted = {key: float(values[key]) for key in _PERIODS}
    steps = [float(step) for step in cfg.SOLVER.STEP_EPOCHS]
    for key, epochs in (*counted.items(), *(("SOLVER.STEP_EPOCHS", step) for step in steps)):
        if not 0 <= epochs < math.inf:
            raise ConfigError(f"{key} has {epochs:g}; epochs are 0 or more.")
    if not any(counted.values()) and not steps:
        return
    length = epoch_length(data_loader)
    if length is None:
        used = [key for key, epochs in counted.items() if epochs] or ["SOLVER.STEP_EPOCHS"]
        raise ConfigError(
            f"{', '.join(used)}: the training data do not say how many batches an epoch has "
            "(an iterable dataset, or a loader without batches_per_epoch). Count in iterations: "
            "SOLVER.MAX_ITER, SOLVER.STEPS, TEST.EVAL_PERIOD."
        )
    max_epochs = counted["SOLVER.MAX_EPOCHS"]
    is_stepped = cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupMultiStepLR"
    is_foreign = cfg.origin("SOLVER.STEPS") != cfg.origin("SOLVER.MAX_EPOCHS")
    if max_epochs and not steps and is_stepped and is_foreign:
        share = max_epochs / cfg.SOLVER.MAX_ITER
        steps = [round(step * share, 4) for step in cfg.SOLVER.STEPS]
        cfg.derive("SOLVER.STEP_EPOCHS", tuple(steps), "SOLVER.STEPS in a run of other length")
    changes: dict[str, Any] = {
        _PERIODS[key]: epochs_to_iterations(epochs, length)
        for key, epochs in counted.items()
        if epochs
    }
    if steps:
        changes["SOLVER.STEPS"] = tuple(round(step * length) for step in steps)
    for key, value in changes.items():
        cfg.derive(key, value, f"epochs of {length:g} iterations")
    listed = ", ".join(f"{key} {value}" for key, value in changes.items())
    logger.info(f"An epoch has {length:g} iterations. Hence {listed}")
