"""Reading .pkl weights without running them: numpy arrays and plain containers, nothing else."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from d2lite.utils.errors import WeightsError


def _numpy_scalar(dtype: np.dtype[Any], raw: bytes | str | None = None) -> Any:
    """Stands in for numpy's own reader of scalars, without its support for objects."""
    content = raw.encode("latin1") if isinstance(raw, str) else raw
    if dtype.hasobject or content is None:
        raise pickle.UnpicklingError("a numpy scalar of Python objects")
    return np.frombuffer(content, dtype=dtype, count=1)[0]


def _empty_array(kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    """Stands in for numpy's own maker of empty arrays, for exactly that class."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError("an array of a class of its own")
    # The shape and the type are set from the array's state afterwards.
    return np.ndarray((0,), np.uint8)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How Python 2 bytes look in a file written by Python 3."""
    return text.encode("latin1")


def _array_of_bytes(
    content: Any, dtype: np.dtype[Any], shape: Any, order: str, axes: Any = None
) -> np.ndarray:
    """Stands in for how numpy reads arrays of pickle protocol 5."""
    flat = np.frombuffer(content, dtype=dtype)
    if axes is not None:
        return flat.reshape(shape).transpose(axes)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _no_bytes() -> bytes:
    """How empty bytes look in protocols of Python 2; it takes no size that could fill memory."""
    return b""


# Modules under the names they had in numpy 1 and have in numpy 2.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
}
for _home in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ALLOWED[_home.replace("multiarray", "numeric"), "_frombuffer"] = _array_of_bytes
    _ALLOWED[_home, "_reconstruct"] = _empty_array
    _ALLOWED[_home, "scalar"] = _numpy_scalar


# Training state of detectron2 (a best metric, a learning rate) is often a numpy number; these let
# torch's safe reader take it. Names are given because numpy 2 renamed the modules.
NUMPY_FOR_TORCH: list[Any] = [
    *(
        (maker, f"{home}.{name}")
        for (home, name), maker in _ALLOWED.items()
        if name != "OrderedDict"
    ),
    *(type(np.dtype(code)) for code in ("?", "i4", "i8", "f2", "f4", "f8")),
]


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name}") from None

    def persistent_load(self, pid: Any, /) -> Any:
        raise pickle.UnpicklingError("a reference to something outside of the file")


def read_pickle(path: Path) -> Any:
    """Content of a pickle of numpy arrays, numbers, texts, dicts, lists and tuples.

    Args:
        path: a local file, written by Python 2 or 3.

    Raises:
        WeightsError: if it names any other class (the text says which) or is damaged.
    """
    try:
        return _Reader(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except pickle.UnpicklingError as err:
        raise WeightsError(
            f"{path} is refused: it holds {err}, and a pickle may run code. Only numpy arrays and "
            "plain containers are read; save the weights as a .pth of tensors instead."
        ) from err
    except Exception as err:
        # A damaged pickle can fail in nearly any way.
        raise WeightsError(f"{path} is no readable pickle ({err}); fetch it again.") from err
