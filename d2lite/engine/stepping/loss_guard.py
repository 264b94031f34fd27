"""LossGuard: notices losses and gradients that are not finite, and says where they came from."""

import logging
import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, UserError

logger = logging.getLogger(__name__)

# Steps whose median tells what an ordinary gradient is, and how many of them it takes.
_NORMS_KEPT = 100
_NORMS_NEEDED = 20
_NORMS_SHOWN = 5


class NonFiniteError(UserError, FloatingPointError):
    """A loss or a gradient became infinite or NaN; the text says where."""


@dataclass
class StepRecord:
    """What is known of one step.

    Attributes:
        iteration: number of the step.
        losses: name -> scalar tensor, detached.
        images: file names of the batch; of what has none, nothing.
        learning_rate: of the group with the most parameters.
        gradient_norm: a scalar tensor; None where it was not measured, or not yet.
        norms_before: those of the steps before, newest last.
        failure: what the model says of a step that it gave up.
    """

    iteration: int
    losses: dict[str, Tensor]
    images: list[str]
    learning_rate: float | Tensor | None = None
    gradient_norm: Tensor | None = None
    norms_before: list[float] = field(default_factory=list)
    failure: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The record in numbers and texts."""
        rate, norm = self.learning_rate, self.gradient_norm
        return {
            "iteration": self.iteration,
            "losses": {name: float(loss) for name, loss in self.losses.items()},
            "learning_rate": None if rate is None else float(rate),
            "gradient_norm": None if norm is None else float(norm),
            "gradient_norms_before": self.norms_before,
            "images": self.images,
            "failure": self.failure,
        }


class LossGuard:
    """Checks the losses of steps: at once on the CPU, once a period elsewhere.

    Reading a loss from an accelerator waits for the whole step, so there the losses of a period
    stay on the device and are fetched in one transfer. A guard that skips steps has to know
    before each update, and so waits for each of them.

    Attributes:
        skips: whether a step that is not finite is left out; else it ends the run.
        num_skipped: steps left out in a row.
        report: called with the record of a step that is not finite; what it returns is added to
            the message. It may write a file.
    """

    def __init__(
        self,
        period: int = 20,
        *,
        action: str = "stop",
        max_skips: int = 5,
        alarm: float = 0.0,
    ) -> None:
        """Make a guard.

        Args:
            period: how many steps may pass before the losses on an accelerator are looked at.
            action: "stop", or "skip" for leaving out the step.
            max_skips: so many steps in a row are left out; one more ends the run.
            alarm: a gradient norm of more than this many times the median of the last steps is
                logged; 0 for none.

        Raises:
            ConfigError: for another action.
        """
        if action not in ("stop", "skip"):
            raise ConfigError(f"SOLVER.NONFINITE.ACTION={action!r} is not known; 'stop' or 'skip'.")
        self.period = period
        self.skips = action == "skip"
        self.max_skips = max_skips
        self.alarm = alarm
        self.num_skipped = 0
        self.report: Callable[[StepRecord], str] | None = None
        self._unchecked: list[StepRecord] = []
        self._norms: deque[float] = deque(maxlen=_NORMS_KEPT)

    def check(
        self,
        iteration: int,
        losses: Mapping[str, Tensor],
        batch: Any,
        learning_rate: float | Tensor | None = None,
    ) -> None:
        """Note the losses of one step, and look at them where that is free or due.

        Args:
            iteration: number of the step.
            losses: name -> scalar tensor, detached.
            batch: the step's batch; a list of dicts with "file_name" lets the message name them.
            learning_rate: of this step.

        Raises:
            NonFiniteError: if a loss noted since the last look is infinite or NaN.
        """
        record = StepRecord(iteration, dict(losses), _image_names(batch), learning_rate)
        self._unchecked.append(record)
        if self.skips:
            return
        if all(loss.device.type == "cpu" for loss in losses.values()):
            # Now, since the backward pass costs more than the look.
            self._reject_nonfinite(record, sum(float(loss) for loss in losses.values()))
        if not self.watches_gradients:
            self._flush_if_due()

    def check_gradients(self, norm: Tensor, *, may_be_infinite: bool = False) -> None:
        """Note the gradient norm of the step that `check` was called for last.

        Args:
            norm: scalar, of all gradients together.
            may_be_infinite: a gradient scaler looks after infinite ones.

        Raises:
            NonFiniteError: if it is infinite or NaN and that is known at once.
        """
        if not may_be_infinite:
            self._unchecked[-1].gradient_norm = norm
        if not self.skips:
            self._flush_if_due()

    def note_failure(
        self, iteration: int, failure: str, batch: Any, learning_rate: float | Tensor | None
    ) -> None:
        """Note a step that the model gave up, because its numbers were not finite.

        Args:
            iteration: number of the step.
            failure: what the model says.
            batch: as for `check`.
            learning_rate: of this step.

        Raises:
            NonFiniteError: if steps are not skipped, or not with several processes, of which the
                others wait for this one's gradients.
        """
        images = _image_names(batch)
        record = StepRecord(iteration, {}, images, learning_rate, failure=failure)
        record.norms_before = list(self._norms)[-_NORMS_SHOWN:]
        if not self.skips or comm.get_world_size() > 1:
            self._unchecked = []
            raise self._error(record)
        self._unchecked.append(record)

    @property
    def watches_gradients(self) -> bool:
        """Whether `check_gradients` is to be called at each step."""
        return self.alarm > 0

    def _flush_if_due(self) -> None:
        last = self._unchecked[-1]
        values = [
            *last.losses.values(),
            *([] if last.gradient_norm is None else [last.gradient_norm]),
        ]
        on_cpu = all(value.device.type == "cpu" for value in values)
        if on_cpu or len(self._unchecked) >= self.period:
            self.flush()

    def is_finite(self) -> Tensor:
        """Whether the last step's losses and gradients are, as a bool tensor on their device."""
        record = self._unchecked[-1]
        values = [_sum(record.losses), record.gradient_norm]
        return torch.stack([v.float() for v in values if v is not None]).isfinite().all()

    def skip(self) -> None:
        """Count the last step as left out.

        Raises:
            NonFiniteError: if it is one too many in a row.
        """
        record = self._unchecked.pop()
        self.num_skipped += 1
        if self.num_skipped > self.max_skips:
            raise self._error(record, f"{self.max_skips} steps in a row were left out before. ")
        text = self.report(record) if self.report is not None else ""
        logger.warning(
            f"Left out step {record.iteration} ({self.num_skipped} in a row, "
            f"SOLVER.NONFINITE.MAX_SKIPS {self.max_skips}): {_describe(record)}. {text}"
        )

    def commit(self) -> None:
        """Take the last step, of a guard that skips, as finite."""
        self.num_skipped = 0
        self.flush()

    def flush(self) -> None:
        """Look at everything noted so far.

        Raises:
            NonFiniteError: if one of the losses or gradients is infinite or NaN.
        """
        records, self._unchecked = self._unchecked, []
        sums = _fetch([_sum(record.losses) for record in records])
        norms = _fetch([record.gradient_norm for record in records])
        for record, total, norm in zip(records, sums, norms, strict=True):
            self._reject_nonfinite(record, total, norm)
            self._compare(record, norm)

    def _reject_nonfinite(
        self, record: StepRecord, total: float | None, norm: float | None = None
    ) -> None:
        record.norms_before = list(self._norms)[-_NORMS_SHOWN:]
        if not all(value is None or math.isfinite(value) for value in (total, norm)):
            self._unchecked = []
            raise self._error(record)

    def _compare(self, record: StepRecord, norm: float | None) -> None:
        """Log a gradient that is far from the ordinary."""
        if norm is None:
            return
        if len(self._norms) >= _NORMS_NEEDED and self.alarm > 0:
            ordinary = statistics.median(self._norms)
            if norm > self.alarm * ordinary:
                images = ", ".join(record.images) or "unknown"
                logger.warning(
                    f"The gradient of iteration {record.iteration} is anomalous: its norm is "
                    f"{norm:.4g}, {norm / max(ordinary, 1e-30):.0f} times the median of the last "
                    f"{len(self._norms)} steps. Images of the batch: {images}"
                )
        self._norms.append(norm)

    def _error(self, record: StepRecord, prefix: str = "") -> NonFiniteError:
        text = self.report(record) if self.report is not None else ""
        return NonFiniteError(
            f"{prefix}{_describe(record)}. Look at these images and their annotations; where they "
            "are right, lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or set "
            f"SOLVER.CLIP_GRADIENTS.ENABLED True. {text}".rstrip()
        )


def _sum(losses: Mapping[str, Tensor]) -> Tensor | None:
    return torch.stack(list(losses.values())).sum() if losses else None


def _fetch(values: Sequence[Tensor | None]) -> list[float | None]:
    """The numbers, in one transfer."""
    there = [value for value in values if value is not None]
    numbers = iter(torch.stack(there).tolist() if there else [])
    return [None if value is None else next(numbers) for value in values]


def _describe(record: StepRecord) -> str:
    plain = record.as_dict()
    images = ", ".join(record.images) if record.images else "unknown"
    if record.failure:
        text = record.failure.rstrip(".")
        return f"Iteration {record.iteration}: {text}. Images of the batch: {images}"
    parts = ", ".join(f"{name}={loss:g}" for name, loss in plain["losses"].items())
    total = sum(plain["losses"].values())
    what = "gradient" if math.isfinite(total) else "loss"
    numbers = [
        f"{name} {plain[key]:.4g}"
        for name, key in (("learning rate", "learning_rate"), ("gradient norm", "gradient_norm"))
        if plain[key] is not None
    ]
    more = f" ({'; '.join(numbers)})" if numbers else ""
    return (
        f"The {what} became infinite or NaN at iteration {record.iteration}: {parts}{more}. "
        f"Images of the batch: {images}"
    )


def _image_names(batch: Any) -> list[str]:
    if not isinstance(batch, (list, tuple)):
        return []
    samples = [sample for sample in batch if isinstance(sample, Mapping)]
    return [str(sample["file_name"]) for sample in samples if "file_name" in sample]
