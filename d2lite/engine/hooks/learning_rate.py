"""LRScheduler: steps the learning rate schedule and logs the rate."""

from typing import Any

import torch
from fvcore.common.param_scheduler import ParamScheduler

from d2lite.engine.stepping.gradients import main_group
from d2lite.engine.trainer_base import HookBase
from d2lite.solver import LRMultiplier
from d2lite.solver import LRScheduler as Scheduler


class LRScheduler(HookBase):
    """Steps a schedule after each step, and keeps its state over a resume."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Scheduler | ParamScheduler | None = None,
    ) -> None:
        """Make a hook.

        Args:
            optimizer: the trainer's own if not given.
            scheduler: the trainer's own if not given. A `ParamScheduler` of fvcore gives a
                multiplier of the optimizer's rates over the whole run.
        """
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._logged_group = 0

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer: the one given, or the trainer's."""
        own: Any = self.trainer
        return self._optimizer if self._optimizer is not None else own.optimizer

    @property
    def scheduler(self) -> Scheduler | ParamScheduler:
        """The schedule: the one given, or the trainer's."""
        own: Any = self.trainer
        return self._scheduler if self._scheduler is not None else own.scheduler

    def before_train(self) -> None:
        """Choose the group to log, and turn a `ParamScheduler` into a schedule of this run."""
        self._logged_group = self.get_best_param_group_id(self.optimizer)
        multiplier, trainer = self.scheduler, self.trainer
        if isinstance(multiplier, ParamScheduler):
            self._scheduler = LRMultiplier(
                self.optimizer, multiplier, trainer.max_iter, last_iter=trainer.iter - 1
            )

    def after_step(self) -> None:
        """Log the rate that this step was made with, then set the next step's."""
        rate = self.optimizer.param_groups[self._logged_group]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        # Torch warns if no update came before, as when a float16 scaler skips the first one; the
        # schedule counts iterations, so that is correct.
        self.optimizer._opt_called = True  # type: ignore[attr-defined]  # torch's own mark
        self.scheduler.step()

    @staticmethod
    def get_best_param_group_id(optimizer: torch.optim.Optimizer) -> int:
        """Choose the parameter group whose rate stands for all in the log.

        Args:
            optimizer: with any number of groups.

        Returns:
            Index of the group with the most parameters; where each parameter has a group of its
            own, of the first group with the most frequent rate.
        """
        group = main_group(optimizer)
        return next(i for i, one in enumerate(optimizer.param_groups) if one is group)

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule's state; a `ParamScheduler` has none before training begins."""
        if isinstance(self.scheduler, Scheduler):
            return self.scheduler.state_dict()
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        # A ParamScheduler is a function of the iteration alone, which the trainer restores.
        if isinstance(self.scheduler, Scheduler):
            self.scheduler.load_state_dict(state_dict)
