"""Getting through a CUDA out-of-memory error: free what is cached, then try the CPU."""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch

__all__ = ["retry_if_cuda_oom"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def retry_if_cuda_oom(func: Callable[_P, _T]) -> Callable[_P, _T]:
    """Wrap a function of tensors so that it survives a full GPU.

    When CUDA memory runs out, the function is called again with the cache emptied, and if that
    fails too, with its CUDA tensors copied to the CPU; its results are then on the CPU. It must
    therefore have no side effects, and the caller must cope with results on another device.

    Args:
        func: takes tensors, alone or inside lists, tuples and dicts, among other things.

    Returns:
        A function with the same arguments.
    """

    @functools.wraps(func)
    def patient(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for _ in range(2):
            with _ignore_torch_cuda_oom():
                return func(*args, **kwargs)
            # Outside of the block the traceback no longer holds the failed call's tensors.
            torch.cuda.empty_cache()
        name = getattr(func, "__name__", repr(func))
        logging.getLogger(__name__).warning("CUDA memory is full: running %s on the CPU", name)
        return func(*_on_cpu(args), **_on_cpu(kwargs))

    return patient


@contextmanager
def _ignore_torch_cuda_oom() -> Iterator[None]:
    """A block that ends early, without an error, when CUDA memory runs out in it."""
    try:
        yield
    except RuntimeError as error:
        # Compiled extensions say it by the text alone.
        is_full = isinstance(error, torch.cuda.OutOfMemoryError)
        if not is_full and "CUDA out of memory. " not in str(error):
            raise


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_on_cpu, value))
    if isinstance(value, list | tuple):
        return type(value)(map(_on_cpu, value))
    # Structures of ours (Boxes, Instances, ...) are duck-typed: this level cannot import them.
    if hasattr(value, "to") and hasattr(value, "device") and not isinstance(value, type):
        return value.to(torch.device("cpu"))
    return value
