"""TracingAdapter: a model as a function from tensors to tensors, which torch can trace."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .comm import unwrap
from .errors import DataError

__all__ = ["TracingAdapter"]

Build = Callable[[Iterator[Any]], Any]


# Outside of the function: TorchScript takes such a comment in it for a type.
_torch_is_tracing: Callable[[], bool] = torch.jit.is_tracing  # type: ignore[attr-defined]


def is_tracing() -> bool:
    """Whether torch is recording a trace or an export; `int()` and `len()` make constants there."""
    return _torch_is_tracing() or torch.compiler.is_exporting()


def is_recording() -> bool:
    """Whether torch is making a graph of the code: a trace, an export or a compiled function."""
    return _torch_is_tracing() or torch.compiler.is_compiling()


def at_most(count: int, size: Any) -> Any:
    """min(count, size), which in a trace remains a function of the input.

    Args:
        count: a constant.
        size: a length of a tensor; torch makes it a tensor in a trace, a symbol in an export.
    """
    if isinstance(size, torch.SymInt):
        return torch.sym_min(count, size)
    return size.clamp(max=count) if isinstance(size, Tensor) else min(count, size)


class TracingAdapter(nn.Module):
    """Wraps a model whose inputs and outputs are lists, dicts, `Instances`, `Boxes` ... of tensors.

    `torch.jit.trace(adapter, adapter.flattened_inputs)` traces the model; `inputs_schema` and
    `outputs_schema` put tensors together again.

    Attributes:
        flattened_inputs: the tensors of the inputs, in order.
        inputs_schema: makes inputs of such tensors; None where the inputs are tensors alone.
        outputs_schema: makes outputs of the tensors that `forward` returns; None before the first
            call.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        inference_func: Callable[..., Any] | None = None,
        allow_non_tensor: bool = False,
    ) -> None:
        """Flatten the inputs.

        Args:
            model: what is traced.
            inputs: its argument, or a tuple of all of them.
            inference_func: called as `inference_func(model, *inputs)`; by default the model is
                called.
            allow_non_tensor: take numbers and texts in inputs and outputs for constants.

        Raises:
            DataError: for values that are not tensors, if these are not allowed.
        """
        super().__init__()
        self.model = unwrap(model)
        self.inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.allow_non_tensor = allow_non_tensor
        self.inference_func = inference_func or _call
        self.outputs_schema: Schema | None = None
        tensors, schema = flatten(self.inputs)
        self._check(schema, "inputs")
        self.flattened_inputs: tuple[Tensor, ...] = tuple(tensors)
        is_plain = all(isinstance(value, Tensor) for value in self.inputs)
        self.inputs_schema = None if is_plain else schema

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        """Run the model.

        Returns:
            The tensors of the outputs.

        Raises:
            DataError: if the outputs are of another structure than at an earlier call.
        """
        with torch.no_grad():
            inputs = args if self.inputs_schema is None else self.inputs_schema(args)
            tensors, schema = flatten(self.inference_func(self.model, *inputs))
        self._check(schema, "outputs")
        if self.outputs_schema is None:
            self.outputs_schema = schema
        elif self.outputs_schema != schema:
            raise DataError("The outputs have another structure than at an earlier call.")
        return tuple(tensors)

    def _check(self, schema: "Schema", what: str) -> None:
        if schema.constants and not self.allow_non_tensor:
            kinds = ", ".join(sorted({type(value).__name__ for value in schema.constants}))
            raise DataError(
                f"The {what} hold values that are not tensors ({kinds}), which a trace would keep "
                "as constants. Give allow_non_tensor=True if that is meant."
            )

    def _create_wrapper(self, traced_model: Callable[..., Any]) -> Callable[..., Any]:
        """A function with the model's inputs and outputs that runs the traced model.

        Args:
            traced_model: what was made of this adapter.
        """

        def run(*inputs: Any) -> Any:
            tensors, _ = flatten(inputs)
            outputs = traced_model(*tensors)
            assert self.outputs_schema is not None
            return self.outputs_schema(outputs if isinstance(outputs, tuple) else (outputs,))

        return run


class Schema:
    """How tensors were arranged, to arrange others alike; equal ones compare as equal.

    Attributes:
        constants: the values that are not tensors, in order.
    """

    def __init__(self, shape: Any, build: Build, constants: list[Any]) -> None:
        self.shape, self._build, self.constants = shape, build, constants

    def __call__(self, tensors: Any) -> Any:
        """Put tensors together as those that were flattened."""
        return self._build(iter(tensors))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.shape == other.shape

    __hash__ = None  # type: ignore[assignment]  # shapes hold any constants


def flatten(value: Any) -> tuple[list[Tensor], Schema]:
    """The tensors in a value, and what puts them together again.

    Args:
        value: nested lists, tuples, mappings, `Instances`, and objects with one `tensor`.
    """
    tensors: list[Tensor] = []
    constants: list[Any] = []
    shape, build = _visit(value, tensors, constants)
    return tensors, Schema(shape, build, constants)


def flatten_to_tuple(value: Any) -> tuple[tuple[Any, ...], Schema]:
    """As `flatten`, but numbers and texts are among the parts, in their places."""
    parts: list[Any] = []
    shape, build = _visit(value, parts, parts)
    return tuple(parts), Schema(shape, build, [])


def _visit(value: Any, tensors: list[Tensor], constants: list[Any]) -> tuple[Any, Build]:
    if isinstance(value, Tensor):
        tensors.append(value)
        return "tensor", next
    parts = _take_apart(value)
    if parts is None:
        constants.append(value)
        return ("part", next) if constants is tensors else (("constant", value), lambda _: value)
    key, inner, make = parts
    visited = [_visit(part, tensors, constants) for part in inner]
    shape = (type(value), key, [shape for shape, _ in visited])
    return shape, lambda tensors: make([build(tensors) for _, build in visited])


def _take_apart(value: Any) -> tuple[Any, list[Any], Callable[[list[Any]], Any]] | None:
    """What distinguishes a container from others of its type, its parts, and what rebuilds it."""
    if isinstance(value, list | tuple):
        return len(value), list(value), getattr(value, "_make", type(value))
    if isinstance(value, Mapping):
        keys, parts = _by_name(value)
        return keys, parts, lambda parts: dict(zip(keys, parts, strict=True))
    if hasattr(value, "get_fields"):
        # Programs that run traced models know the results by their places: the image size last.
        names, parts = _by_name(value.get_fields())
        size = value.image_size
        parts.append(size if isinstance(size, Tensor) else _size_tensor(size))
        return names, parts, partial(_make_instances, type(value), names)
    if isinstance(getattr(value, "tensor", None), Tensor):
        return (), [value.tensor], lambda parts: _with_tensor(value, parts[0])
    return None


def _by_name(values: Mapping[Any, Any]) -> tuple[tuple[Any, ...], list[Any]]:
    """Keys in order of the alphabet, with their values; keys of other kinds as they come."""
    is_named = all(isinstance(key, str) for key in values)
    keys = tuple(sorted(values)) if is_named else tuple(values)
    return keys, [values[key] for key in keys]


def _size_tensor(size: Any) -> Tensor:
    """(2,) int64; of the tensors that sizes are in a trace as well."""
    sides = [side if isinstance(side, Tensor) else torch.tensor(side) for side in size]
    return torch.stack(sides)


def _make_instances(kind: Any, names: Sequence[str], parts: Sequence[Any]) -> Any:
    size = parts[-1] if is_tracing() else parts[-1].tolist()
    return kind(tuple(size), **dict(zip(names, parts[:-1], strict=True)))


def _with_tensor(like: Any, tensor: Tensor) -> Any:
    made = copy.copy(like)
    made.tensor = tensor
    return made


def _call(model: nn.Module, *inputs: Any) -> Any:
    return model(*inputs)
