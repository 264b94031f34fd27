"""AMPTrainer: the step of SimpleTrainer in mixed precision."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.utils import comm
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import get_event_storage

from .simple_trainer import SimpleTrainer
from .stepping import LossGuard


class AMPTrainer(SimpleTrainer):
    """The step in mixed precision: float16 with a scaled loss, or bfloat16."""

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
        *,
        accumulate_steps: int = 1,
        seed: int | None = None,
        guard: LossGuard | None = None,
    ) -> None:
        """Make a trainer; see SimpleTrainer for the arguments not named here.

        Args:
            model: as in SimpleTrainer; its device decides where autocast applies.
            data_loader: as in SimpleTrainer.
            optimizer: as in SimpleTrainer.
            gather_metric_period: as in SimpleTrainer.
            zero_grad_before_forward: as in SimpleTrainer.
            grad_scaler: scales the loss so that float16 gradients do not vanish; made here when
                not given. bfloat16 has the range of float32 and needs none.
            precision: torch.float16 or torch.bfloat16.
            log_grad_scaler: write the scale as the scalar "[metric]grad_scaler".
            async_write_metrics: as in SimpleTrainer.
            accumulate_steps: as in SimpleTrainer.
            seed: as in SimpleTrainer.
            guard: as in SimpleTrainer.

        Raises:
            ConfigError: if the precision is another one, or float16 on the CPU.
        """
        super().__init__(
            model,
            data_loader,
            optimizer,
            gather_metric_period,
            zero_grad_before_forward,
            async_write_metrics,
            accumulate_steps=accumulate_steps,
            seed=seed,
            guard=guard,
        )
        if precision not in (torch.float16, torch.bfloat16):
            raise ConfigError(
                f"Mixed precision in {precision} is not supported; set SOLVER.AMP.PRECISION to "
                "'float16' or 'bfloat16'."
            )
        self._device_type = next(model.parameters()).device.type
        if precision == torch.float16 and self._device_type == "cpu":
            raise ConfigError(
                "Mixed precision in float16 needs a GPU, and the model is on the CPU. Set "
                "SOLVER.AMP.PRECISION bfloat16, or SOLVER.AMP.ENABLED False."
            )
        self.precision = precision
        self.log_grad_scaler = log_grad_scaler
        # A disabled scaler changes nothing, so that one step serves both precisions.
        self.grad_scaler = grad_scaler or torch.amp.GradScaler(
            self._device_type, enabled=precision == torch.float16
        )
        # The scaler itself leaves out an update whose gradients are infinite.
        self._scales_gradients = self.grad_scaler.is_enabled()

    def forward_context(self) -> AbstractContextManager[Any]:
        """Autocast to the precision."""
        return torch.autocast(self._device_type, dtype=self.precision)

    def _backward(self, loss: Tensor, *, is_last: bool) -> None:
        self.grad_scaler.scale(loss).backward()
        if is_last:
            # Before after_backward, so that hooks and clipping see gradients of the true size.
            self.grad_scaler.unscale_(self.optimizer)

    def _update(self, *, is_skipped: bool) -> None:
        if is_skipped:
            self.optimizer.zero_grad()
        else:
            is_due = (self.iter + 1) % self.gather_metric_period == 0
            if self.log_grad_scaler and is_due and comm.is_main_process():
                get_event_storage().put_scalar("[metric]grad_scaler", self.grad_scaler.get_scale())
            self.grad_scaler.step(self.optimizer)
        # After a skipped step too: the scale is lowered if the gradients were infinite.
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run, of the optimizer and of the scaler."""
        state = super().state_dict()
        if self.grad_scaler.is_enabled():
            state["grad_scaler"] = self.grad_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; without a state the scaler starts afresh."""
        super().load_state_dict(state_dict)
        scaler_state = state_dict.get("grad_scaler")
        if self.grad_scaler.is_enabled() and scaler_state:
            self.grad_scaler.load_state_dict(scaler_state)
