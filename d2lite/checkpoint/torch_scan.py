"""Files of torch, looked through before torch reads them: sizes, and each opcode of the pickle.

torch's reader refuses classes that it does not know, but it trusts every size in a file.
"""

import lzma
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from d2lite.utils.errors import WeightsError
from d2lite.utils.pickle_limits import DamagedPickle, RefusedPickle
from d2lite.utils.pickle_machine import PickleMachine
from d2lite.utils.safe_pickle import RUN_CURVE, STAND_INS
from d2lite.utils.system_limits import refusal_of_system

_ZIP_START = b"PK\x03\x04"
# The pickles of a file from before torch 1.6: magic number, version, system, content, keys.
_NUM_OLD_PICKLES = 5

# Bytes of one number; an untyped storage counts in bytes.
_ITEM_SIZES = {
    **dict.fromkeys(("Byte", "Char", "Bool"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
_STORAGES = {f"torch.{kind}Storage": size for kind, size in _ITEM_SIZES.items()}
_STORAGES["torch.storage.UntypedStorage"] = 1

_TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
_TYPED_TENSOR = "torch._tensor._rebuild_from_type_v2"
_MADE_OF_TEXT = ("builtins.bytearray", "__builtin__.bytearray")
_GETATTR = ("builtins.getattr", "__builtin__.getattr")
_CALLS = {
    # numpy's functions make an array of content; the class itself would make one of a size.
    *(STAND_INS.keys() - {"numpy.ndarray"}),
    *_MADE_OF_TEXT,
    *(f"torch._utils.{name}" for name in _TENSORS),
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.Size",
    "torch.device",
    "torch.serialization._get_layout",
    "collections.Counter",
    "builtins.set",
    "__builtin__.set",
    "builtins.complex",
    "__builtin__.complex",
}


class _Name(str):
    """The name of a class or function."""


class _Made(list[Any]):
    """The arguments and contents of a call that torch will carry out."""

    def __init__(self, function: str, parts: Any) -> None:
        super().__init__(parts)
        self.function = function


class _Storage:
    """Memory of a tensor that comes from the file."""

    def __init__(self, count: int, item_size: int) -> None:
        self.count, self.item_size = count, item_size


# What zipfile raises for damaged archives.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, RuntimeError),
    *(NotImplementedError, OverflowError, zlib.error, struct.error, lzma.LZMAError),
)


class _Scan(PickleMachine):
    """Follows a pickle of torch without making any of its tensors.

    Args:
        data: that begins with the pickle.
        file_size: bytes of the file.
        records: bytes of each storage; None for a file that is not an archive.
    """

    def __init__(
        self, data: bytes | mmap, file_size: int, records: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(data)
        self._records = records
        self._file_size = self._left = file_size
        self._repeated = 0
        self._storages: dict[str, int] = {}

    def find(self, module: str, name: str) -> Any:
        return _Name(f"{module}.{name}")

    def call(self, function: Any, args: Any) -> Any:
        name = str(function)
        if name == _TYPED_TENSOR and isinstance(function, _Name) and len(args) == 4:
            self.call(args[0], args[2])
        elif not isinstance(function, _Name) or name not in _CALLS:
            raise RefusedPickle(name[:100])
        elif name.rpartition(".")[2] in _TENSORS:
            self._check_tensor(args)
        elif name in _GETATTR and not (args and args[0] == RUN_CURVE):
            raise RefusedPickle(name)
        elif name == "_codecs.encode":
            return STAND_INS[name](*args)
        elif name in _MADE_OF_TEXT and args and not isinstance(args[0], str | bytes):
            raise RefusedPickle("bytes of a size without content")
        return _Made(name, args)

    def build(self, instance: Any, state: Any) -> None:
        name = getattr(instance, "function", "")
        is_ordered = name == "collections.OrderedDict"
        if is_ordered and isinstance(state, dict) and set(state) <= {"_metadata"}:
            instance.extend(state.values())
        elif name.startswith(("numpy.dtype", "numpy.core.", "numpy._core.", "mmengine.")):
            instance.append(state)
        else:
            super().build(instance, state)

    def set_items(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, _Made):
            target.extend(items)
        else:
            super().set_items(target, items)

    def refer(self, reference: Any) -> Any:
        if not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
            raise RefusedPickle("a reference to something that is not a storage")
        _, kind, key, _, count = reference[:5]
        item_size = _STORAGES.get(kind) if isinstance(kind, _Name) else None
        if item_size is None or type(count) is not int or count < 0:
            raise RefusedPickle(f"a storage of {str(kind)[:80]}")
        size = count * item_size
        if self._records is not None:
            available = self._records.get(str(key), 0)
        else:
            # Memory is taken once for each key, with the size that comes first.
            available = self._left + self._storages.get(str(key), 0)
            self._left = available - size
            self._storages[str(key)] = size
        if size > available:
            raise RefusedPickle(f"a storage of {size} bytes, of which {available} are there")
        return _Storage(count, item_size)

    def _check_tensor(self, args: Any) -> None:
        """Compare a tensor with its storage: torch would enlarge one that is too small."""
        storage, offset, shape, strides = args[:4]
        shape = tuple(shape) if isinstance(shape, _Made) else shape
        whole = [offset, *shape, *strides]
        is_whole = all(type(number) is int and number >= 0 for number in whole)
        if not isinstance(storage, _Storage) or not is_whole or len(shape) != len(strides):
            raise RefusedPickle("a tensor of another kind than a checkpoint needs")
        count = math.prod(shape)
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if count and offset + last >= storage.count:
            raise RefusedPickle(f"a tensor of the shape {list(shape)} outside of its storage")
        if count > storage.count:
            # Copied, a number that is seen several times takes memory each time.
            self._repeated += count * storage.item_size
            if self._repeated > self._file_size:
                raise RefusedPickle(f"few numbers seen as a tensor of the shape {list(shape)}")


def refuse_harmful_file(path: Path) -> None:
    """Look through a .pth before torch reads it.

    Args:
        path: any file.

    Raises:
        WeightsError: if reading it could fill the memory, take for ever, or run code.
    """
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            if file.read(len(_ZIP_START)) == _ZIP_START:
                _scan_archive(path, size)
            elif size:
                with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                    scan = _Scan(data, size)
                    for _ in range(_NUM_OLD_PICKLES):
                        scan.read()
    except RefusedPickle as err:
        raise WeightsError(
            f"{path} is refused: it holds {err}. Reading it could run code or fill the memory. "
            "Only tensors and plain values are read; save the weights alone, as a state dict."
        ) from err
    except WeightsError:
        raise
    except (*_ZIP_ERRORS, DamagedPickle) as err:
        raise damaged(path, err) from err


def damaged(path: Path, err: Exception) -> WeightsError:
    """The error for a file that is not whole, or that the system does not let be read.

    Args:
        path: the file.
        err: what its reader raised.
    """
    if refusal := refusal_of_system(err):
        return WeightsError(f"{path} cannot be read. {refusal}")
    lines = str(err).strip().splitlines() or [type(err).__name__]
    return WeightsError(
        f"{path} ({path.stat().st_size} bytes) cannot be read; it seems cut off or damaged "
        f"({lines[0][:200]}). Use an older checkpoint of its folder or fetch it again."
    )


def _scan_archive(path: Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        declared = sum(entry.file_size for entry in entries)
        # torch stores its tensors as they are.
        if declared > size:
            raise WeightsError(
                f"{path} is refused: {size} bytes that would unpack to {declared}. torch never "
                "compresses its files. If you trust it, unpack it, load it with torch and save it "
                "again."
            )
        found = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(found) != 1:
            raise DamagedPickle(f"{len(found)} files data.pkl in it, expected one")
        folder = found[0].filename.removesuffix("data.pkl") + "data/"
        records = {entry.filename.removeprefix(folder): entry.file_size for entry in entries}
        _Scan(archive.read(found[0]), size, records).read()


def refuse_damaged_archive(path: Path) -> None:
    """Compare the content of a .pth with the checksums in it, which torch does not check.

    Args:
        path: any file; one that is not a zip archive passes.

    Raises:
        WeightsError: if a part of it is not what was written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()
    except _ZIP_ERRORS:
        # The reader of the file reports what is wrong with it.
        return
    if changed is not None:
        raise WeightsError(
            f"{path} is damaged: the checksum of {changed} in it does not fit. Use an older "
            "checkpoint of its folder or fetch it again."
        )


# Training state of detectron2 (a best metric, a learning rate) is often a numpy number; these let
# torch's reader take it.
NUMPY_FOR_TORCH: list[Any] = [(made, name) for name, made in STAND_INS.items()]
READ_ERRORS = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, IndexError),
    *(AttributeError, MemoryError, AssertionError, zipfile.BadZipFile, pickle.UnpicklingError),
)
