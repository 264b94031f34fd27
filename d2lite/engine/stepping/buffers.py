"""Put buffers and random generators back after passes of a model that must leave no trace."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn


def remember_buffers(
    model: nn.Module, wanted: Callable[[nn.Module, str], bool] = lambda module, name: True
) -> Callable[[], None]:
    """Copy buffers now, to restore them later.

    Args:
        model: whose buffers are copied, also those that its state dict leaves out.
        wanted: given a module and the name of one of its buffers, whether to include it.

    Returns:
        A function that gives every buffer the value that it has now; it may be called repeatedly.
    """
    places: list[tuple[nn.Module, str, Tensor]] = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if wanted(module, name)
    ]
    buffers = [buffer for _, _, buffer in places]
    copies = [buffer.clone() for buffer in buffers]

    def restore() -> None:
        if buffers:
            with torch.no_grad():
                torch._foreach_copy_(buffers, copies)
        for module, name, buffer in places:
            # A module may move a running number by assigning another tensor.
            if getattr(module, name) is not buffer:
                setattr(module, name, buffer)

    return restore


def kept_generators(model: nn.Module) -> AbstractContextManager[None]:
    """On leaving, torch's global generators are as before: the CPU's and those of the model.

    Args:
        model: on the CPU, or on devices of one other type.
    """
    devices = {parameter.device for parameter in model.parameters()} - {torch.device("cpu")}
    kind = next((device.type for device in devices), "cpu")
    return torch.random.fork_rng(list(devices), device_type=kind)
