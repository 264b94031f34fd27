"""The contract of evaluators, and the loop that runs a model and an evaluator over a dataset."""

import datetime
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from d2lite.utils.comm import get_world_size, is_main_process
from d2lite.utils.errors import DataError
from d2lite.utils.modes import restored_modes

__all__ = [
    "DatasetEvaluator",
    "DatasetEvaluators",
    "inference_context",
    "inference_on_dataset",
]

logger = logging.getLogger(__name__)

# The first steps include one-time costs (allocation, compilation) and would spoil the estimate.
_WARMUP_STEPS = 5


def _nothing() -> None:
    pass


_NO_CALLBACKS = dict.fromkeys(
    ("on_start", "before_inference", "after_inference", "on_end"), _nothing
)


class DatasetEvaluator:
    """Collects a model's outputs, and turns them into numbers at the end.

    `inference_on_dataset` calls `reset` once, `process` for every batch and `evaluate` once.
    """

    def reset(self) -> None:
        """Forget all outputs; a new evaluation begins."""

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take in one batch.

        Args:
            inputs: what went into the model, one dict for each image.
            outputs: what came out, one dict for each image, in the same order.
        """

    def evaluate(self) -> dict[str, Any] | None:
        """Compute the results of everything taken in since `reset`.

        Returns:
            {task: {metric: value}}, for instance {"bbox": {"AP": 37.9}}; None or {} on processes
            that do not hold the results.
        """


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators that see the same images, as one."""

    def __init__(self, evaluators: Iterable[DatasetEvaluator]) -> None:
        """Wrap evaluators.

        Args:
            evaluators: their results must have different tasks.
        """
        self._evaluators = list(evaluators)

    def reset(self) -> None:
        """Reset each of them."""
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Pass a batch to each of them."""
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        """Join the results of all of them.

        Raises:
            ValueError: if two of them give results for one task.
        """
        joined: dict[str, Any] = {}
        for evaluator in self._evaluators:
            # Called in every process, as it may gather from all of them.
            results = evaluator.evaluate()
            if not is_main_process() or results is None:
                continue
            twice = sorted(joined.keys() & results.keys())
            if twice:
                raise DataError(
                    f"{type(evaluator).__name__} gives results for {', '.join(twice)}, as an "
                    "earlier evaluator does; limit their tasks so that each task is scored once."
                )
            joined |= results
        return joined


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode; afterwards each submodule has its own mode again."""
    with restored_modes(model):
        model.eval()
        yield


def inference_on_dataset(
    model: Callable[[Any], Any] | nn.Module,
    data_loader: Iterable[list[dict[str, Any]]],
    evaluator: DatasetEvaluator | Sequence[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], object]] | None = None,
    *,
    log_period: float = 5.0,
) -> dict[str, Any]:
    """Run a model over a dataset and evaluate its outputs.

    Args:
        model: a module, which is in evaluation mode meanwhile, or any callable on batches.
        data_loader: yields batches; each image of the dataset once, over all processes.
        evaluator: one or several; None to measure the speed only.
        callbacks: called without arguments at "on_start", "before_inference" (of each batch),
            "after_inference" and "on_end".
        log_period: seconds between two lines of progress.

    Returns:
        The evaluator's results; {} where it has none.
    """
    hooks: dict[str, Callable[[], object]] = {**_NO_CALLBACKS, **(callbacks or {})}
    if evaluator is None:
        evaluator = DatasetEvaluators([])
    elif not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator)
    total = len(data_loader) if isinstance(data_loader, Sized) else None
    logger.info(
        "Inference on %s batches%s",
        "an unknown number of" if total is None else total,
        f", in each of {get_world_size()} processes" if get_world_size() > 1 else "",
    )
    evaluator.reset()
    clock = _Clock(total, log_period)
    mode = inference_context(model) if isinstance(model, nn.Module) else nullcontext()
    with mode, torch.no_grad():
        hooks["on_start"]()
        clock.start()
        for inputs in data_loader:
            clock.lap("data")
            hooks["before_inference"]()
            outputs = model(inputs)
            _wait_for_device()
            hooks["after_inference"]()
            clock.lap("model")
            evaluator.process(inputs, outputs)
            clock.lap("evaluator")
            clock.step(len(inputs))
        hooks["on_end"]()
    clock.report()
    results = evaluator.evaluate()
    return {} if results is None else results


def _wait_for_device() -> None:
    """Kernels run asynchronously; without this their time would count as the evaluator's."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


class _Clock:
    """Measures where the time of an inference run goes; logs it during the run and at its end."""

    def __init__(self, total: int | None, log_period: float) -> None:
        self._total = total
        self._log_period = log_period
        self._spent = {"data": 0.0, "model": 0.0, "evaluator": 0.0}
        self._steps = 0
        self._images = 0

    def start(self) -> None:
        self._begin = self._last = self._last_line = time.perf_counter()
        self._timed_from = self._begin
        self._timed_steps = 0

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self._spent[part] += now - self._last
        self._last = now

    def step(self, num_images: int) -> None:
        self._steps += 1
        self._images += num_images
        if self._last - self._last_line >= self._log_period:
            self._last_line = self._last
            logger.info("Inference: %s", self._line())
        if self._steps == min(_WARMUP_STEPS, (self._total or _WARMUP_STEPS) - 1):
            self._spent = dict.fromkeys(self._spent, 0.0)
            self._timed_from, self._timed_steps = self._last, self._steps

    def _line(self) -> str:
        seconds = self._seconds_per_step()
        line = f"{self._steps}/{self._total if self._total is not None else '?'} batches. "
        line += ", ".join(f"{part} {s:.4f}" for part, s in self._parts().items()) + " s a batch. "
        if self._total is not None:
            left = datetime.timedelta(seconds=int(seconds * (self._total - self._steps)))
            line += f"ETA {left}"
        return line.rstrip()

    def report(self) -> None:
        if not self._steps:
            logger.warning("The data loader gave no image, so nothing was evaluated.")
            return
        elapsed = max(self._last - self._begin, 1e-9)
        logger.info(
            "Inference: %d images in %s (%.2f images/s; %s s a batch)",
            self._images,
            datetime.timedelta(seconds=round(elapsed)),
            self._images / elapsed,
            ", ".join(f"{part} {s:.4f}" for part, s in self._parts().items()),
        )

    def _seconds_per_step(self) -> float:
        return (self._last - self._timed_from) / max(self._steps - self._timed_steps, 1)

    def _parts(self) -> dict[str, float]:
        count = max(self._steps - self._timed_steps, 1)
        return {part: seconds / count for part, seconds in self._spent.items()}
