"""PreciseBN: batch norm statistics as averages over many batches of the present weights."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from d2lite.engine.trainer_base import HookBase
from d2lite.utils import comm
from d2lite.utils.events import EventStorage

from ..stepping import remember_buffers
from .period import is_due

logger = logging.getLogger(__name__)


def get_training_bn_layers(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers whose statistics move in training; frozen ones are not among them."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.running_mean is not None
    ]


class PreciseBN(HookBase):
    """Replaces the moving averages of batch norm by plain averages, before an evaluation.

    A moving average mixes statistics of weights that have moved since; this matters where
    batches are small or the learning rate is large. Register it before the hook that evaluates.
    """

    def __init__(
        self,
        period: int,
        model: nn.Module,
        data_loader: Iterable[Any],
        num_iter: int,
        *,
        weights: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Make a hook.

        Args:
            period: steps between two updates; 0 for one after the last step only.
            model: the model, which is in training mode at an update.
            data_loader: gives batches as for training; if it can `seek`, each update uses the
                batches from its own iteration on, so that a resumed run uses the same ones.
            num_iter: number of batches to average over.
            weights: the context to measure in; one in which the model has averaged weights
                measures their statistics, and does not change those of the training.
        """
        self._layers = get_training_bn_layers(model)
        if not self._layers:
            logger.info("PreciseBN has nothing to do: no batch norm is trained in this model")
        self._model = model
        self._data_loader = data_loader
        self._num_iter = num_iter
        self._weights = weights
        self._period = period
        self._batches: Iterator[Any] | None = None

    def after_step(self) -> None:
        """Update when the period is over, and after the last step."""
        if is_due(self.trainer, self._period):
            self.update_stats()

    def update_stats(self) -> None:
        """Measure the statistics over the next batches.

        Raises:
            RuntimeError: if the model is in evaluation mode, where batch norm measures nothing.
        """
        if not self._layers:
            return
        if not self._model.training:
            raise RuntimeError("PreciseBN needs the model in training mode; call model.train()")
        logger.info(f"PreciseBN: averaging batch norm statistics over {self._num_iter} batches")
        momenta = [layer.momentum for layer in self._layers]
        with self._weights():
            # All else is for training steps to change, such as running numbers of losses.
            restore = remember_buffers(self._model, lambda module, _: module not in self._layers)
            try:
                with torch.no_grad(), EventStorage(start_iter=1):
                    count = self._average_over_batches()
            finally:
                restore()
                for layer, momentum in zip(self._layers, momenta, strict=True):
                    layer.momentum = momentum
            _average_over_processes(self._layers)
        if count < self._num_iter:
            logger.warning(f"PreciseBN: the data loader ended after {count} batches")

    def _average_over_batches(self) -> int:
        count = 0
        for count, batch in enumerate(self._next_batches(), start=1):
            for layer in self._layers:
                # With 1/count the update running += momentum * (batch - running) is the plain
                # mean of all batches so far, and the first one replaces the old value.
                layer.momentum = 1.0 / count
            self._model(batch)
        return count

    def _next_batches(self) -> Iterator[Any]:
        seek = getattr(self._data_loader, "seek", None)
        if seek is not None:
            seek(self.trainer.iter)
            return itertools.islice(iter(self._data_loader), self._num_iter)
        if self._batches is None:
            self._batches = iter(self._data_loader)
        return itertools.islice(self._batches, self._num_iter)


def _average_over_processes(layers: Iterable[_BatchNorm]) -> None:
    """Give all processes the mean of their statistics: each saw other batches."""
    world_size = comm.get_world_size()
    if world_size == 1:
        return
    for layer in layers:
        for statistic in (layer.running_mean, layer.running_var):
            if statistic is not None:
                dist.all_reduce(statistic)
                statistic /= world_size
