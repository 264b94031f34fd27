"""auto_scale_workers: the linear rule that fits a recipe to another number of GPUs."""

import logging

from d2lite.config import CfgNode
from d2lite.utils.errors import ConfigError

__all__ = ["auto_scale_workers"]

logger = logging.getLogger(__name__)


def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
    """Fit batch size, learning rate and schedule to the number of processes.

    With k times the processes that the recipe was written for (SOLVER.REFERENCE_WORLD_SIZE), the
    batch and the learning rate become k times as large, and everything that counts iterations k
    times as short: each image is seen as often as before, and memory per process is the same.

    Args:
        cfg: the recipe; left as it is.
        num_workers: processes of this run, all machines together.

    Returns:
        A new config with the same freezing, or `cfg` itself where nothing has to change, which is
        also the case when SOLVER.REFERENCE_WORLD_SIZE is 0.

    Raises:
        ConfigError: if the batch of the recipe does not divide over its own processes.

    Source: Goyal et al. 2017, arXiv:1706.02677.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference == 0 or reference == num_workers:
        return cfg
    solver = cfg.SOLVER
    if solver.IMS_PER_BATCH % reference != 0:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH={solver.IMS_PER_BATCH} does not divide over "
            f"SOLVER.REFERENCE_WORLD_SIZE={reference} processes. Use a multiple of {reference}, "
            "or SOLVER.REFERENCE_WORLD_SIZE 0 to leave the recipe unscaled."
        )
    factor = num_workers / reference
    why = f"SOLVER.REFERENCE_WORLD_SIZE {reference} -> {num_workers} processes"

    def shorter(iterations: int) -> int:
        return round(iterations / factor)

    def shorter_period(period: int) -> int:
        # 0 means never, and must not come from rounding.
        return max(shorter(period), 1) if period > 0 else period

    scaled = cfg.clone()
    changes = {
        "SOLVER.IMS_PER_BATCH": solver.IMS_PER_BATCH // reference * num_workers,
        "SOLVER.BASE_LR": solver.BASE_LR * factor,
        "SOLVER.MAX_ITER": shorter(solver.MAX_ITER),
        "SOLVER.WARMUP_ITERS": shorter(solver.WARMUP_ITERS),
        "SOLVER.STEPS": tuple(shorter(step) for step in solver.STEPS),
        "SOLVER.CHECKPOINT_PERIOD": shorter_period(solver.CHECKPOINT_PERIOD),
        "TEST.EVAL_PERIOD": shorter_period(cfg.TEST.EVAL_PERIOD),
        "SOLVER.REFERENCE_WORLD_SIZE": num_workers,
    }
    for key, value in changes.items():
        scaled.derive(key, value, why)
    listed = ", ".join(f"{key} {value}" for key, value in changes.items())
    logger.info(f"The recipe was scaled by {factor:g} ({why}): {listed}")
    return scaled
