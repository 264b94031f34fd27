"""A reader of pickles that executes nothing: each opcode is carried out here, under limits.

Python's own unpickler can be limited to some classes, but not in what it does with them: a few
bytes may then ask for gigabytes, or build nested tuples whose hash takes years.
"""

import codecs
import pickle
import struct
from collections.abc import Callable
from mmap import mmap
from typing import Any

from .pickle_limits import DamagedPickle, RefusedPickle, require_plain_key, require_small

# Values in one list, tuple or dict that is not written in parts.
_MAX_STACK = 1_000_000
# Containers and references that any file may make, and the bytes of a file that pay for another.
_FREE_OBJECTS, _BYTES_AN_OBJECT = 200_000, 3

# Opcodes that push a value: their format or the format of the length before the value.
_NUMBERS = {"K": "<B", "M": "<H", "J": "<i", "G": ">d"}
_TEXTS = {"X": "<I", "\x8c": "<B", "\x8d": "<Q"}
_TEXTS_OF_PYTHON_2 = {"U": "<B", "T": "<i"}
_BYTES = {"C": "<B", "B": "<I", "\x8e": "<Q", "\x96": "<Q"}
_CONSTANTS: dict[str, Any] = {"N": None, "\x88": True, "\x89": False, ")": ()}
_PUTS = {"q": "<B", "r": "<I"}
_GETS = {"h": "<B", "j": "<I"}


class PickleMachine:
    """Reads pickles of protocol 0 to 5, also those of Python 2, whose bytes become latin1 texts.

    Subclasses decide what classes and functions are: this one builds plain values only.

    Args:
        data: the bytes of a file, or the file mapped into memory.
    """

    def __init__(self, data: bytes | mmap) -> None:
        self._data = data
        self._position = 0
        self._budget = _FREE_OBJECTS + len(data) // _BYTES_AN_OBJECT

    # ------------------------------------------------------------------ for subclasses

    def find(self, module: str, name: str) -> Any:
        """What a file gets for the name of a class or function."""
        raise RefusedPickle(f"{module}.{name}"[:200])

    def call(self, function: Any, args: Any) -> Any:
        """The result of a call that a file asks for."""
        raise RefusedPickle("a call of a plain value")

    def build(self, instance: Any, state: Any) -> None:
        """Give an instance its state."""
        raise RefusedPickle(f"a state for a {type(instance).__name__}")

    def refer(self, reference: Any) -> Any:
        """What a reference to something outside of the pickle stands for."""
        raise RefusedPickle("a reference to something outside of the file")

    def set_items(self, target: Any, items: list[Any]) -> None:
        """Add keys and values, in turns, to a dict."""
        if not isinstance(target, dict) or len(items) % 2:
            raise RefusedPickle(f"items for a {type(target).__name__}")
        for key in items[::2]:
            require_plain_key(key)
        target.update(zip(items[::2], items[1::2], strict=True))

    # ------------------------------------------------------------------ reading

    def read(self) -> Any:
        """Read one pickle; a further call reads the one after it.

        Raises:
            RefusedPickle: if it asks for something outside of the rules or limits.
            DamagedPickle: if it cannot be read.
        """
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        stack, data = self._stack, self._data
        try:
            while (code := data[self._position]) != ord("."):
                self._position += 1
                operation = _OPERATIONS.get(code)
                if operation is None:
                    raise DamagedPickle(f"unexpected opcode {bytes([code])!r}")
                operation(self)
                if len(stack) > _MAX_STACK:
                    raise RefusedPickle(f"more than {_MAX_STACK} values in one place")
            self._position += 1
            value = stack.pop()
        except (IndexError, KeyError, struct.error, ValueError, TypeError, MemoryError) as err:
            raise DamagedPickle(str(err)) from err
        require_small(value, limit=_FREE_OBJECTS + len(data))
        return value

    def _number(self, form: str) -> Any:
        (number,) = struct.unpack_from(form, self._data, self._position)
        self._position += struct.calcsize(form)
        return number

    def _bytes(self, count: int) -> bytes:
        start, self._position = self._position, self._position + count
        if count < 0 or self._position > len(self._data):
            raise ValueError("it ends too early")
        return self._data[start : self._position]

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._position)
        line = self._bytes(end - self._position)
        self._position += 1
        return line

    def _count(self) -> None:
        """Count an object against what a file of this size may make."""
        self._budget -= 1
        if self._budget < 0:
            raise RefusedPickle("far more objects than its size explains")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop_marked(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    # ------------------------------------------------------------------ opcodes

    def _push_container(self, value: Any) -> None:
        self._count()
        self._stack.append(value)

    def _mark(self) -> None:
        self._count()
        self._marks.append(len(self._stack))

    def _pack(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError("a tuple of values that are not there")
        packed = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._push_container(packed)

    def _append(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise RefusedPickle(f"items for a {type(self._stack[-1]).__name__}")
        self._stack[-1].extend(items)

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self.set_items(self._stack[-1], [key, value])

    def _push_dict(self) -> None:
        items, target = self._pop_marked(), dict[Any, Any]()
        PickleMachine.set_items(self, target, items)
        self._push_container(target)

    def _set_marked(self) -> None:
        items = self._pop_marked()
        self.set_items(self._stack[-1], items)

    def _put(self, place: int) -> None:
        self._count()
        self._memo[place] = self._stack[-1]

    def _global(self) -> None:
        module, name = self._line().decode(), self._line().decode()
        self._push(self.find(module, name))

    def _global_on_stack(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push(self.find(str(module), str(name)))

    def _call(self) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        if not isinstance(args, tuple):
            raise RefusedPickle("a call without arguments")
        try:
            self._push_container(self.call(function, args))
        except (TypeError, ValueError) as err:
            raise RefusedPickle(f"a call with impossible arguments ({err})") from err

    def _build(self) -> None:
        state = self._stack.pop()
        self.build(self._stack[-1], state)


def _integer(line: bytes) -> int | bool:
    # The two are how protocol 0 writes False and True.
    return {b"00": False, b"01": True}.get(line, int(line.rstrip(b"L")))


def _latin1(text: bytes) -> str:
    return text.decode("latin1")


def _quoted(line: bytes) -> str:
    if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
        raise ValueError("a text without quotes")
    return _latin1(codecs.escape_decode(line[1:-1])[0])


_Operation = Callable[[PickleMachine], None]


def _push_read(form: str, convert: Callable[[bytes], Any] | None = None) -> _Operation:
    """The operation that pushes a number, or a value whose length the number is."""
    if convert is None:
        return lambda m: m._push(m._number(form))
    return lambda m: m._push(convert(m._bytes(m._number(form))))


def _push_line(convert: Callable[[bytes], Any]) -> _Operation:
    return lambda m: m._push(convert(m._line()))


def _utf8(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def _push_constant(value: Any) -> _Operation:
    return lambda m: m._push_container(value)


def _put(form: str) -> _Operation:
    return lambda m: m._put(m._number(form))


def _get(form: str) -> _Operation:
    return lambda m: m._push(m._memo[m._number(form)])


# Opcodes that are missing here make instances of classes, or are written by no pickler.
_OPERATIONS: dict[int, _Operation] = {
    ord(code): operation
    for code, operation in {
        "\x80": lambda m: m._bytes(1),
        "\x95": lambda m: m._bytes(8),
        **{code: _push_read(form) for code, form in _NUMBERS.items()},
        **{code: _push_read(form, _utf8) for code, form in _TEXTS.items()},
        **{code: _push_read(form, _latin1) for code, form in _TEXTS_OF_PYTHON_2.items()},
        **{code: _push_read(form, bytes) for code, form in _BYTES.items()},
        "\x8a": _push_read("<B", pickle.decode_long),
        **{code: _push_constant(value) for code, value in _CONSTANTS.items()},
        "I": _push_line(_integer),
        "L": _push_line(_integer),
        "F": _push_line(float),
        "S": _push_line(_quoted),
        "V": _push_line(lambda line: line.decode("raw-unicode-escape")),
        "]": lambda m: m._push_container([]),
        "}": lambda m: m._push_container({}),
        "(": PickleMachine._mark,
        "l": lambda m: m._push_container(m._pop_marked()),
        "t": lambda m: m._push_container(tuple(m._pop_marked())),
        "d": PickleMachine._push_dict,
        "\x85": lambda m: m._pack(1),
        "\x86": lambda m: m._pack(2),
        "\x87": lambda m: m._pack(3),
        "a": lambda m: m._append([m._stack.pop()]),
        "e": lambda m: m._append(m._pop_marked()),
        "s": PickleMachine._set_item,
        "u": PickleMachine._set_marked,
        "p": lambda m: m._put(int(m._line())),
        **{code: _put(form) for code, form in _PUTS.items()},
        "\x94": lambda m: m._put(len(m._memo)),
        "g": lambda m: m._push(m._memo[int(m._line())]),
        **{code: _get(form) for code, form in _GETS.items()},
        "c": PickleMachine._global,
        "\x93": PickleMachine._global_on_stack,
        "R": PickleMachine._call,
        "\x81": PickleMachine._call,
        "b": PickleMachine._build,
        "Q": lambda m: m._push_container(m.refer(m._stack.pop())),
    }.items()
}
