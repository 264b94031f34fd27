"""Traces of a model's fixed-size form, of which the compiled parts are made."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from d2lite.utils.errors import ExportError

__all__ = ["Padded", "quiet_torchscript", "require"]


@contextmanager
def quiet_torchscript() -> Iterator[None]:
    """Inside, torch does not warn of constants in a trace, nor that TorchScript is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)
        yield


class Padded(nn.Module):
    """The fixed-size form as a function that gives a tuple.

    Attributes:
        names: of the results, known after the first call.
    """

    def __init__(self, model: nn.Module, run: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.run = run
        self.names: tuple[str, ...] = ()

    def forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        """The results of `run`, in order."""
        found = self.run(*inputs)
        if isinstance(found, dict):
            self.names = tuple(found)
            return tuple(found.values())
        results: tuple[Tensor, ...] = tuple(found)
        return results

    def traced(self, *inputs: Any) -> Any:
        """A trace by these inputs."""
        with torch.no_grad(), quiet_torchscript():
            return torch.jit.trace(self.eval(), inputs, strict=False, check_trace=False)


def require(fields: Mapping[str, type | str], names: list[str]) -> None:
    """Refuse fields of `Instances` that lack some of the names."""
    missing = [name for name in names if name not in fields]
    if missing:
        raise ExportError(
            f"The model gives {', '.join(missing)}; name them in the fields of Instances, which "
            f"are {', '.join(fields)}."
        )
