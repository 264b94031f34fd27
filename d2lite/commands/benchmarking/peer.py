"""The side of another library: its model as a torch module, timed like ours."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .clock import PhaseClock, Side

__all__ = ["peer_side"]


def peer_side(
    name: str,
    model: nn.Module,
    *,
    losses: Callable[[], Mapping[str, Tensor]] | None,
    predict: Callable[[], Any],
    device: str,
    optimizer: str,
    count_objects: Callable[[Any], int] | None = None,
) -> Side:
    """Make a side of a model of another library.

    Args:
        name: of the library.
        model: its mode is set here.
        losses: runs the model in training mode; None for a side that predicts.
        predict: runs the model in evaluation mode.
        device: where the model is.
        optimizer: as SOLVER.OPTIMIZER names it; made as torch does by default.
        count_objects: how many objects are in what `predict` returns.
    """
    clock = PhaseClock(device)
    if losses is None:

        def predict_once() -> Mapping[str, float]:
            model.eval()
            with torch.inference_mode(), clock("whole"):
                found = predict()
            if count_objects is not None:
                side.facts["objects"] = count_objects(found)
            return clock.take()

        side = Side(name, predict_once)
        return side
    learnt = [weight for weight in model.parameters() if weight.requires_grad]
    options = {"momentum": 0.9} if optimizer.lower() == "sgd" else {}
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    updater = kinds[optimizer.lower()](learnt, lr=0.0, weight_decay=1e-4, **options)

    def train_once() -> Mapping[str, float]:
        model.train()
        with clock("forward"):
            total = torch.stack([loss.sum() for loss in losses().values()]).sum()
        updater.zero_grad()
        with clock("backward"):
            total.backward()
        with clock("optimizer"):
            updater.step()
        return clock.take()

    return Side(name, train_once)
