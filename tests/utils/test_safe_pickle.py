"""Pickles: honest ones of every age are read, harmful ones are refused before they take memory."""

import collections
import contextlib
import enum
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lite.utils.pickle_limits import DamagedPickle, RefusedPickle
from d2lite.utils.safe_pickle import read_pickle


@pytest.fixture
def read(tmp_path):
    """A function that reads bytes or, pickled, any other value."""

    def from_file(content, protocol=4, **options):
        path = tmp_path / "x.pkl"
        is_raw = isinstance(content, bytes)
        path.write_bytes(content if is_raw else pickle.dumps(content, protocol))
        tracemalloc.start()
        try:
            return read_pickle(path, **options)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 2**20 + 50 * path.stat().st_size

    return from_file


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.parts


class Mode(enum.IntEnum):
    XYXY = 0
    XYWH = 1


# ---------------------------------------------------------------------------- honest files

# As Python 2 wrote {"w": array([[1, 2]], float32), "n": float64(0.5)}, in protocol 0 and 2.
OF_PYTHON_2 = [
    b"(dp0\nS'w'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\n"
    b"S'b'\np5\ntp6\nRp7\n(I1\n(I1\nI2\ntp8\ncnumpy\ndtype\np9\n(S'f4'\np10\nI0\nI1\ntp11\nRp12\n"
    b"(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\np15\ntp16\n"
    b"bsS'n'\np17\ncnumpy.core.multiarray\nscalar\np18\n(g9\n(S'f8'\np19\nI0\nI1\ntp20\nRp21\n"
    b"(I3\nS'<'\np22\nNNNI-1\nI-1\nI0\ntp23\nbS'\\x00\\x00\\x00\\x00\\x00\\x00\\xe0?'\np24\n"
    b"tp25\nRp26\ns.",
    b"\x80\x02}q\x00(U\x01wq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03"
    b"K\x00\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x01K\x02\x86q\x08cnumpy\ndtype\nq\tU\x02f4q\n"
    b"K\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb"
    b"\x89T\x08\x00\x00\x00\x00\x00\x80?\x00\x00\x00@q\x0ftq\x10bU\x01nq\x11"
    b"cnumpy.core.multiarray\nscalar\nq\x12h\tU\x02f8q\x13K\x00K\x01\x87q\x14Rq\x15(K\x03h\rNNN"
    b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x16bU\x08\x00\x00\x00\x00\x00\x00\xe0?q\x17\x86"
    b"q\x18Rq\x19u.",
]


@pytest.mark.parametrize("content", OF_PYTHON_2)
def test_files_of_python_2_are_read(read, content):
    found = read(content)
    assert found["w"].tolist() == [[1, 2]]
    assert found["w"].dtype == np.float32
    assert found["n"] == 0.5


@pytest.mark.parametrize("home", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("protocol", range(6))
def test_files_of_numpy_1_and_2_are_read_in_each_protocol(read, home, protocol):
    content = {"a": np.arange(6.0, dtype=">f4").reshape(2, 3).T, "n": np.int32(7), "e": b""}
    raw = pickle.dumps(content, protocol)
    for now in (b"numpy._core", b"numpy.core"):
        # In protocols from 4 on, the length of the text comes before it.
        for module in (b".multiarray", b".numeric"):
            old, new = now + module, home + module
            for a, b in [(b"\x8c" + bytes([len(old)]) + old, b"\x8c" + bytes([len(new)]) + new)]:
                raw = raw.replace(a, b)
            raw = raw.replace(b"c" + old + b"\n", b"c" + new + b"\n")
    # Frames say how long they are; this reader does not need them.
    found = read(raw)
    assert home + b"." in raw
    assert np.array_equal(found["a"], content["a"])
    assert type(found["a"]) is np.ndarray
    assert (found["n"], found["e"]) == (7, b"")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(plain, st.integers(0, 5))
def test_plain_values_come_back_from_each_protocol(tmp_path_factory, value, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_pickle(path) == value


def test_members_of_named_enumerations_are_numbers(read):
    assert read({"mode": Mode.XYWH}, enums=["Mode"]) == {"mode": 1}
    with pytest.raises(RefusedPickle, match="Mode"):
        read({"mode": Mode.XYWH})


def test_ordered_dict_keeps_its_metadata_and_nothing_else(read):
    state = collections.OrderedDict(w=1)
    state._metadata = {"": {"version": 2}}
    state.other = "not kept"
    found = read(state)
    assert found._metadata == {"": {"version": 2}}
    assert list(found.items()) == [("w", 1)]
    assert not hasattr(found, "other")


def test_many_small_arrays_fit_into_the_limits(read):
    """A file of proposals has some hundred thousand of them."""
    arrays = [np.full((1, 4), number, np.float32) for number in range(20_000)]
    assert read(arrays)[-1].tolist() == [[19_999] * 4]


# ---------------------------------------------------------------------------- harmful files


def nested_tuple(levels):
    value = ()
    for _ in range(levels):
        value = (value, value)
    return value


def chain(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def contains_itself():
    value = []
    value.append(value)
    return value


def nested_from_above():
    """Lists that are filled after they were put into each other."""
    lists = [[] for _ in range(60)]
    return b"".join(
        [
            b"\x80\x02",
            *(b"]q" + bytes([number]) for number in range(len(lists))),
            *(
                b"h%ch%cah%ca" % (number, number + 1, number + 1)
                for number in range(len(lists) - 1)
            ),
            b"h\x00.",
        ]
    )


HARMFUL = {
    "code": Call(eval, "1"),
    "code by its attribute": Call(getattr, [], "pop"),
    "array of objects": Call(np.ndarray, (2, 4), "O", b"\x11" * 64),
    "array without strides": Call(np.ndarray, (2**29,), "f8", b"\x00" * 8, 0, (0,)),
    "array without content": Call(np.ndarray, (3 * 2**27,), "f8"),
    "array of Python objects": np.array([{}, None], dtype=object),
    "record type": np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
    "type of objects": np.dtype("O"),
    "type of huge items": Call(np.dtype, "V2000000000"),
    "type of huge arrays": Call(np.dtype, "(100000,100000)f8"),
    "date type": np.array(["2020"], dtype="M8[D]"),
    "shape without content": Call(
        np.zeros(0).__reduce__()[0], np.ndarray, (0,), b"b",
        state=(1, (2**40,), np.dtype("f8"), False, b"\x00" * 8),
    ),
    "negative shape": Call(
        np.zeros(0).__reduce__()[0], np.ndarray, (0,), b"b",
        state=(1, (-1, -8), np.dtype("u1"), False, b"\x00" * 8),
    ),
    "content of objects": Call(
        np.zeros(0).__reduce__()[0], np.ndarray, (0,), b"b",
        state=(1, (1,), np.dtype("f8"), False, [None]),
    ),
    "array of another class": Call(np.zeros(0).__reduce__()[0], list, (0,), b"b"),
    "scalar of objects": Call(np.float64(1).__reduce__()[0], np.dtype("O"), b"\x11" * 8),
    "scalar of few bytes": Call(np.float64(1).__reduce__()[0], np.dtype("f8"), b"\x11"),
    "bytes of a size": Call(bytes, 10**12),
    "bytearray of a size": Call(bytearray, 10**12),
    "codec": Call(__import__("_codecs").encode, "a" * 9, "idna"),
    "set": {1, 2},
    "set of tuples": {nested_tuple(4)},
    "key of nested tuples": {nested_tuple(4): 1},
    "pairs with nested keys": Call(collections.OrderedDict, [[nested_tuple(4), 1]]),
    "pairs that are none": Call(collections.OrderedDict, ["abc"]),
    "tuples that repeat": nested_tuple(60),
    "deep lists": chain(200),
    "itself": contains_itself(),
    "module": __import__("pickle").Unpickler,
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", HARMFUL)
def test_harmful_values_are_refused(read, kind, protocol):
    with pytest.raises(pickle.UnpicklingError):
        read({"model": HARMFUL[kind]}, protocol)


RAW = {
    "key with a hash that never ends": b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",
    "marks": b"\x80\x02" + b"(" * 3_000_000 + b".",
    "empty lists": b"\x80\x02" + b"]" * 3_000_000 + b".",
    "references": b"\x80\x04]" + b"\x94" * 3_000_000 + b".",
    "persistent reference": b"\x80\x02K\x01Q.",
    "list that is a text": b"\x80\x02X\x01\x00\x00\x00aK\x01a.",
    "items of a number": b"\x80\x02K\x01(K\x01K\x02u.",
    "state of a list": b"\x80\x02]}b.",
    "call of a number": b"\x80\x02K\x01)R.",
    "call without a tuple": b"\x80\x02cnumpy\ndtype\n]R.",
    "class made without a call": b"\x80\x02cnumpy\nndarray\nK\x05\x85\x81.",
}
DAMAGED = {
    "nothing": b"",
    "no end": b"\x80\x02]",
    "text longer than the file": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
    "negative length": b"\x80\x02T\xff\xff\xff\xffa.",
    "place in memory": b"\x80\x02h\x07.",
    "number of digits": b"I" + b"9" * 10_000 + b"\n.",
    "line without an end": b"I1",
    "old instance": b"(ios\nsystem\n.",
    "instance from the stack": b"(cnumpy\nndarray\no.",
    "value taken off": b"]0.",
    "value twice": b"]2.",
    "extension": b"\x82\x01.",
    "buffer from outside": b"\x80\x05\x97.",
    "tuple of too few": b"\x80\x02K\x01\x87.",
    "text without quotes": b"Sabc\n.",
    "text that is not UTF-8": b"\x80\x02X\x01\x00\x00\x00\xff.",
    "page": b"<html>",
}


@pytest.mark.parametrize("kind", RAW)
def test_harmful_opcodes_are_refused(read, kind):
    with pytest.raises(RefusedPickle):
        read(RAW[kind])


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files_are_called_damaged(read, kind):
    with pytest.raises(DamagedPickle):
        read(DAMAGED[kind])


def test_lists_filled_from_above_are_refused(read):
    with pytest.raises(RefusedPickle, match="containers in containers"):
        read(nested_from_above())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_end_in_a_value_or_in_a_refusal(tmp_path_factory, data):
    raw = bytearray(pickle.dumps({"a": np.arange(6.0), "b": [1, "x", (2.5, None)]}, 4))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.pkl"
    path.write_bytes(raw)
    with contextlib.suppress(RefusedPickle, DamagedPickle):
        read_pickle(path)
