"""The norm of all gradients, and the parameter group that stands for all in the log."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm of all gradients together.

    Args:
        parameters: those without a gradient do not count.

    Returns:
        A float32 scalar on the device of the first gradient. Without gradients, 0 on the CPU.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    with torch.no_grad():
        # By kind, since one call cannot mix plain tensors and those spread over processes, or two
        # devices that share a model.
        kinds: dict[tuple[type, torch.device], list[Tensor]] = {}
        for gradient in gradients:
            kinds.setdefault((type(gradient), gradient.device), []).append(gradient)
        norms = []
        for group in kinds.values():
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(group)).float())
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            norms.append(norm.to(gradients[0].device))
        total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return total


def main_group(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Choose the parameter group whose rate stands for all in the log.

    Args:
        optimizer: with any number of groups.

    Returns:
        The group with the most parameters; where each parameter has a group of its own, the
        first group with the most frequent rate.
    """
    groups: list[dict[str, Any]] = optimizer.param_groups
    largest = max(groups, key=lambda group: len(group["params"]))
    if len(largest["params"]) > 1:
        return largest
    most_frequent = Counter(group["lr"] for group in groups).most_common(1)[0][0]
    return next(group for group in groups if group["lr"] == most_frequent)
