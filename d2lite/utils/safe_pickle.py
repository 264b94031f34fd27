"""Pickles of numpy arrays and plain values, from every age of numpy and Python, read safely."""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Collection
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np

from .pickle_limits import DamagedPickle, RefusedPickle, require_plain_key
from .pickle_machine import PickleMachine

# Booleans, numbers, texts and bytes; "V", "O", "M" and structured types are missing on purpose.
_TYPE_CODE = re.compile(r"[<>=|]?(\?|[bBhHiIlLqQefdFD]|[biufcSU]\d{1,9})")


class NumpyType:
    """A numpy dtype as a file describes it.

    Args:
        code: such as "f4".
        *flags: alignment and copying, which have no meaning here.
    """

    def __init__(self, code: str, *flags: Any) -> None:
        if not isinstance(code, str) or not _TYPE_CODE.fullmatch(code):
            raise RefusedPickle(f"numpy values of the type {str(code)[:40]!r}")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Take the byte order; all else follows from the code."""
        order = state[1] if isinstance(state, tuple) and len(state) > 4 else None
        if order not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
            raise RefusedPickle("a numpy type with a state of its own")
        self.dtype = self.dtype.newbyteorder(order)


class NumpyArray(np.ndarray[Any, Any]):
    """An array that takes exactly as many bytes as its shape says; made by `_empty_array`."""

    def __new__(cls, *args: Any) -> "NumpyArray":
        """Refuse to make one of a shape, which would take memory."""
        raise RefusedPickle("a numpy array of a shape without content")

    def __setstate__(self, state: Any) -> None:
        """Take shape, type, order and bytes.

        Raises:
            RefusedPickle: if there are more or fewer bytes than the shape says.
        """
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedPickle("a numpy array with a state of its own")
        _, shape, kind, is_fortran, content = state
        dtype, content = _dtype_of(kind), _as_bytes(content)
        _require_size(shape, dtype, content)
        super().__setstate__((1, shape, dtype, bool(is_fortran), content))  # type: ignore[arg-type]


def _dtype_of(kind: Any) -> np.dtype[Any]:
    if not isinstance(kind, NumpyType):
        raise RefusedPickle("numpy values without a type")
    return kind.dtype


def _as_bytes(content: Any) -> bytes:
    # Bytes of Python 2 are read as latin1 texts.
    if isinstance(content, str):
        return content.encode("latin1")
    if not isinstance(content, bytes | bytearray):
        raise RefusedPickle("numpy values of Python objects")
    return bytes(content)


def _require_size(shape: Any, dtype: np.dtype[Any], content: bytes) -> None:
    is_shape = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not is_shape or len(shape) > 32 or math.prod(shape) * dtype.itemsize != len(content):
        raise RefusedPickle(f"a numpy array of the shape {str(shape)[:80]} in {len(content)} bytes")


def _scalar(kind: Any, content: Any = None) -> Any:
    dtype, content = _dtype_of(kind), _as_bytes(content)
    _require_size((), dtype, content)
    return np.frombuffer(content, dtype=dtype, count=1)[0] if dtype.itemsize else dtype.type()


def _empty_array(kind: Any, shape: Any, typecode: Any) -> np.ndarray[Any, Any]:
    if kind is not NumpyArray:
        raise RefusedPickle("an array of a class of its own")
    # The shape and the type are set from the array's state afterwards.
    return np.ndarray.__new__(NumpyArray, (0,), np.uint8)


def _array_of_bytes(
    content: Any, kind: Any, shape: Any, order: Any, axes: Any = None
) -> np.ndarray[Any, Any]:
    """An array as pickle protocol 5 writes it."""
    dtype, content = _dtype_of(kind), _as_bytes(content)
    _require_size(shape, dtype, content)
    flat = np.frombuffer(content, dtype=dtype)
    if axes is not None:
        return flat.reshape(shape).transpose(axes)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, encoding: Any = None) -> bytes:
    """Bytes as Python 3 writes them in a protocol of Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedPickle("a text in another encoding than latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Empty bytes in a protocol of Python 2."""
    return b""


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    """An ordered dict; Python 2 writes its items as a list of lists."""
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RefusedPickle("an OrderedDict of other things than pairs")
        require_plain_key(pair[0])
    return OrderedDict(pairs)


class UnusedObject:
    """In place of an object of a trainer's log that nobody needs; it forgets its state."""

    def __setstate__(self, state: Any) -> None:
        """Forget the state."""


def _method_name(owner: Any, name: Any) -> str:
    """The name of a method of such an object, in place of the method."""
    if owner is not UnusedObject or not isinstance(name, str):
        raise RefusedPickle("builtins.getattr")
    return name


RUN_CURVE = "mmengine.logging.history_buffer.HistoryBuffer"
"""A class of the curves that checkpoints of MMDetection 3 hold."""

# What stands in for the functions and classes that a file may name. The modules have the names
# that they had in numpy 1 and have in numpy 2.
STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": NumpyArray,
    "numpy.dtype": NumpyType,
    "collections.OrderedDict": _ordered,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,
    "__builtin__.bytes": _no_bytes,
    # Curves have methods of their class in them.
    RUN_CURVE: UnusedObject,
    "builtins.getattr": _method_name,
    "__builtin__.getattr": _method_name,
}
for _home in ("numpy.core", "numpy._core"):
    STAND_INS[f"{_home}.numeric._frombuffer"] = _array_of_bytes
    STAND_INS[f"{_home}.multiarray._reconstruct"] = _empty_array
    STAND_INS[f"{_home}.multiarray.scalar"] = _scalar


class _Reader(PickleMachine):
    """Builds what `STAND_INS` lists, and the numbers of some enumerations."""

    def __init__(self, data: bytes | mmap, enums: Collection[str]) -> None:
        super().__init__(data)
        self._enums = enums

    def find(self, module: str, name: str) -> Any:
        if name in self._enums:
            return int
        found = STAND_INS.get(f"{module}.{name}")
        return super().find(module, name) if found is None else found

    def call(self, function: Any, args: Any) -> Any:
        if function is int and len(args) == 1 and type(args[0]) is int:
            return args[0]
        if function not in STAND_INS.values():
            return super().call(function, args)
        return function(*args)

    def build(self, instance: Any, state: Any) -> None:
        if isinstance(instance, NumpyArray | NumpyType | UnusedObject):
            instance.__setstate__(state)
        elif isinstance(instance, OrderedDict) and isinstance(state, dict):
            # The versions of a model's modules.
            instance.__dict__.update({k: v for k, v in state.items() if k == "_metadata"})
        else:
            super().build(instance, state)


def read_pickle(path: str | Path, *, enums: Collection[str] = ()) -> Any:
    """Content of a pickle of numpy arrays, numbers, texts, dicts, lists and tuples.

    Args:
        path: a local file, written by Python 2 or 3.
        enums: names of integer enumerations, in any module, whose members are read as numbers.

    Raises:
        RefusedPickle: if it holds anything else; the text says what.
        DamagedPickle: if it cannot be read.
        OSError: if the system refuses to open it.
    """
    with open(path, "rb") as file:
        try:
            data = mmap(file.fileno(), 0, access=ACCESS_READ)
        except ValueError as err:
            raise DamagedPickle("it is empty") from err
        with data:
            return without_stand_ins(_Reader(data, enums).read())


def without_stand_ins(value: Any) -> Any:
    """Replace `NumpyArray` and `NumpyType` in nested containers by what they stand for.

    Args:
        value: dicts and lists in it are changed in place.
    """
    if isinstance(value, NumpyArray):
        return value.view(np.ndarray)
    if isinstance(value, NumpyType):
        return value.dtype
    if isinstance(value, UnusedObject):
        return None
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = without_stand_ins(item)
    elif isinstance(value, list):
        value[:] = map(without_stand_ins, value)
    elif type(value) is tuple:
        return tuple(map(without_stand_ins, value))
    return value
