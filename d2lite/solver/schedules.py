"""Schedules of the learning rate, as the SOLVER node of a configuration describes them.

Each maker returns a factor of the rate by the part of the training that is done, before warm-up.
"""

import logging

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)

from d2lite.config import CfgNode
from d2lite.utils.errors import ConfigError

_logger = logging.getLogger(__name__)


def multi_step(solver: CfgNode) -> ParamScheduler:
    """A fall by GAMMA at each of STEPS."""
    given = solver.STEPS
    is_list = isinstance(given, list | tuple) and all(isinstance(s, int | float) for s in given)
    steps = [step for step in given if step < solver.MAX_ITER] if is_list else []
    limits = zip([0.99, *steps], steps, strict=False)
    if not is_list or any(later <= step for step, later in limits):
        raise ConfigError(
            f"SOLVER.STEPS is {given}; expected iterations from 1 on in ascending order, such as "
            "(60000, 80000)."
        )
    if len(steps) < len(solver.STEPS):
        _logger.warning(
            "SOLVER.STEPS %s: those not below SOLVER.MAX_ITER (%d) are never reached; the learning "
            "rate falls at %s.",
            tuple(solver.STEPS),
            solver.MAX_ITER,
            tuple(steps) or "no step",
        )
    return MultiStepParamScheduler(
        values=[solver.GAMMA**k for k in range(len(steps) + 1)],
        milestones=steps,
        num_updates=solver.MAX_ITER,
    )


def cosine(solver: CfgNode) -> ParamScheduler:
    """Half a cosine from 1 to BASE_LR_END."""
    last = solver.BASE_LR_END / solver.BASE_LR if solver.BASE_LR else 0.0
    if not 0.0 <= last <= 1.0:
        raise ConfigError(
            f"SOLVER.BASE_LR_END is {solver.BASE_LR_END} and SOLVER.BASE_LR {solver.BASE_LR}; "
            "the cosine falls from the latter to the former, which must be between 0 and it."
        )
    return CosineParamScheduler(1.0, last)


def flat_cosine(solver: CfgNode) -> ParamScheduler:
    """1 for FLAT_PART of the training, then `cosine`."""
    part = solver.FLAT_PART
    if not 0.0 < part < 1.0:
        raise ConfigError(
            f"SOLVER.FLAT_PART is {part}; WarmupFlatCosineLR needs a share of the training between "
            "0 and 1."
        )
    return CompositeParamScheduler(
        [ConstantParamScheduler(1.0), cosine(solver)],
        lengths=[part, 1.0 - part],
        interval_scaling=["fixed", "rescaled"],
    )


def one_cycle(solver: CfgNode) -> ParamScheduler:
    """Half a cosine up from START_FACTOR to 1, then half a cosine down to BASE_LR_END.

    Source: Smith 2017, arXiv:1708.07120.
    """
    node = solver.ONE_CYCLE
    if not (0.0 < node.RISE_PART < 1.0 and 0.0 <= node.START_FACTOR <= 1.0):
        raise ConfigError(
            f"SOLVER.ONE_CYCLE.RISE_PART is {node.RISE_PART} and START_FACTOR {node.START_FACTOR}; "
            "the rate rises for a share of the training between 0 and 1, from a factor in [0, 1]."
        )
    return CompositeParamScheduler(
        [CosineParamScheduler(node.START_FACTOR, 1.0), cosine(solver)],
        lengths=[node.RISE_PART, 1.0 - node.RISE_PART],
        interval_scaling=["rescaled", "rescaled"],
    )


def fixed_gamma_steps(solver: CfgNode) -> ParamScheduler:
    """NUM_DECAYS falls by GAMMA, evenly spaced."""
    if solver.NUM_DECAYS < 1 or solver.GAMMA <= 0:
        raise ConfigError(
            f"SOLVER.NUM_DECAYS is {solver.NUM_DECAYS} and SOLVER.GAMMA {solver.GAMMA}; "
            "WarmupStepWithFixedGammaLR needs at least one decay by a positive factor."
        )
    return StepWithFixedGammaParamScheduler(
        base_value=1.0,
        num_decays=solver.NUM_DECAYS,
        gamma=solver.GAMMA,
        num_updates=solver.MAX_ITER,
    )
