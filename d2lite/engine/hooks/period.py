"""When hooks that work at a period are due."""

from ..trainer_base import TrainerBase


def period_ends(trainer: TrainerBase, period: int) -> bool:
    """Whether a period ends with the current step.

    Args:
        trainer: in a step.
        period: number of steps; 0 for never.
    """
    return period > 0 and (trainer.iter + 1) % period == 0


def is_due(trainer: TrainerBase, period: int) -> bool:
    """Whether a period, or the run, ends with the current step; arguments as in `period_ends`."""
    return period_ends(trainer, period) or is_last_step(trainer)


def is_last_step(trainer: TrainerBase) -> bool:
    """Whether the run ends with the current step."""
    return trainer.iter + 1 == trainer.max_iter
