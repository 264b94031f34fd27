"""SimpleTrainer: one optimizer, one loss dict, one step."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DataError, StateError
from d2lite.utils.events import EventStorage, get_event_storage
from d2lite.utils.keyed_rng import DrawPurpose, draw_key
from d2lite.utils.process_means import PassMeans, sharing_means

from .stepping import (
    LossGuard,
    StepRecord,
    as_scalars,
    check_optimizer_state,
    kept_generators,
    main_group,
    out_of_memory_advice,
    remember_buffers,
    split_batch,
)
from .trainer_base import TrainerBase

logger = logging.getLogger(__name__)

# Steps on an accelerator after which losses are checked: each check waits for the device.
_GUARD_PERIOD = 20


class SimpleTrainer(TrainerBase):
    """The step that most trainings need: load, forward, backward, update.

    The model takes a batch and returns a dict of losses (or one loss); their sum is minimised.

    Attributes:
        model: the model, in training mode.
        data_loader: an endless iterable of batches.
        optimizer: the optimizer of the model's parameters.
    """

    # A subclass with an __init__ of its own, as people wrote them for detectron2, sets model,
    # data_loader and optimizer; the rest it may leave out.
    gather_metric_period: int = 1
    zero_grad_before_forward: bool = False
    accumulate_steps: int = 1
    seed: int | None = None
    _batches: Iterator[Any] | None = None
    _scales_gradients = False

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
        *,
        accumulate_steps: int = 1,
        seed: int | None = None,
        guard: LossGuard | None = None,
    ) -> None:
        """Make a trainer.

        Args:
            model: takes a batch of `data_loader`, returns a loss or a dict of losses; it is put
                into training mode here.
            data_loader: an endless iterable of batches. If it has `seek(batch)`, this is called
                with the iteration before its iterator is made, so that a resumed run continues
                with the next batch of the stream.
            optimizer: the optimizer of the model's parameters.
            gather_metric_period: steps between two writings of losses and data time.
            zero_grad_before_forward: free the old gradients before the forward pass (less
                memory) instead of after it.
            async_write_metrics: has no effect: metrics stay on their device until a writer reads
                them, so writing never waits for the GPU.
            accumulate_steps: number of passes that a batch (then a list of images) is split
                into. The gradients equal those of one pass wherever the loss is a mean over
                images and nothing but the loss couples the images of a batch.
            seed: if given, torch's generators are seeded with (seed, iteration, rank) at each
                step, so that dropout and similar draws are the same after a resume.
            guard: checks losses and gradients; the default one ends the run at a loss that is
                not finite.
        """
        super().__init__()
        if accumulate_steps < 1:
            raise ConfigError(
                f"SOLVER.ACCUMULATE_STEPS={accumulate_steps} is too small; use 1 or more."
            )
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.accumulate_steps = accumulate_steps
        self.seed = seed
        self.guard = guard or LossGuard(max(gather_metric_period, _GUARD_PERIOD))

    # The last iteration whose losses the guard has seen.
    _guarded_iter = -1

    @cached_property
    def guard(self) -> LossGuard:
        """Checks losses and gradients."""
        return LossGuard(_GUARD_PERIOD)

    def run_step(self) -> None:
        """Make one step: load, forward, backward, update, and log the losses."""
        batch, data_time = self._begin_step()
        rate = main_group(self.optimizer)["lr"]
        parts = split_batch(batch, self.accumulate_steps)
        advice = out_of_memory_advice(batch, self.accumulate_steps)
        with advice, self.guard.step(self.iter, batch, self.model, rate) as step:
            passes = self._note_passes(batch, parts)
            for number, (part, share) in enumerate(parts, start=1):
                is_last = number == len(parts)
                with self._gradient_sync(is_last), passes.sharing(number - 1):
                    losses = self._forward(part, share)
                    step.add_losses(losses)
                    if number == 1:
                        self.optimizer.zero_grad()
                    if is_last:
                        self.guard.check(step)
                    self._backward(reduce(add, losses.values()), is_last=is_last)
            self.after_backward()
            norm = self.guard.check_gradients(
                step, self.model.parameters(), may_be_infinite=self._scales_gradients
            )
        if not step.is_skipped:
            self._log(step.losses, data_time, norm)
        self._update(is_skipped=step.is_skipped)

    def _begin_step(self) -> tuple[Any, float]:
        """Load the batch, and key what the step draws.

        Returns:
            The batch, and the seconds that it was waited for.
        """
        if not self.model.training:
            raise StateError("The model was left in evaluation mode; call model.train()")
        started = time.perf_counter()
        try:
            batch = next(self._data_loader_iter)
        except StopIteration:
            raise DataError(
                f"The data loader ended at iteration {self.iter} of {self.max_iter}. Training "
                "needs an endless one; use build_detection_train_loader or a TrainingSampler, "
                "and check that the training set is not empty."
            ) from None
        data_time = time.perf_counter() - started
        if self.seed is not None:
            torch.manual_seed(draw_key(self.seed, self.iter, comm.get_rank(), DrawPurpose.STEP))
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        return batch, data_time

    @property
    def _data_loader_iter(self) -> Iterator[Any]:
        """The running iterator of the loader; it starts at the present iteration.

        Steps that people write for detectron2 take their batches from this name.
        """
        if self._batches is None:
            self._seek_data_loader()
            self._batches = iter(self.data_loader)
        return self._batches

    @_data_loader_iter.setter
    def _data_loader_iter(self, batches: Iterator[Any]) -> None:
        self._batches = batches

    def _seek_data_loader(self) -> None:
        seek = getattr(self.data_loader, "seek", None)
        if seek is not None:
            seek(self.iter)
        elif self.iter > 0:
            logger.warning(
                f"The data loader has no seek(), so at iteration {self.iter} its data start over "
                "from the beginning; the resumed run is not the one that would have gone on."
            )

    def _forward(self, part: Any, share: float) -> dict[str, Tensor]:
        """The losses of a part of the batch, weighted by its share of the images."""
        with self.forward_context(), sharing_means():
            losses = self.model(part)
        if isinstance(losses, Tensor):
            losses = {"total_loss": losses}
        if not losses:
            raise RuntimeError(f"{type(self.model).__name__} returned no loss to minimise")
        losses = as_scalars(losses)
        return losses if share == 1.0 else {name: share * loss for name, loss in losses.items()}

    def _note_passes(self, batch: Any, parts: list[tuple[Any, float]]) -> PassMeans:
        """Count what each pass of an accumulated batch takes the mean of; nothing for one pass.

        The forward passes for it leave no trace: in buffers, draws or the log.
        """
        shares = [share for _, share in parts]
        if len(parts) == 1:
            return PassMeans(shares)
        model = comm.unwrap(self.model)
        padded_sides = getattr(model, "padded_sides", None)
        sides = padded_sides(batch) if callable(padded_sides) else (0, 0)
        passes = PassMeans(shares, sides)
        restore = remember_buffers(model)
        with torch.no_grad(), kept_generators(model), EventStorage(self.iter):
            for number, (part, _) in enumerate(parts):
                with self.forward_context(), sharing_means(), passes.noting(number):
                    model(part)
        restore()
        return passes

    def _gradient_sync(self, is_last: bool) -> AbstractContextManager[Any]:
        """Keep DDP from averaging gradients that are not complete yet."""
        if is_last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def forward_context(self) -> AbstractContextManager[Any]:
        """The context of the forward pass; a new one at each call."""
        return nullcontext()

    def _backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Add the gradients of one pass; after the last one they are complete."""
        loss.backward()

    def _update(self, *, is_skipped: bool) -> None:
        """Update the weights, or drop the gradients of a step that is skipped."""
        if is_skipped:
            self.optimizer.zero_grad()
        else:
            self.optimizer.step()

    def _log(self, losses: Mapping[str, Tensor], data_time: float, norm: Tensor | None) -> None:
        """Write the step's scalars where their period is over."""
        self._guarded_iter = self.iter
        if (self.iter + 1) % self.gather_metric_period == 0:
            self._write_metrics(losses, data_time)
        if norm is not None and comm.is_main_process():
            get_event_storage().put_scalar("grad_norm", norm, cur_iter=self.iter)

    def _write_metrics(
        self, loss_dict: Mapping[str, Tensor], data_time: float, prefix: str = ""
    ) -> None:
        """Write the losses of the present iteration.

        Steps written for detectron2 call it, and end here at a loss that is not finite.
        """
        if self._guarded_iter != self.iter:
            losses = {name: loss.detach() for name, loss in as_scalars(loss_dict).items()}
            self.guard.check_alone(StepRecord(self.iter, losses, []))
        self.write_metrics(loss_dict, data_time, self.iter, prefix)

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, Tensor],
        data_time: float,
        cur_iter: int | str | None = None,
        prefix: str = "",
    ) -> None:
        """Put the losses (mean over processes) and the data time (their maximum) into the storage.

        With several processes all of them must call this. The values stay on their device.

        Args:
            loss_dict: name -> scalar tensor.
            data_time: seconds that this process waited for data.
            cur_iter: the iteration that the values belong to; None for the storage's. A text is
                the prefix, which detectron2 0.6 has in this place.
            prefix: goes before the name "total_loss".
        """
        if isinstance(cur_iter, str):
            prefix = cur_iter
            cur_iter = None
        losses = {name: loss.detach() for name, loss in as_scalars(loss_dict).items()}
        data_times = [data_time]
        if comm.get_world_size() > 1:
            losses = comm.reduce_dict(losses)
            data_times = comm.gather(data_time)
        if not comm.is_main_process():
            return
        storage = get_event_storage()
        # The slowest process is the one that all others wait for.
        storage.put_scalar("data_time", max(data_times), cur_iter=cur_iter)
        shown: dict[str, Any] = {f"{prefix}total_loss": sum(losses.values())}
        if len(losses) > 1:
            shown |= losses
        storage.put_scalars(cur_iter=cur_iter, **shown)

    def reset_data_loader(
        self, data_loader_builder: Callable[[], Iterable[Any]], *, seed: int | None = None
    ) -> None:
        """Replace the data loader; the old one and its workers end before the new one is built.

        Args:
            data_loader_builder: makes the new loader; it starts at the current iteration.
            seed: keys the draws of the steps from now on; None keeps the seed of before.
        """
        self.seed = self.seed if seed is None else seed
        self._batches = None
        self.data_loader = ()
        self.data_loader = data_loader_builder()

    def after_train(self) -> None:
        """Finish the last step, then run the hooks."""
        try:
            self.finish()
        finally:
            super().after_train()

    def finish(self) -> None:
        """Check the last losses and end the loader's workers.

        Raises:
            FloatingPointError: if a loss that was not checked yet is not finite.
        """
        # Ends the loader's workers; a second train() makes new ones at its own iteration.
        self._batches = None
        self.guard.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run and of the optimizer.

        Raises:
            FloatingPointError: if a loss that was not checked yet is not finite, so that broken
                weights are never saved.
        """
        self.guard.flush()
        state = {**super().state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.guard.num_skipped:
            state["num_skipped"] = self.guard.num_skipped
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])
        check_optimizer_state(self.optimizer)
        self.guard.num_skipped = int(state_dict.get("num_skipped", 0))
