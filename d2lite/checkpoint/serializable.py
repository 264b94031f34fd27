"""What a checkpoint may hold: tensors and plain values, so that reading one runs no code."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_PLAIN = (str, bytes, int, float, complex, bool, type(None), torch.Tensor, torch.dtype)


def to_serializable(value: Any, where: str = "checkpoint") -> Any:
    """A copy of nested containers in which everything is a tensor or a plain value.

    numpy scalars become Python numbers and numpy arrays tensors; tensors are not copied.

    Args:
        value: what to save.
        where: its name in the message.

    Raises:
        TypeError: for any other object; the text says where it is.
    """
    if isinstance(value, torch.nn.Parameter):
        return value.detach()
    if type(value) in _PLAIN or isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, list | tuple | torch.Size):
        items = [to_serializable(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, str | int | float):
        # Subclasses such as enumerations: their plain value is saved.
        base = next(kind for kind in (str, int, float) if isinstance(value, kind))
        return base(value)
    raise TypeError(
        f"{where} is a {type(value).__module__}.{type(value).__name__}; a checkpoint holds only "
        "tensors, numbers, texts, and dicts, lists and tuples of them. Let state_dict() return "
        "such values."
    )


def _plain_mapping(value: Mapping[Any, Any], where: str) -> dict[Any, Any]:
    is_state_dict = isinstance(value, OrderedDict) and hasattr(value, "_metadata")
    plain: dict[Any, Any] = OrderedDict() if is_state_dict else {}
    for key, item in value.items():
        plain[to_serializable(key, f"key {key!r} of {where}")] = to_serializable(
            item, f"{where}.{key}"
        )
    if is_state_dict:
        # The version of each module, which norm layers look at when they are loaded.
        plain._metadata = value._metadata  # type: ignore[attr-defined]
    return plain
