"""as_scalars: losses as people return them, in one form."""

from collections.abc import Mapping

import torch
from torch import Tensor

from d2lite.utils.errors import InputTypeError


def as_scalars(losses: Mapping[str, Tensor | float]) -> dict[str, Tensor]:
    """Losses as tensors without axes, on one device.

    Args:
        losses: name -> a tensor of one element in any shape, or a number. One on the CPU, such as
            the 0 of a part without objects, goes to the device of the others.

    Raises:
        InputTypeError: if a loss has more elements.
    """
    devices = (loss.device for loss in losses.values() if isinstance(loss, Tensor))
    device = next((device for device in devices if device.type != "cpu"), None)
    scalars = {}
    for name, loss in losses.items():
        value = torch.as_tensor(loss, device=device)
        if value.numel() != 1:
            raise InputTypeError(
                f"The loss {name!r} has shape {tuple(value.shape)}, and a loss is one number. "
                "Reduce it in the model, for instance with .mean()."
            )
        # Most are scalars, and an operator on each of many small losses costs time.
        scalars[name] = value.reshape(()) if value.dim() else value
    return scalars
