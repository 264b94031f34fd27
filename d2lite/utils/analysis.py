"""What a detector costs: parameters, FLOPs and activations, for each of its modules.

fvcore counts. It traces the model, so the counts are of one image: the number of its proposals
counts, and what is run in Python between two layers does not.
"""

import inspect
import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .modes import restored_modes
from .tracing import TracingAdapter

__all__ = [
    "ACTIVATIONS_MODE",
    "FLOPS_MODE",
    "FlopCountAnalysis",
    "TracingAdapter",
    "activation_count_operators",
    "count_activations",
    "find_unused_parameters",
    "flop_count_operators",
    "parameter_count",
    "parameter_count_table",
]

FLOPS_MODE = "flops"
ACTIVATIONS_MODE = "activations"

_WRAPPED = "model"
# Cheap operations, of which a detector has thousands: none of them would change a digit. They are
# named so that fvcore does not report them as not counted.
_FREE = tuple(
    f"aten::{name}"
    for name in (
        *("add", "add_", "addcmul", "all", "argmax", "argsort", "batch_norm", "clone"),
        *("constant_pad_nd", "div", "div_", "exp", "isfinite", "log2", "max_pool2d", "meshgrid"),
        *("min", "mul", "mul_", "neg", "reciprocal", "repeat_interleave", "rsqrt", "rsub"),
        *("sigmoid", "sigmoid_", "softmax", "sort", "sqrt", "sub", "topk"),
    )
)


def FlopCountAnalysis(model: nn.Module, inputs: Sequence[Mapping[str, Any]]) -> Any:  # noqa: N802
    """Count the FLOPs of a detector; a multiplication with its addition counts as one.

    Args:
        model: a detector; its mode is put back afterwards.
        inputs: a batch as the detector takes it.

    Returns:
        fvcore's analysis: `total()`, `by_operator()`, `by_module()`, `by_module_and_operator()`;
        the names of modules are the model's own.
    """
    return _analysis("FlopCountAnalysis", model, inputs)


def count_activations(model: nn.Module, inputs: Sequence[Mapping[str, Any]]) -> Any:
    """Count the numbers that convolutions and matrix products return.

    Args:
        model: a detector.
        inputs: a batch as the detector takes it.

    Returns:
        fvcore's analysis; see `FlopCountAnalysis`.
    """
    return _analysis("ActivationCountAnalysis", model, inputs)


def flop_count_operators(
    model: nn.Module, inputs: Sequence[Mapping[str, Any]]
) -> defaultdict[str, float]:
    """1e9 FLOPs by kind of operation, such as {"conv": 180.2, ...}; see `FlopCountAnalysis`."""
    return _by_operator(FlopCountAnalysis(model, inputs), 1e9)


def activation_count_operators(
    model: nn.Module, inputs: Sequence[Mapping[str, Any]]
) -> defaultdict[str, float]:
    """1e6 activations by kind of operation, such as {"conv": 470.1}; see `count_activations`."""
    return _by_operator(count_activations(model, inputs), 1e6)


def parameter_count(model: nn.Module) -> defaultdict[str, int]:
    """Parameters of every module; those that several modules share count once for each.

    Returns:
        name of a module or parameter ("" for all) -> how many numbers.
    """
    with _quiet():
        # Importing it warns that TorchScript is old.
        from fvcore.nn import parameter_count as count

    counts: defaultdict[str, int] = count(model)
    return counts


def parameter_count_table(model: nn.Module, max_depth: int = 3) -> str:
    """Parameters of every module, as lines to read.

    Args:
        model: any module.
        max_depth: how many names deep.
    """
    counts = parameter_count(model)
    rows = [(n or "model", f"{c:,}") for n, c in counts.items() if _depth(n) <= max_depth]
    width = max(len(name) for name, _ in rows)
    number = max(len(count) for _, count in rows)
    return "\n".join(f"{name:<{width}}  {count:>{number}}" for name, count in rows)


def find_unused_parameters(model: nn.Module, inputs: Any) -> list[str]:
    """Names of the parameters that the losses of a batch do not reach.

    Distributed training wants to know of them.

    Args:
        model: in training mode it returns losses.
        inputs: a batch with ground truth.

    Raises:
        ValueError: if the model is not in training mode.
    """
    if not model.training:
        raise ValueError("find_unused_parameters looks at the losses: call model.train() first.")
    learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
    losses = model(inputs)
    parts = list(losses.values()) if isinstance(losses, Mapping) else [losses]
    total = torch.stack([part.sum() for part in parts]).sum()
    gradients = torch.autograd.grad(total, list(learnt.values()), allow_unused=True)
    return [name for name, grad in zip(learnt, gradients, strict=True) if grad is None]


class _TensorsOnly(nn.Module):
    """A detector that takes and returns tensors alone, as tracing wants it."""

    def __init__(self, model: nn.Module, inputs: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.model = model
        self._rest = [dict(item) for item in inputs]

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        batch = [{**rest, "image": image} for rest, image in zip(self._rest, images, strict=True)]
        return tuple(_tensors_in(self._run(batch)))

    def _run(self, batch: Sequence[Mapping[str, Any]]) -> Any:
        inference = getattr(self.model, "inference", None)
        if inference and "do_postprocess" in inspect.signature(inference).parameters:
            # Without pasting masks into the image, which is not a part of the network.
            return inference(batch, do_postprocess=False)
        return self.model(batch)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of nested results, those of boxes and instances among them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors_in(item)
    elif hasattr(value, "get_fields"):
        yield from _tensors_in(value.get_fields())
    elif isinstance(getattr(value, "tensor", None), Tensor):
        yield value.tensor


def _analysis(kind: str, model: nn.Module, inputs: Sequence[Mapping[str, Any]]) -> Any:
    with _quiet():
        # Importing it warns that TorchScript is old.
        import fvcore.nn as counting

        whole = _TensorsOnly(model, inputs)
        analysis = getattr(counting, kind)(whole, tuple(item["image"] for item in inputs))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.tracer_warnings("none")
        for operation in (*_FREE, "torchvision::nms", "torchvision::roi_align"):
            analysis.set_op_handle(operation, None)
        with restored_modes(model), torch.no_grad():
            model.eval()
            # The counts are made now, while the model is in this mode.
            analysis.total()
    return _Named(analysis)


class _Named:
    """An analysis of fvcore under the names of the model inside of the wrapper."""

    def __init__(self, analysis: Any) -> None:
        self._analysis = analysis

    @property
    def _model(self) -> nn.Module:
        """The model, for fvcore's `flop_count_table` and `flop_count_str`."""
        model: nn.Module = self._analysis._model.model
        return model

    def __getattr__(self, name: str) -> Any:
        """A setting of fvcore's analysis, such as `unsupported_ops_warnings`; it returns this."""
        setting = getattr(self.__dict__["_analysis"], name)

        def apply(*args: Any, **kwargs: Any) -> "_Named":
            setting(*args, **kwargs)
            return self

        return apply

    def uncalled_modules(self) -> set[str]:
        """Names of the modules that the model did not run."""
        return set(_inner_names(dict.fromkeys(self._analysis.uncalled_modules())))

    def total(self, module_name: str = "") -> float:
        """The count of one module, by default of the whole model."""
        return float(self._analysis.total(f"{_WRAPPED}.{module_name}".rstrip(".")))

    def by_operator(self, module_name: str = "") -> Counter[str]:
        """Kind of operation -> count."""
        return Counter(self._analysis.by_operator(f"{_WRAPPED}.{module_name}".rstrip(".")))

    def by_module(self) -> Counter[str]:
        """Name of the module ("" for the model) -> count."""
        return Counter(_inner_names(self._analysis.by_module()))

    def by_module_and_operator(self) -> dict[str, Counter[str]]:
        """Name of the module -> kind of operation -> count."""
        return _inner_names(self._analysis.by_module_and_operator())

    def unsupported_ops(self, module_name: str = "") -> Counter[str]:
        """Operations that are not counted -> how often they are called."""
        return Counter(self._analysis.unsupported_ops(f"{_WRAPPED}.{module_name}".rstrip(".")))


def _inner_names(counts: Mapping[str, Any]) -> dict[str, Any]:
    inside = {n: c for n, c in counts.items() if n == _WRAPPED or n.startswith(f"{_WRAPPED}.")}
    return {name[len(_WRAPPED) + 1 :]: count for name, count in inside.items()}


def _by_operator(analysis: _Named, unit: float) -> defaultdict[str, float]:
    counted = {name: count / unit for name, count in analysis.by_operator().items()}
    return defaultdict(float, counted)


def _depth(name: str) -> int:
    return name.count(".") + 1 if name else 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Tracing a detector warns of every shape that depends on the image, which is all of them."""
    logger = logging.getLogger("fvcore")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
