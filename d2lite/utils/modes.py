"""Modes of a model, training or evaluation, that come back."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def restored_modes(model: nn.Module) -> Iterator[None]:
    """Inside, modes may be changed; afterwards each submodule has its own mode again.

    This holds after an exception too. A frozen part of a training model stays in evaluation mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training
