"""BuiltRun: what the parts of `DefaultTrainer` in this folder use of it."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode
from d2lite.solver import LRScheduler
from d2lite.utils.events import EventWriter

from ..hooks import WeightAverage
from ..simple_trainer import SimpleTrainer
from ..trainer_base import HookBase


class BuiltRun(Protocol):
    """A trainer whose parts are built; `DefaultTrainer` says what each of these is."""

    cfg: CfgNode
    scheduler: LRScheduler
    checkpointer: DetectionCheckpointer
    class_names: list[str] | None
    weight_average: WeightAverage | None
    seed: int
    iter: int
    start_iter: int
    max_iter: int
    _hooks: list[HookBase]
    _trainer: SimpleTrainer

    @property
    def model(self) -> nn.Module:
        """The model, perhaps in a wrapper."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer."""

    @property
    def data_loader(self) -> Iterable[Any]:
        """The training loader."""

    def build_train_loader(self, cfg: CfgNode, /) -> Iterable[Any]:
        """Build the endless loader of training batches."""

    def build_validation_loader(self, cfg: CfgNode, dataset_name: str, /) -> Iterable[Any]:
        """Build the loader of annotated samples of a set."""

    def build_writers(self) -> Sequence[EventWriter]:
        """Make the writers."""

    def evaluated_weights(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that are evaluated."""

    def _evaluate(self) -> Any:
        """Evaluate on all sets."""

    def _evaluate_augmented(self) -> Any:
        """Evaluate with test-time augmentation."""
