"""What a training step uses: checks of losses and gradients, buffers, advice on memory."""

from .buffers import kept_generators, remember_buffers
from .gradients import gradient_norm, main_group
from .loss_guard import LossGuard
from .losses import as_scalars
from .memory_advice import dead_worker_advice, out_of_memory_advice, out_of_memory_in_evaluation
from .optimizer_state import check_optimizer_state
from .split_batch import split_batch
from .step_record import NonFiniteError, StepRecord

__all__ = [
    "LossGuard",
    "NonFiniteError",
    "StepRecord",
    "as_scalars",
    "check_optimizer_state",
    "dead_worker_advice",
    "gradient_norm",
    "kept_generators",
    "main_group",
    "out_of_memory_advice",
    "out_of_memory_in_evaluation",
    "remember_buffers",
    "split_batch",
]
