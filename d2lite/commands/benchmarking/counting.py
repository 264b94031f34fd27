"""What a step asks of torch: operators, waits for the device, new memory.

The counts of a model, a batch and a version of torch are always the same, which times are not.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Counts", "count", "entering_modules"]

# Operators that end only when the device has finished: their result is a number for Python, or
# its shape depends on values.
_WAITING = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",
    "aten::repeat_interleave.Tensor",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
    "torchvision::nms",
}
_OPTIMIZER = "optimizer"
_INDEXING = {"aten::index.Tensor", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_"}
# Methods that bring values to the host. On the CPU they call no operator.
_TO_HOST = {"cpu", "numpy", "tolist", "__array__"}


@dataclass
class Counts:
    """Counts of one step.

    Attributes:
        operators: calls of operators below autograd; those of the backward pass are among them.
        waits: calls that on an accelerator wait for it: `.item()`, `.cpu()`, `.tolist()`, results
            whose shape depends on values.
        allocations: results with memory of their own.
        mib: of these results together.
        by_operator: operator -> calls.
        by_module: (module, operator) -> calls in the forward pass; "" for what is in no module.
        waits_by_module: the same of the waits.
    """

    operators: int = 0
    waits: int = 0
    allocations: int = 0
    mib: float = 0.0
    by_operator: Counter[str] = field(default_factory=Counter)
    by_module: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits_by_module: Counter[tuple[str, str]] = field(default_factory=Counter)

    def totals(self) -> dict[str, int]:
        """The three counts by name."""
        return {
            "operators": self.operators,
            "waits": self.waits,
            "allocations": self.allocations,
        }


def count(action: Callable[[], object], model: nn.Module | None = None) -> Counts:
    """Count what one call does.

    Args:
        action: is called once, in this thread.
        model: whose modules the counts of the forward pass are given to.
    """
    found = Counts()
    place: list[str] = [""]
    modules = entering_modules(model, place.append, place.pop)
    with modules, _in_optimizer(place), _Methods(found, place), _Operators(found, place):
        action()
    return found


@contextmanager
def _in_optimizer(place: list[str]) -> Iterator[None]:
    """Inside, the step of an optimizer is a place of its own."""

    def enter(optimizer: Any, args: Any, kwargs: Any) -> None:
        place.append(_OPTIMIZER)

    def leave(optimizer: Any, args: Any, kwargs: Any) -> None:
        place.pop()

    with register_optimizer_step_pre_hook(enter), register_optimizer_step_post_hook(leave):
        yield


@contextmanager
def entering_modules(
    model: nn.Module | None, enter: Callable[[str], object], leave: Callable[[], object]
) -> Iterator[None]:
    """Inside, a function is called with the name of each module that is entered, one after it.

    Args:
        model: None for no calls.
        enter: gets the name, such as "backbone.fpn_lateral2".
        leave: is called when the module is left; not if it raised.
    """

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        leave()

    with ExitStack() as hooks:
        for name, module in model.named_modules() if model is not None else ():

            def before(module: nn.Module, inputs: Any, name: str = name) -> None:
                enter(name)

            hooks.enter_context(module.register_forward_pre_hook(before))
            hooks.enter_context(module.register_forward_hook(after))
        yield


class _Operators(TorchDispatchMode):
    """Sees every call of an operator that does work."""

    def __init__(self, counts: Counts, place: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # has no types
        self._counts, self._place = counts, place

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.name()
        counts, place = self._counts, self._place[-1]
        counts.operators += 1
        counts.by_operator[name] += 1
        counts.by_module[place, name] += 1
        # An optimizer reads its counters, which are on the host.
        reads_counter = place == _OPTIMIZER and name == "aten::_local_scalar_dense"
        if (name in _WAITING and not reads_counter) or (name in _INDEXING and _has_mask(args[1])):
            counts.waits += 1
            counts.waits_by_module[place, name] += 1
        given = {_storage(value) for value in _tensors(args)} | {
            _storage(value) for value in _tensors((kwargs or {}).values())
        }
        for value in _tensors((result,)):
            if _storage(value) not in given and value.numel():
                counts.allocations += 1
                counts.mib += value.untyped_storage().nbytes() / 2**20
        return result


class _Methods(TorchFunctionMode):
    """Sees methods that bring values to the host without an operator."""

    def __init__(self, counts: Counts, place: list[str]) -> None:
        super().__init__()
        self._counts, self._place = counts, place

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _TO_HOST:
            self._counts.waits += 1
            self._counts.waits_by_module[self._place[-1], f"Tensor.{name}"] += 1
        return func(*args, **(kwargs or {}))


def _has_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _storage(value: Tensor) -> int:
    return value.untyped_storage()._cdata


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
