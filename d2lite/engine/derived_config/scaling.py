"""The linear rule, which fits a recipe to another number of GPUs or another batch."""

import logging

from d2lite.config import CfgNode, get_cfg
from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)


def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
    """Fit batch size, learning rate and schedule to the number of processes.

    With k times the processes that the recipe was written for (SOLVER.REFERENCE_WORLD_SIZE), the
    batch and the learning rate become k times as large, and everything that counts iterations k
    times as short: each image is seen as often as before, and memory per process is the same.
    What counts epochs stays.

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
    factor: float = num_workers / reference
    why = f"SOLVER.REFERENCE_WORLD_SIZE {reference} -> {num_workers} processes"

    def shorter(iterations: int) -> int:
        return round(iterations / factor)

    def shorter_period(period: int) -> int:
        # 0 means never, and must not come from rounding.
        return max(shorter(period), 1) if period > 0 else period

    scaled: CfgNode = cfg.clone()
    changes = {
        "SOLVER.IMS_PER_BATCH": solver.IMS_PER_BATCH // reference * num_workers,
        "SOLVER.BASE_LR": solver.BASE_LR * factor,
        # DIFFERS: detectron2 leaves it alone, so that a cosine would end at another share.
        "SOLVER.BASE_LR_END": solver.BASE_LR_END * factor,
        "SOLVER.MAX_ITER": shorter(solver.MAX_ITER),
        "SOLVER.WARMUP_ITERS": shorter(solver.WARMUP_ITERS),
        "SOLVER.STEPS": tuple(shorter(step) for step in solver.STEPS),
        "SOLVER.CHECKPOINT_PERIOD": shorter_period(solver.CHECKPOINT_PERIOD),
        "TEST.EVAL_PERIOD": shorter_period(cfg.TEST.EVAL_PERIOD),
        "TEST.LOSS_PERIOD": shorter_period(cfg.TEST.LOSS_PERIOD),
        # The average reaches back over as many images as before.
        "MODEL_EMA.DECAY": cfg.MODEL_EMA.DECAY**factor,
        "SOLVER.REFERENCE_WORLD_SIZE": num_workers,
    }
    before = dict(cfg.keys_and_values())
    changes = {key: value for key, value in changes.items() if value != before[key]}
    for key, value in changes.items():
        scaled.derive(key, value, why)
    listed = ", ".join(f"{key} {value}" for key, value in changes.items())
    logger.info(f"The recipe was scaled by {factor:g} ({why}): {listed}")
    return scaled


def reference_batch(cfg: CfgNode) -> int:
    """Tell the batch that SOLVER.BASE_LR is meant for.

    It is SOLVER.IMS_PER_BATCH of the file that sets the rate, with what that file inherits: a
    file that inherits from it, or a command line, may change the batch and leave the rate.

    Args:
        cfg: the config of a run.

    Raises:
        ConfigError: if the rate was set on the command line or in code, where no batch stands
            beside it.
    """
    source = cfg.origin("SOLVER.BASE_LR")
    default = int(get_cfg().SOLVER.IMS_PER_BATCH)
    if source.startswith("file "):
        solver = CfgNode.load_yaml_with_base(source[len("file ") :]).get("SOLVER") or {}
        return int(solver.get("IMS_PER_BATCH", default))
    if source == "default":
        return default
    raise ConfigError(
        f"--auto-scale-lr scales the rate of a config file to your batch, but SOLVER.BASE_LR "
        f"{cfg.SOLVER.BASE_LR:g} was set by hand ({source}). Leave one of the two out."
    )


def scale_learning_rate(cfg: CfgNode) -> None:
    """Fit the learning rate to the batch, as --auto-scale-lr asks.

    Args:
        cfg: changed in place, also where it is frozen. A rate that was scaled before is left.

    Raises:
        ConfigError: as `reference_batch` does.

    Source: Goyal et al. 2017, arXiv:1706.02677.
    """
    solver = cfg.SOLVER
    if cfg.origin("SOLVER.BASE_LR").startswith("derived: the linear rule"):
        return
    reference = reference_batch(cfg)
    factor = solver.IMS_PER_BATCH / reference
    source = cfg.origin("SOLVER.BASE_LR")
    if factor == 1:
        logger.info(
            f"--auto-scale-lr: nothing to scale, SOLVER.BASE_LR {solver.BASE_LR:g} ({source}) is "
            f"meant for batches of {reference} images"
        )
        return
    before = solver.BASE_LR
    why = f"the linear rule, from a batch of {reference} to {solver.IMS_PER_BATCH} images"
    cfg.derive("SOLVER.BASE_LR", before * factor, why)
    if solver.BASE_LR_END:
        cfg.derive("SOLVER.BASE_LR_END", solver.BASE_LR_END * factor, why)
    logger.info(
        f"--auto-scale-lr: SOLVER.BASE_LR {before:g} -> {solver.BASE_LR:g} by {why} ({source}). "
        f"The number of iterations stays: in as many, each image is seen {factor:g} times as often"
    )
    if solver.OPTIMIZER != "SGD":
        logger.warning(
            f"The linear rule was found for SGD; with {solver.OPTIMIZER} look whether the rate "
            f"{solver.BASE_LR:g} suits"
        )
