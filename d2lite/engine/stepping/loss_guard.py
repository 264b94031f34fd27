"""LossGuard: finds losses and gradients that are not finite, and skips the step or ends the run."""

import logging
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from d2lite.utils import comm
from d2lite.utils.errors import ConfigError

from .buffers import remember_buffers
from .gradients import gradient_norm
from .step_record import NonFiniteError, StepRecord, image_names

logger = logging.getLogger(__name__)

# Steps whose median says what an ordinary gradient is, how many of them are needed for that, and
# how many norms a report shows.
_NORMS_KEPT = 100
_NORMS_NEEDED = 20
_NORMS_SHOWN = 5


class LossGuard:
    """Checks the losses of steps: at once on the CPU, once a period elsewhere.

    Reading a loss from an accelerator waits for the whole step, so there the losses of a period
    stay on the device and are fetched in one transfer. A guard that skips steps must know before
    each update, and so waits for each of them.

    Attributes:
        skips: whether a step that is not finite is skipped; otherwise it ends the run.
        num_skipped: steps skipped in a row.
    """

    def __init__(
        self,
        period: int = 20,
        *,
        action: str = "stop",
        max_skips: int = 5,
        alarm: float = 0.0,
        report: Callable[[StepRecord], str] | None = None,
    ) -> None:
        """Make a guard.

        Args:
            period: the number of steps after which losses on an accelerator are checked.
            action: "stop", or "skip" for a step without an update.
            max_skips: the number of steps in a row that may be skipped; one more ends the run.
            alarm: a gradient norm of more than this many times the median of the last steps is
                logged; 0 for none.
            report: called with the record of a step that is not finite; it may write a file.
                What it returns is added to the message.

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
        self._report = report
        self._unchecked: list[StepRecord] = []
        self._norms: deque[float] = deque(maxlen=_NORMS_KEPT)

    @contextmanager
    def step(
        self,
        iteration: int,
        batch: Any,
        model: nn.Module,
        learning_rate: float | Tensor | None = None,
    ) -> Iterator[StepRecord]:
        """Guard the passes of one step: what happens inside, up to complete gradients.

        Inside, call `check` when the losses are complete, and `check_gradients` after the last
        backward pass. Where the guard skips steps, a step that is not finite in any process
        leaves with `is_skipped` set and the model's buffers as they were before it; the update is
        the caller's to leave out.

        Args:
            iteration: number of the step.
            batch: a list of dicts with "file_name" lets messages name the images.
            model: with the parameters that the step updates.
            learning_rate: of this step.

        Yields:
            The record of the step; its losses are the caller's to add.

        Raises:
            NonFiniteError: if a loss or gradient is not finite and the step cannot be skipped.
        """
        record = StepRecord(iteration, {}, image_names(batch), learning_rate)
        restore = remember_buffers(model) if self.skips else None
        try:
            yield record
            record.is_skipped = self.skips and not self._is_finite_everywhere(record)
        except NonFiniteError:
            raise
        except FloatingPointError as error:
            # The model found that it has diverged before there was a loss.
            self._note_failure(record, str(error))
            record.is_skipped = True
        if restore is None:
            return
        if record.is_skipped:
            restore()
            self._count_skipped(record)
        else:
            self.num_skipped = 0
            self.flush()

    def check(self, record: StepRecord) -> None:
        """Note the losses of a step, and check them where that costs nothing or is due.

        Args:
            record: its losses are complete.

        Raises:
            NonFiniteError: if a loss noted since the last check is infinite or NaN.
        """
        self._unchecked.append(record)
        if self.skips:
            return
        if all(loss.device.type == "cpu" for loss in record.losses.values()):
            # Now, since the backward pass costs more than the check.
            losses = torch.stack(list(record.losses.values()))
            self._reject_nonfinite(record, sum(losses.tolist()))
        if self.alarm <= 0:
            self._flush_if_due()

    def check_alone(self, record: StepRecord) -> None:
        """Note and check the losses of a step that nothing else here guards; none is skipped.

        Args:
            record: its losses are complete.

        Raises:
            NonFiniteError: as `check`.
        """
        self._unchecked.append(record)
        self._flush_if_due()

    def check_gradients(
        self, record: StepRecord, parameters: Iterable[Tensor], *, may_be_infinite: bool = False
    ) -> Tensor | None:
        """Note the gradient norm of the step that `check` was called for last.

        Args:
            record: of the step.
            parameters: with complete gradients.
            may_be_infinite: infinite gradients are left to a gradient scaler.

        Returns:
            The norm, a scalar tensor; None for a guard without an alarm, which needs none.

        Raises:
            NonFiniteError: if it is infinite or NaN and that is known at once.
        """
        if self.alarm <= 0:
            return None
        norm = gradient_norm(parameters)
        if not may_be_infinite:
            record.gradient_norm = norm
        if not self.skips:
            self._flush_if_due()
        return norm

    def flush(self) -> None:
        """Check everything noted so far.

        Raises:
            NonFiniteError: if one of the losses or gradients is infinite or NaN.
        """
        records, self._unchecked = self._unchecked, []
        sums = _fetch([record.total_loss() for record in records])
        norms = _fetch([record.gradient_norm for record in records])
        for record, total, norm in zip(records, sums, norms, strict=True):
            self._reject_nonfinite(record, total, norm)
            self._log_large_gradient(record, norm)

    def _flush_if_due(self) -> None:
        last = self._unchecked[-1]
        values = [*last.losses.values(), last.gradient_norm]
        on_cpu = all(value is None or value.device.type == "cpu" for value in values)
        if on_cpu or len(self._unchecked) >= self.period:
            self.flush()

    def _is_finite_everywhere(self, record: StepRecord) -> bool:
        values = [record.total_loss(), record.gradient_norm]
        is_finite = torch.stack([v.float() for v in values if v is not None]).isfinite().all()
        if comm.get_world_size() > 1:
            votes = is_finite.float()
            dist.all_reduce(votes, dist.ReduceOp.MIN)
            is_finite = votes > 0
        return bool(is_finite)

    def _note_failure(self, record: StepRecord, failure: str) -> None:
        record.failure, record.losses = failure, {}
        record.norms_before = list(self._norms)[-_NORMS_SHOWN:]
        # The other processes wait for this one's gradients, so none can skip the step.
        if not self.skips or comm.get_world_size() > 1:
            self._unchecked = []
            raise self._error(record)
        self._unchecked = [record]

    def _count_skipped(self, record: StepRecord) -> None:
        self._unchecked.pop()
        self.num_skipped += 1
        if self.num_skipped > self.max_skips:
            raise self._error(record, f"{self.max_skips} steps in a row were skipped before. ")
        logger.warning(
            f"Skipped step {record.iteration} ({self.num_skipped} in a row, "
            f"SOLVER.NONFINITE.MAX_SKIPS {self.max_skips}): {record}. {self._describe(record)}"
        )

    def _reject_nonfinite(
        self, record: StepRecord, total: float | None, norm: float | None = None
    ) -> None:
        record.norms_before = list(self._norms)[-_NORMS_SHOWN:]
        if not all(value is None or math.isfinite(value) for value in (total, norm)):
            self._unchecked = []
            raise self._error(record)

    def _log_large_gradient(self, record: StepRecord, norm: float | None) -> None:
        if norm is None:
            return
        if len(self._norms) >= _NORMS_NEEDED and self.alarm > 0:
            ordinary = statistics.median(self._norms)
            if norm > self.alarm * ordinary:
                logger.warning(
                    f"The gradient of iteration {record.iteration} is anomalous: its norm is "
                    f"{norm:.4g}, {norm / max(ordinary, 1e-30):.0f} times the median of the last "
                    f"{len(self._norms)} steps. Images of the batch: "
                    f"{', '.join(record.images) or 'unknown'}"
                )
        self._norms.append(norm)

    def _describe(self, record: StepRecord) -> str:
        return self._report(record) if self._report is not None else ""

    def _error(self, record: StepRecord, prefix: str = "") -> NonFiniteError:
        return NonFiniteError(
            f"{prefix}{record}. Check these images and their annotations; if they are right, "
            "lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or set "
            f"SOLVER.CLIP_GRADIENTS.ENABLED True. {self._describe(record)}".rstrip()
        )


def _fetch(values: Sequence[Tensor | None]) -> list[float | None]:
    """The numbers, in one transfer."""
    present = [value for value in values if value is not None]
    numbers = iter(torch.stack(present).tolist() if present else [])
    return [None if value is None else next(numbers) for value in values]
