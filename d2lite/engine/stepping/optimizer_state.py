"""check_optimizer_state: whether a loaded state can take the next step."""

import torch
from torch import Tensor

# What torch's optimizers keep for each parameter in the parameter's shape.
_LIKE_PARAMETER = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg")


def check_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Check types and shapes, which torch compares at the next step only.

    Args:
        optimizer: that has loaded a state.

    Raises:
        ValueError: if they do not fit the parameters.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not (value is None or isinstance(value, Tensor | int | float)):
                raise ValueError(f"the optimizer's {name} is of type {type(value).__name__}")
            if name not in _LIKE_PARAMETER or value is None:
                continue
            shape = getattr(value, "shape", ())
            if shape != parameter.shape:
                raise ValueError(
                    f"the optimizer's {name} has shape {tuple(shape)}, its parameter "
                    f"{tuple(parameter.shape)}"
                )
