"""StepRecord: the numbers of one step and how they read in a message."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from d2lite.utils.errors import UserError


class NonFiniteError(UserError, FloatingPointError):
    """A loss or a gradient is infinite or NaN; the text says where."""


@dataclass
class StepRecord:
    """What is known of one step.

    Attributes:
        iteration: number of the step.
        losses: name -> scalar tensor, detached.
        images: file names of the batch, as far as its samples have one.
        learning_rate: of the group with the most parameters.
        gradient_norm: a scalar tensor; None where it was not measured, or not yet.
        norms_before: gradient norms of the steps before, newest last.
        failure: the model's own error message, if it raised a FloatingPointError.
        is_skipped: whether the step ended without an update.
    """

    iteration: int
    losses: dict[str, Tensor]
    images: list[str]
    learning_rate: float | Tensor | None = None
    gradient_norm: Tensor | None = None
    norms_before: list[float] = field(default_factory=list)
    failure: str = ""
    is_skipped: bool = False

    def add_losses(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses of one pass over a part of the batch."""
        for name, loss in losses.items():
            so_far = self.losses.get(name)
            self.losses[name] = loss.detach() if so_far is None else so_far + loss.detach()

    def total_loss(self) -> Tensor | None:
        """The sum of the losses; None if there are none."""
        return torch.stack(list(self.losses.values())).sum() if self.losses else None

    def as_dict(self) -> dict[str, Any]:
        """The record as numbers and texts."""
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

    def __str__(self) -> str:
        plain = self.as_dict()
        images = f"Images of the batch: {', '.join(self.images) or 'unknown'}"
        if self.failure:
            return f"Iteration {self.iteration}: {self.failure.rstrip('.')}. {images}"
        values = [f"{name}={loss:g}" for name, loss in plain["losses"].items()]
        for name, key in (("learning rate", "learning_rate"), ("gradient norm", "gradient_norm")):
            if plain[key] is not None:
                values.append(f"{name} {plain[key]:.4g}")
        what = "gradient" if math.isfinite(sum(plain["losses"].values())) else "loss"
        numbers = ", ".join(values)
        return f"The {what} of iteration {self.iteration} is not finite ({numbers}). {images}"


def image_names(batch: Any) -> list[str]:
    """The file names of a batch's samples.

    Args:
        batch: a list of dicts with "file_name"; anything else gives no names.
    """
    if not isinstance(batch, (list, tuple)):
        return []
    samples = [sample for sample in batch if isinstance(sample, Mapping)]
    return [str(sample["file_name"]) for sample in samples if "file_name" in sample]
