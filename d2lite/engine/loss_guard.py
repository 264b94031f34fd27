"""LossGuard: notices a loss that is not finite and says where it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["LossGuard"]


@dataclass
class _Step:
    iteration: int
    losses: dict[str, Tensor]
    images: list[str]


class LossGuard:
    """Checks the losses of steps: at once on the CPU, once a period elsewhere.

    Reading a loss from an accelerator waits for the whole step, so there the losses of a period
    stay on the device and are fetched in one transfer.
    """

    def __init__(self, period: int = 20) -> None:
        """Make a guard.

        Args:
            period: how many steps may pass before the losses on an accelerator are looked at.
        """
        self.period = period
        self._unchecked: list[_Step] = []

    def check(self, iteration: int, losses: Mapping[str, Tensor], batch: Any) -> None:
        """Note the losses of one step, and look at them where that is free or due.

        Args:
            iteration: number of the step.
            losses: name -> scalar tensor, detached.
            batch: the step's batch; a list of dicts with "file_name" lets the message name them.

        Raises:
            FloatingPointError: if a loss noted since the last look is infinite or NaN.
        """
        self._unchecked.append(_Step(iteration, dict(losses), _image_names(batch)))
        on_cpu = all(loss.device.type == "cpu" for loss in losses.values())
        if on_cpu or len(self._unchecked) >= self.period:
            self.look()

    def look(self) -> None:
        """Look at everything noted so far.

        Raises:
            FloatingPointError: if one of the losses is infinite or NaN.
        """
        steps, self._unchecked = self._unchecked, []
        steps = [step for step in steps if step.losses]
        if not steps:
            return
        sums = torch.stack([torch.stack(list(step.losses.values())).sum() for step in steps])
        for step, is_finite in zip(steps, sums.isfinite().tolist(), strict=True):
            if not is_finite:
                raise FloatingPointError(_describe(step))


def _describe(step: _Step) -> str:
    parts = ", ".join(f"{name}={float(loss):g}" for name, loss in step.losses.items())
    images = ", ".join(step.images) if step.images else "unknown"
    return (
        f"The loss became infinite or NaN at iteration {step.iteration}: {parts}. "
        f"Images of the batch: {images}. Look at these images and their annotations; where they "
        "are right, lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or set "
        "SOLVER.CLIP_GRADIENTS.ENABLED True."
    )


def _image_names(batch: Any) -> list[str]:
    if not isinstance(batch, (list, tuple)):
        return []
    samples = [sample for sample in batch if isinstance(sample, Mapping)]
    return [str(sample["file_name"]) for sample in samples if "file_name" in sample]
