"""SimpleTrainer: one optimizer, one loss dict, one step."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DataError
from d2lite.utils.events import get_event_storage
from d2lite.utils.keyed_rng import DrawPurpose, draw_key
from d2lite.utils.process_means import sharing_means

from .stepping.gradients import gradient_norm, main_group
from .stepping.loss_guard import LossGuard, NonFiniteError
from .stepping.memory_advice import out_of_memory
from .trainer_base import TrainerBase

logger = logging.getLogger(__name__)

# Steps on an accelerator after which losses are looked at: each look waits for the device.
_GUARD_PERIOD = 20


class SimpleTrainer(TrainerBase):
    """The step that most trainings need: load, forward, backward, update.

    The model takes a batch and returns a dict of losses (or one loss); their sum is minimised.

    Attributes:
        model: the model, in training mode.
        data_loader: an endless iterable of batches.
        optimizer: the optimizer of the model's parameters.
    """

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
            data_loader: an endless iterable of batches. When it has `seek(batch)`, it is told
                the iteration before its iterator is made, so that a resumed run goes on where
                the stream stood.
            optimizer: the optimizer of the model's parameters.
            gather_metric_period: steps between two writings of losses and data time.
            zero_grad_before_forward: free the old gradients before the forward pass (less
                memory) instead of after it.
            async_write_metrics: known, but refused when True; see the error.
            accumulate_steps: number of passes that a batch (then a list of images) is split
                into. The gradients equal those of one pass wherever the loss is a mean over
                images and nothing but the loss couples the images of a batch.
            seed: when given, torch's generators are seeded with (seed, iteration, rank) at each
                step, so that dropout and its like are the same after a resume.
            guard: looks at losses and gradients; one that ends the run at a loss that is not
                finite if not given.
        """
        super().__init__()
        if accumulate_steps < 1:
            raise ConfigError(
                f"SOLVER.ACCUMULATE_STEPS={accumulate_steps} is no number of passes; use 1 or more."
            )
        if async_write_metrics:
            # DIFFERS: detectron2 writes in a thread because its writing waits for the GPU. Ours
            # leaves the values on the device, and a thread could lose some of them to a reader.
            raise ConfigError(
                "async_write_metrics=True is not supported: metrics stay on their device until a "
                "writer reads them, so there is nothing to wait for. Leave it out; with many "
                "processes raise gather_metric_period."
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
        self._batches: Iterator[Any] | None = None

    def run_step(self) -> None:
        """Load one batch, and update the weights once."""
        if not self.model.training:
            raise RuntimeError("The model was left in evaluation mode; call model.train()")
        started = time.perf_counter()
        batch = self._next_batch()
        data_time = time.perf_counter() - started
        if self.seed is not None:
            torch.manual_seed(draw_key(self.seed, self.iter, comm.get_rank(), DrawPurpose.STEP))

        buffers = self._kept_buffers() if self.guard.skips else []
        try:
            losses = self._make_gradients(batch)
            self.after_backward()
            norm = self._check_gradients()
            is_left_out = self.guard.skips and not self._is_finite_everywhere()
        except torch.cuda.OutOfMemoryError as error:
            raise out_of_memory(error, batch, self.accumulate_steps) from error
        except NonFiniteError:
            raise
        except FloatingPointError as error:
            # A model found that it has diverged before there was a loss.
            self.guard.note_failure(self.iter, str(error), batch, self._learning_rate)
            is_left_out = True
        if is_left_out:
            _put_back(buffers)
            self.optimizer.zero_grad()
            self._skip_update()
            self.guard.skip()
            return
        if self.guard.skips:
            self.guard.commit()
        if (self.iter + 1) % self.gather_metric_period == 0:
            self.write_metrics(losses, data_time, self.iter)
        if norm is not None and comm.is_main_process():
            get_event_storage().put_scalar("grad_norm", norm, cur_iter=self.iter)
        self._update()

    def _make_gradients(self, batch: Any) -> dict[str, Tensor]:
        """Run the passes over a batch; the gradients are complete afterwards.

        Returns:
            The detached losses of the batch.
        """
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        batch_losses: dict[str, Tensor] = {}
        passes = split_batch(batch, self.accumulate_steps)
        for number, (chunk, share) in enumerate(passes, start=1):
            is_last = number == len(passes)
            with self._gradient_sync(is_last):
                with self._forward_context():
                    losses = self._weighted_losses(chunk, share)
                _add_losses(batch_losses, losses)
                if number == 1 and not self.zero_grad_before_forward:
                    self.optimizer.zero_grad()
                if is_last:
                    self.guard.check(self.iter, batch_losses, batch, self._learning_rate)
                self._backward(sum(losses.values()), is_last=is_last)
        return batch_losses

    @property
    def _learning_rate(self) -> float | Tensor:
        rate: float | Tensor = main_group(self.optimizer)["lr"]
        return rate

    def _check_gradients(self) -> Tensor | None:
        if not self.guard.watches_gradients:
            return None
        norm = gradient_norm(self.model.parameters())
        self.guard.check_gradients(norm, may_be_infinite=self._scales_gradients())
        return norm

    def _scales_gradients(self) -> bool:
        """Whether infinite gradients are looked after by a scaler."""
        return False

    def _is_finite_everywhere(self) -> bool:
        is_finite = self.guard.is_finite()
        if comm.get_world_size() > 1:
            votes = is_finite.float()
            dist.all_reduce(votes, dist.ReduceOp.MIN)
            is_finite = votes > 0
        return bool(is_finite)

    def _kept_buffers(self) -> list[tuple[Tensor, Tensor]]:
        """Copies of what a forward pass changes: the statistics of batch norm."""
        return [(buffer, buffer.clone()) for buffer in self.model.buffers()]

    def _skip_update(self) -> None:
        """Do what has to be done in place of an update."""

    def _next_batch(self) -> Any:
        if self._batches is None:
            self._seek_data_loader()
            self._batches = iter(self.data_loader)
        try:
            return next(self._batches)
        except StopIteration:
            raise DataError(
                f"The data loader ended at iteration {self.iter} of {self.max_iter}. Training "
                "needs an endless one; use build_detection_train_loader or a TrainingSampler, "
                "and check that the training set is not empty."
            ) from None

    def _seek_data_loader(self) -> None:
        seek = getattr(self.data_loader, "seek", None)
        if seek is not None:
            seek(self.iter)
        elif self.iter > 0:
            logger.warning(
                f"The data loader has no seek(), so at iteration {self.iter} its data start over "
                "from the beginning; the resumed run is not the one that would have gone on."
            )

    def _weighted_losses(self, chunk: Any, share: float) -> dict[str, Tensor]:
        with sharing_means():
            losses = self.model(chunk)
        if isinstance(losses, Tensor):
            losses = {"total_loss": losses}
        if not losses:
            raise RuntimeError(f"{type(self.model).__name__} returned no loss to minimise")
        return losses if share == 1.0 else {name: share * loss for name, loss in losses.items()}

    def _gradient_sync(self, is_last: bool) -> AbstractContextManager[Any]:
        """Keep DDP from averaging gradients that are not complete yet."""
        if is_last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def _forward_context(self) -> AbstractContextManager[Any]:
        """What the forward pass runs in."""
        return nullcontext()

    def _backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Add the gradients of one pass; after the last one they are complete."""
        loss.backward()

    def _update(self) -> None:
        """Move the weights."""
        self.optimizer.step()

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, Tensor], data_time: float, cur_iter: int, prefix: str = ""
    ) -> None:
        """Put the losses (mean over processes) and the data time (their maximum) into the storage.

        With several processes all of them must call this. The values stay on their device.

        Args:
            loss_dict: name -> scalar tensor.
            data_time: seconds that this process waited for data.
            cur_iter: the iteration that the values belong to.
            prefix: goes before the name "total_loss".
        """
        losses = {name: loss.detach() for name, loss in loss_dict.items()}
        data_times = [data_time]
        if comm.get_world_size() > 1:
            losses = comm.reduce_dict(losses)
            data_times = comm.gather(data_time)
        if not comm.is_main_process():
            return
        storage = get_event_storage()
        # The slowest process is the one that all others wait for.
        storage.put_scalar("data_time", max(data_times), cur_iter=cur_iter)
        storage.put_scalar(f"{prefix}total_loss", sum(losses.values()), cur_iter=cur_iter)
        if len(losses) > 1:
            for name, loss in losses.items():
                storage.put_scalar(name, loss, cur_iter=cur_iter)

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable[Any]]) -> None:
        """Replace the data loader; the old one and its workers go before the new one is built.

        Args:
            data_loader_builder: makes the new loader; it starts at the current iteration.
        """
        self._batches = None
        self.data_loader = ()
        self.data_loader = data_loader_builder()

    def after_train(self) -> None:
        """Finish the step's open ends, then open the hooks' doors."""
        try:
            self.finish()
        finally:
            super().after_train()

    def finish(self) -> None:
        """Look at the last losses and end the loader's workers.

        Raises:
            FloatingPointError: if a loss that nobody had looked at is not finite.
        """
        # Ends the loader's workers; a second train() makes new ones at its own iteration.
        self._batches = None
        self.guard.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run and of the optimizer.

        Raises:
            FloatingPointError: if a loss that nobody had looked at is not finite, so that broken
                weights are never saved.
        """
        self.guard.flush()
        state = {**super().state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.guard.num_skipped:
            state["num_skipped"] = self.guard.num_skipped
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.guard.num_skipped = state_dict.get("num_skipped", 0)


def split_batch(batch: Any, num_parts: int) -> list[tuple[Any, float]]:
    """Split a batch into nearly equal parts, each with its share of the images.

    Args:
        batch: a sequence of images; anything else only when `num_parts` is 1.
        num_parts: number of parts; a batch with fewer images gives fewer parts.

    Returns:
        (part, share) pairs; the shares add up to 1.
    """
    if num_parts == 1:
        return [(batch, 1.0)]
    if not isinstance(batch, Sequence) or not batch:
        raise DataError(
            f"SOLVER.ACCUMULATE_STEPS={num_parts} needs batches that are lists of images; the data "
            f"loader gave a {type(batch).__name__}. Give lists, or use SOLVER.ACCUMULATE_STEPS 1."
        )
    count = len(batch)
    num_parts = min(num_parts, count)
    edges = [count * part // num_parts for part in range(num_parts + 1)]
    return [
        (batch[start:stop], (stop - start) / count) for start, stop in itertools.pairwise(edges)
    ]


def _put_back(kept: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for buffer, copy in kept:
            buffer.copy_(copy)


def _add_losses(total: dict[str, Tensor], losses: Mapping[str, Tensor]) -> None:
    """Add the detached losses of one pass to `total`, in place."""
    for name, loss in losses.items():
        total[name] = total[name] + loss.detach() if name in total else loss.detach()
