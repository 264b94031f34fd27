"""d2lite's side: a step of its trainer, and a prediction, in phases."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from d2lite.config import CfgNode
from d2lite.engine import AMPTrainer, DefaultTrainer, SimpleTrainer
from d2lite.utils.events import EventStorage

from .clock import PhaseClock, Side

__all__ = ["predicting_side", "time_phases", "training_side"]

NAME = "d2lite"
# Methods of a trainer that are the phases of its step.
_PHASES = {
    "_begin_step": "data",
    "_forward": "forward",
    "_backward": "backward",
    "_update": "optimizer",
}


def time_phases(trainer: SimpleTrainer, clock: PhaseClock) -> None:
    """Put a clock on the phases of a trainer's step; changes the trainer."""
    for method, phase in _PHASES.items():
        setattr(trainer, method, clock.timed(phase, getattr(trainer, method)))


def training_side(cfg: CfgNode, model: nn.Module, batch: Sequence[Mapping[str, Any]]) -> Side:
    """The step of a run's trainer on one batch, again and again.

    Args:
        cfg: SOLVER is read: optimizer, accumulated steps and precision.
        model: is trained.
        batch: samples of a training loader.
    """
    options: dict[str, Any] = {"accumulate_steps": cfg.SOLVER.ACCUMULATE_STEPS, "seed": 0}
    kind: type[SimpleTrainer] = SimpleTrainer
    if cfg.SOLVER.AMP.ENABLED:
        kind = AMPTrainer
        options["precision"] = getattr(torch, cfg.SOLVER.AMP.PRECISION)
    optimizer = DefaultTrainer.build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        # The weights stay what they are, so that every step has the same work.
        group["lr"] = 0.0
    trainer = kind(model, itertools.repeat(list(batch)), optimizer, **options)
    clock = PhaseClock(cfg.MODEL.DEVICE)
    time_phases(trainer, clock)

    def step() -> Mapping[str, float]:
        with EventStorage():
            with clock("other"):  # checks of losses and gradients, and the log
                trainer.run_step()
            trainer.iter += 1
        seconds = clock.take()
        seconds.pop("data")
        return seconds

    return Side(NAME, step)


def predicting_side(cfg: CfgNode, model: nn.Module, batch: Sequence[Mapping[str, Any]]) -> Side:
    """The prediction of one batch, again and again; masks are pasted into the images.

    Args:
        cfg: MODEL.DEVICE is read.
        model: predicts, in evaluation mode.
        batch: samples of a test loader.
    """
    clock = PhaseClock(cfg.MODEL.DEVICE)
    inputs = [{key: item[key] for key in ("image", "height", "width")} for item in batch]

    def step() -> Mapping[str, float]:
        model.eval()
        with torch.inference_mode(), clock("whole"):
            found = model(inputs)
        # Sides whose numbers of objects differ have done different work.
        counts = [len(one["instances"]) for one in found if "instances" in one]
        if counts:
            side.facts["objects"] = sum(counts)
        return clock.take()

    side = Side(NAME, step)
    return side
