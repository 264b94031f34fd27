"""ValidationLoss: the losses on images that the model does not learn from, at a period."""

import datetime
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from d2lite.engine.trainer_base import HookBase
from d2lite.utils import comm
from d2lite.utils.errors import DataError, StateError
from d2lite.utils.events import EventStorage
from d2lite.utils.keyed_rng import DrawPurpose, draw_key, keyed_draws
from d2lite.utils.modes import restored_modes

from ..stepping import kept_generators, remember_buffers
from .period import is_due

logger = logging.getLogger(__name__)

# Modules that add noise in training, besides those of torch.
_NOISE_NAMES = ("Drop", "StochasticDepth")


class ValidationLoss(HookBase):
    """Measures losses and puts them into the storage as "validation/NAME".

    All processes call the function at the same steps.
    """

    runs_again = True

    def __init__(
        self,
        period: int,
        measure: Callable[[], Mapping[str, Mapping[str, float]]],
    ) -> None:
        """Make a hook.

        Args:
            period: steps between two measurements; one more follows the last step.
            measure: returns {name of a set: {name of a loss: value}}; in processes other than
                the main one its result is not used.
        """
        self._period = period
        self._measure: Callable[[], Mapping[str, Mapping[str, float]]] | None = measure

    def before_train(self) -> None:
        """Refuse a second training."""
        if self._measure is None:
            raise StateError(
                "This training is finished, and its ValidationLoss with it. Make a new trainer for "
                "the next one."
            )

    def after_step(self) -> None:
        """Measure when the period is over, and after the last step."""
        if is_due(self.trainer, self._period):
            self._report()

    def after_train(self) -> None:
        """Drop the function, which usually holds the trainer, if the training is finished."""
        if self.trainer.iter >= self.trainer.max_iter:
            self._measure = None

    def _report(self) -> None:
        assert self._measure is not None
        started = time.perf_counter()
        found = self._measure()
        comm.synchronize()
        if not comm.is_main_process():
            return
        for name, losses in found.items():
            # As in the results of an evaluation, several datasets are distinguished by their names.
            scope = "validation" if len(found) == 1 else f"{name}/validation"
            for loss, value in losses.items():
                self.trainer.storage.put_scalar(f"{scope}/{loss}", value, smoothing_hint=False)
            parts = ", ".join(f"{loss} {value:.4f}" for loss, value in losses.items())
            logger.info(f"Validation losses on {name} at iteration {self.trainer.iter}: {parts}")
        seconds = datetime.timedelta(seconds=round(time.perf_counter() - started))
        logger.info(f"Measuring the validation losses took {seconds}")


def measure_losses(
    model: nn.Module,
    data_loader: Iterable[Sequence[Any]],
    *,
    forward_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, float]:
    """Measure the mean losses of a model over a dataset, and leave the model unchanged.

    A batch counts by its images, so that the value is a mean over images. Everything that is
    random follows from the number of the batch.

    Args:
        model: without a wrapper for several processes; given a batch it returns losses.
        data_loader: yields batches with annotations; each image once, over all processes.
        forward_context: makes the context of each forward pass, such as autocast.

    Returns:
        Loss -> value, "total_loss" first; the same in all processes.

    Raises:
        DataError: if there was no image.
    """
    sums: dict[str, Tensor] = {}
    num_images = 0
    with ExitStack() as stack:
        # What models report about a step must not mix with the scalars of the training.
        stack.enter_context(EventStorage(start_iter=1))
        stack.enter_context(kept_generators(model))
        stack.enter_context(keyed_draws(draw_key(DrawPurpose.VALIDATION_MODEL)))
        stack.enter_context(torch.no_grad())
        restore = stack.enter_context(undisturbed_losses(model))
        for number, batch in enumerate(data_loader):
            torch.manual_seed(draw_key(DrawPurpose.VALIDATION_MODEL, _key_of(batch, number)))
            with forward_context():
                losses = model(batch)
            # A loss may change running numbers; the value of an image must not depend on the
            # images before it.
            restore()
            if isinstance(losses, Tensor):
                losses = {"total_loss": losses}
            for name, loss in losses.items():
                share = loss.detach().double() * len(batch)
                sums[name] = sums[name] + share if name in sums else share
            num_images += len(batch)
    return _mean_over_processes({name: float(value) for name, value in sums.items()}, num_images)


@contextmanager
def undisturbed_losses(model: nn.Module) -> Iterator[Callable[[], None]]:
    """Inside, a model gives its losses without noise, and batch norm takes no statistics.

    The parts that return losses stay in training mode; normalisation, dropout and the backbone
    work as in evaluation. On leaving, every mode and every buffer is as it was.

    Yields:
        A function that gives all buffers the values that they had on entering.
    """
    restore = remember_buffers(model)
    with ExitStack() as stack:
        stack.enter_context(restored_modes(model))
        stack.callback(restore)
        if not model.training:
            model.train()
        backbone = getattr(model, "backbone", None)
        if isinstance(backbone, nn.Module):
            backbone.eval()
        for module in model.modules():
            if _is_noisy(module):
                module.eval()
        yield restore


def _is_noisy(module: nn.Module) -> bool:
    # An attention drops shares by itself, without a module for it.
    is_known = isinstance(module, _NormBase | _DropoutNd | nn.MultiheadAttention)
    return is_known or type(module).__name__.startswith(_NOISE_NAMES)


def _key_of(batch: Sequence[Any], number: int) -> int:
    """A key of the batch that does not depend on how images are spread over processes."""
    first = batch[0] if batch else None
    return int(first.get("draw_key", number)) if isinstance(first, Mapping) else number


def _mean_over_processes(sums: dict[str, float], num_images: int) -> dict[str, float]:
    shares = comm.all_gather((sums, num_images))
    count = sum(images for _, images in shares)
    if count == 0:
        raise DataError(
            "There is no image to measure the validation loss on. Check DATASETS.TEST, or set "
            "TEST.LOSS_PERIOD 0."
        )
    means: dict[str, float] = {}
    for part, _ in shares:
        for name, value in part.items():
            means[name] = means.get(name, 0.0) + value / count
    if list(means) == ["total_loss"]:
        return means
    return {"total_loss": sum(means.values()), **means}
