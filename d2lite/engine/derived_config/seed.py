"""The seed of a run: set by a person, drawn, or that of the checkpoint it continues from."""

import logging

from d2lite.config import CfgNode
from d2lite.utils import comm

logger = logging.getLogger(__name__)


def resolve_seed(cfg: CfgNode, stored: int | None = None) -> int:
    """Replace a negative SEED, by the same number in all processes.

    Args:
        cfg: its SEED is derived in place, also where the config is frozen.
        stored: the seed that a resumed run began with, for the same stream of samples; None
            draws one.

    Returns:
        The seed.
    """
    if cfg.SEED < 0:
        # The main process decides: not every process needs to see the same folder.
        stored = comm.all_gather(stored)[0]
        seed = comm.shared_random_seed() if stored is None else stored
        cfg.derive("SEED", seed, "drawn" if stored is None else "drawn before the resume")
        logger.info(f"SEED {seed} ({cfg.origin('SEED')})")
    return int(cfg.SEED)


def follow_stored_seed(cfg: CfgNode, stored: int) -> int:
    """Continue with the seed that a run began with, unless a person set another one.

    Args:
        cfg: its SEED is derived in place, also where the config is frozen.
        stored: the seed in the checkpoint.

    Returns:
        The seed to continue with.
    """
    if stored == cfg.SEED:
        return stored
    if not cfg.origin("SEED").startswith("derived"):
        logger.warning(
            f"SEED was {stored} when the run began and is {cfg.SEED} now: from here on the "
            "samples differ from those of a run that was never stopped"
        )
        return int(cfg.SEED)
    cfg.derive("SEED", stored, "drawn before the resume")
    return stored
