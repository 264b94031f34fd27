"""Learning-rate schedules: a multiplier of the base rate that follows the progress of training.

A multiplier is a `ParamScheduler` of fvcore: a pure function of the fraction of training done.
"""

import logging
import math
from bisect import bisect_right
from collections.abc import Sequence

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from d2lite.utils.errors import ConfigError

__all__ = [
    "LRMultiplier",
    "WarmupCosineLR",
    "WarmupMultiStepLR",
    "WarmupParamScheduler",
    "WarmupPolyLR",
]

_logger = logging.getLogger(__name__)

_WARMUP_METHODS = ("constant", "linear")

# Step schedulers of fvcore round the progress up by 1e-6 and know no value at the very end.
_ALMOST_DONE = 1.0 - 2.0 * ParamScheduler.WHERE_EPSILON


class WarmupParamScheduler(CompositeParamScheduler):  # type: ignore[misc] # fvcore is untyped
    """A schedule that begins with a warm-up to the value it has where the warm-up ends."""

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ) -> None:
        """Put a warm-up before `scheduler`.

        Args:
            scheduler: the schedule to warm up to.
            warmup_factor: the first value, as a fraction of the first value of `scheduler`.
            warmup_length: fraction of the training that the warm-up takes, in [0, 1].
            warmup_method: "linear": climb from the first value to the one of `scheduler` at the
                end of the warm-up; "constant": stay at the first value.
            rescale_interval: False: the warm-up hides the first part of `scheduler`. True: all of
                `scheduler` runs, squeezed into what the warm-up leaves.

        Raises:
            ConfigError: if the method is unknown or the length is not in [0, 1].
        """
        if warmup_method not in _WARMUP_METHODS:
            raise ConfigError(
                f"SOLVER.WARMUP_METHOD is '{warmup_method}'; "
                f"choose one of {', '.join(_WARMUP_METHODS)}."
            )
        if not 0.0 <= warmup_length <= 1.0:
            raise ConfigError(
                f"The warm-up takes {warmup_length:g} of the training; it must be a fraction in "
                "[0, 1]. Check SOLVER.WARMUP_ITERS and SOLVER.MAX_ITER."
            )
        first = warmup_factor * scheduler(0.0)
        warmup: ParamScheduler = ConstantParamScheduler(first)
        if warmup_method == "linear":
            met_at = 0.0 if rescale_interval else min(warmup_length, _ALMOST_DONE)
            warmup = LinearParamScheduler(first, scheduler(met_at))
        super().__init__(
            [warmup, scheduler],
            lengths=[warmup_length, 1.0 - warmup_length],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
        )


class LRMultiplier(LRScheduler):
    """Sets every group's learning rate to its initial one times a multiplier.

    Step it after every iteration. After the last iteration it sets the rate of the schedule's end.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        multiplier: ParamScheduler,
        max_iter: int,
        last_iter: int = -1,
    ) -> None:
        """Set the learning rates for the first iteration (or the one after `last_iter`).

        Args:
            optimizer: its groups' "lr" are driven.
            multiplier: from the fraction of training done to a factor.
            max_iter: number of iterations of the whole training.
            last_iter: the last iteration done, -1 for none.

        Raises:
            ConfigError: if `multiplier` is not a ParamScheduler or `max_iter` not positive.
        """
        if not isinstance(multiplier, ParamScheduler):
            raise ConfigError(
                f"LRMultiplier got a multiplier of type {type(multiplier).__name__}; it takes a "
                "ParamScheduler of fvcore.common.param_scheduler."
            )
        if max_iter < 1:
            raise ConfigError(f"SOLVER.MAX_ITER is {max_iter}; a schedule needs 1 or more.")
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict[str, object]:
        """What a resumed run needs: the initial rates and the iteration, plain values.

        The schedule itself follows from the configuration and is not saved.
        """
        return {"base_lrs": list(self.base_lrs), "last_epoch": self.last_epoch}

    def get_lr(self) -> list[float | Tensor]:
        """Learning rate of each group at the current iteration."""
        done = min(self.last_epoch / self._max_iter, 1.0)
        try:
            factor = self._multiplier(done)
        except (RuntimeError, IndexError):
            # DIFFERS: some schedules of fvcore have no value at the very end, where detectron2
            # fails after the last iteration.
            factor = self._multiplier((self._max_iter - 1) / self._max_iter)
        return [base_lr * factor for base_lr in self.base_lrs]


class _WarmupLR(LRScheduler):
    """A factor that warms up times a factor that falls, which a subclass gives as `_decay`."""

    _is_old_form = True

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_factor: float,
        warmup_iters: int,
        warmup_method: str,
        last_epoch: int,
    ) -> None:
        _get_warmup_factor_at_iter(warmup_method, 0, 1, warmup_factor)
        if self._is_old_form:
            _logger.warning(
                "%s is the old form of this schedule; LRMultiplier over a WarmupParamScheduler, as "
                "build_lr_scheduler makes it, takes its place.",
                type(self).__name__,
            )
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Learning rate of each group at the current iteration."""
        factor = self._decay() * _get_warmup_factor_at_iter(
            self.warmup_method, self.last_epoch, self.warmup_iters, self.warmup_factor
        )
        return [base_lr * factor for base_lr in self.base_lrs]

    def _decay(self) -> float:
        raise NotImplementedError


def _get_warmup_factor_at_iter(
    method: str, iter: int, warmup_iters: int, warmup_factor: float
) -> float:
    """The factor on the learning rate at an iteration: 1 from `warmup_iters` on.

    Args:
        method: "constant": `warmup_factor` until then; "linear": climb from it to 1.
        iter: counted from 0.
        warmup_iters: iterations of the warm-up.
        warmup_factor: the first factor.

    Raises:
        ConfigError: for another method.
    """
    if method not in _WARMUP_METHODS:
        raise ConfigError(
            f"warmup_method is '{method}'; choose one of {', '.join(_WARMUP_METHODS)}."
        )
    if iter >= warmup_iters:
        return 1.0
    climbed = iter / warmup_iters if method == "linear" else 0.0
    return warmup_factor + (1.0 - warmup_factor) * climbed


class WarmupMultiStepLR(_WarmupLR):
    """Times gamma at each milestone, counted in iterations."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        """See `WarmupParamScheduler` for the warm-up.

        Args:
            optimizer: its groups' "lr" are driven.
            milestones: iterations at which the rate falls, ascending.
            gamma: factor of each fall.
            warmup_factor: first value, as a fraction.
            warmup_iters: iterations of warm-up.
            warmup_method: "linear" or "constant".
            last_epoch: the last iteration done, -1 for none.

        Raises:
            ConfigError: if the milestones don't ascend or the method is unknown.
        """
        if list(milestones) != sorted(milestones):
            raise ConfigError(f"milestones {list(milestones)} must ascend.")
        self.milestones = list(milestones)
        self.gamma = gamma
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def _decay(self) -> float:
        return float(self.gamma ** bisect_right(self.milestones, self.last_epoch))


class WarmupCosineLR(_WarmupLR):
    """Half a cosine from the base rate to zero at `max_iters`."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        """See `WarmupParamScheduler` for the warm-up.

        Args:
            optimizer: its groups' "lr" are driven.
            max_iters: iteration at which the rate is zero.
            warmup_factor: first value, as a fraction.
            warmup_iters: iterations of warm-up.
            warmup_method: "linear" or "constant".
            last_epoch: the last iteration done, -1 for none.
        """
        self.max_iters = max_iters
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def _decay(self) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * self.last_epoch / self.max_iters))


class WarmupPolyLR(_WarmupLR):
    """A power of the share of training that is left: the schedule of DeepLab.

    Source: Chen 2017, arXiv:1706.05587, section 4.1.
    """

    _is_old_form = False

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
        power: float = 0.9,
        constant_ending: float = 0.0,
    ) -> None:
        """See `WarmupParamScheduler` for the warm-up; the fall goes on meanwhile.

        Args:
            optimizer: its groups' "lr" are driven.
            max_iters: iteration at which the rate is zero; it stays so afterwards.
            warmup_factor: first value, as a fraction.
            warmup_iters: iterations of warm-up.
            warmup_method: "linear" or "constant".
            last_epoch: the last iteration done, -1 for none.
            power: exponent of the share that is left.
            constant_ending: the rate does not fall below this fraction once it is warm.
        """
        self.max_iters = max_iters
        self.power = power
        self.constant_ending = constant_ending
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def state_dict(self) -> dict[str, object]:
        """What a resumed run needs; the schedule itself follows from the configuration."""
        return {"base_lrs": list(self.base_lrs), "last_epoch": self.last_epoch}

    def _decay(self) -> float:
        left = max(1.0 - self.last_epoch / self.max_iters, 0.0)
        is_warm = self.last_epoch >= self.warmup_iters
        return float(max(left**self.power, self.constant_ending if is_warm else 0.0))
