"""Files that want to harm whoever opens them; those that run code are in test_checkpointer."""

import contextlib
import errno
import io
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.reading import read_checkpoint
from d2lite.engine.resuming.checkpoint_peek import class_names_of_weights
from d2lite.utils.errors import WeightsError

MEGABYTES = 20


@pytest.fixture
def bomb(tmp_path):
    """A file of torch, compressed: some kilobytes that unpack to many megabytes of zeros."""
    plain = tmp_path / "plain.pth"
    torch.save({"model": {"weight": torch.zeros(MEGABYTES << 18)}}, plain)
    path = tmp_path / "bomb.pth"
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert path.stat().st_size < 100_000
    return str(path)


def test_file_that_unpacks_to_more_than_it_is_stays_unopened(bomb, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was opened"))
    with pytest.raises(WeightsError, match=r"bomb\.pth is refused: \d+ bytes that would unpack"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(bomb)


def test_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    """Root may read any file, so that the system is asked to refuse by a stand-in."""
    (tmp_path / "w.pth").write_bytes(b"x")

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(WeightsError, match=r"cannot be read\. Permission denied") as caught:
        read_checkpoint(str(tmp_path / "w.pth"))
    monkeypatch.undo()
    assert "damaged" not in str(caught.value)


def test_weights_of_which_one_bit_has_changed_since_they_were_saved_are_refused(tmp_path):
    model = nn.Linear(4, 4)
    DetectionCheckpointer(model, str(tmp_path)).save("mine")
    path = tmp_path / "mine.pth"
    content = bytearray(path.read_bytes())
    content[content.index(model.weight.detach().numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"mine\.pth is damaged: the checksum"):
        DetectionCheckpointer(nn.Linear(4, 4)).load(str(path))


def test_looking_for_class_names_does_not_open_it_either(bomb, monkeypatch):
    """This look comes first, before anything is loaded."""
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was opened"))
    assert class_names_of_weights(bomb) is None


@pytest.mark.parametrize("is_zip", [True, False])
def test_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path, is_zip):
    """A view of one number may have any size, and copying it takes all of it."""
    content = {"model": {"bias": torch.zeros(1)}, "state": torch.zeros(1).expand(1 << 40)}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(WeightsError, match=r"refused: it holds few numbers seen as a tensor"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(str(tmp_path / "x.pth"))


def test_ordinary_file_passes(tmp_path):
    model = nn.Linear(3, 2)
    DetectionCheckpointer(model, str(tmp_path)).save("x")
    other = nn.Linear(3, 2)
    DetectionCheckpointer(other).load(str(tmp_path / "x.pth"))
    assert torch.equal(other.weight, model.weight)


def test_save_load_save_writes_the_same_bytes(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    DetectionCheckpointer(model, str(tmp_path / "first")).save("x", iteration=3)
    twin = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    checkpointer = DetectionCheckpointer(twin, str(tmp_path / "second"))
    rest = checkpointer.load(str(tmp_path / "first" / "x.pth"))
    checkpointer.save("x", iteration=rest["iteration"])
    first, second = (tmp_path / name / "x.pth" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_our_file_is_read_by_torch_alone(tmp_path):
    model = nn.Linear(3, 2)
    model.class_names = ["a"]
    DetectionCheckpointer(model, str(tmp_path)).save("x", iteration=3)
    content = torch.load(tmp_path / "x.pth", weights_only=True)
    assert torch.equal(content["model"]["weight"], model.weight)
    assert content["iteration"] == 3
    assert content["d2lite"]["class_names"] == ["a"]


# ---------------------------------------------------------------------------- opcodes of a .pth


def _pth(path, raw, records=()):
    """An archive as torch writes it, with a pickle of the test's own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", raw)
        archive.writestr("x/byteorder", "little")
        archive.writestr("x/version", "3\n")
        for name, content in dict(records).items():
            archive.writestr(f"x/data/{name}", content)
    return str(path)


def _tensor(count=b"K\x01", size=b"K\x01", stride=b"K\x01", offset=b"K\x00"):
    """Opcodes of one tensor of float32, whose storage is said to have `count` numbers."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + count + b"tQ" + offset + size + b"\x85"
        b"" + stride + b"\x85\x89ccollections\nOrderedDict\n)RtR"
    )


def _in_a_dict(value):
    return b"\x80\x02}X\x01\x00\x00\x00w" + value + b"s."


_MANY = b"J\x00\x00\x00\x10"
_NESTED = b")" + b"q\x00h\x00\x86" * 60
_HARMFUL = {
    "storage larger than its record": _tensor(count=_MANY),
    "storage of a negative size": _tensor(count=b"J\xff\xff\xff\xff"),
    "tensor outside of its storage": _tensor(size=b"K\x02"),
    "offset outside of the storage": _tensor(offset=b"K\x01"),
    "negative offset": _tensor(offset=b"J\xff\xff\xff\xff"),
    "negative stride": _tensor(stride=b"J\xff\xff\xff\xff"),
    "few numbers seen often": _tensor(size=_MANY, stride=b"K\x00"),
    "bytes of a size": b"c__builtin__\nbytearray\n" + _MANY + b"\x85R",
    "storage of a size": b"ctorch.storage\nUntypedStorage\n" + _MANY + b"\x85R",
    "tensor of a size": b"ctorch\nTensor\n" + _MANY + b"\x85\x81",
    "slow codec": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00idna\x86R",
    "numpy array of a size": b"cnumpy\nndarray\n" + _MANY + b"\x85\x85R",
    "numpy array of objects": b"cnumpy\nndarray\nK\x01\x85X\x01\x00\x00\x00O\x86\x81",
    "set of nested tuples": b"c__builtin__\nset\n]" + _NESTED + b"a\x85R",
    "counter of nested tuples": b"ccollections\nCounter\n]" + _NESTED + b"a\x85R",
    "key of nested tuples": b"}" + _NESTED + b"K\x01s",
    "methods of a dict replaced": b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsNsb",
    "function called by another": b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\neval\n"
    b"ctorch\nTensor\nX\x01\x00\x00\x001\x85NtR",
    "marks": b"(" * 1_000_000,
}


@pytest.mark.parametrize("kind", _HARMFUL)
def test_harmful_pickle_in_a_pth_is_refused_before_torch_reads_it(tmp_path, monkeypatch, kind):
    path = _pth(tmp_path / "x.pth", _in_a_dict(_HARMFUL[kind]), {"0": b"\x00" * 4})
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was opened"))
    with pytest.raises(WeightsError, match=r"x\.pth"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(path)


def test_honest_pickle_of_that_form_is_read(tmp_path):
    path = _pth(tmp_path / "x.pth", _in_a_dict(_tensor()), {"0": b"\x00\x00\x80?"})
    assert read_checkpoint(path)["model"]["w"].item() == 1.0


def test_two_pickles_in_one_archive_are_refused(tmp_path):
    """Readers of archives do not agree on which of two they take."""
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("x/data.pkl", _in_a_dict(_tensor()))
        archive.writestr("x/data.pkl", _in_a_dict(_tensor()))
    with pytest.raises(WeightsError, match=r"2 files data\.pkl"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("is_zip", [True, False])
def test_honest_files_of_torch_pass_in_both_forms(tmp_path, is_zip):
    """Training state has more kinds of values than weights have."""
    weight = torch.arange(12.0).reshape(3, 4)
    with_attribute = nn.Parameter(torch.ones(2))
    with_attribute.note = "x"
    content = {
        "model": {
            "half": weight.half(),
            "bfloat": weight.bfloat16(),
            "bool": weight > 3,
            "turned": weight.T,
            "part": weight[1:, ::2],
            "same": weight,
            "scalar": torch.tensor(3),
            "empty": torch.zeros(0, 4),
            "parameter": nn.Parameter(torch.ones(2)),
            "with_attribute": with_attribute,
        },
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "betas": (0.9, 0.999)},
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "bytes": b"\x00\xff",
        "array": np.arange(3.0),
        "number": np.float64(0.5),
        "set": {1, 2},
        "row": weight[:1].expand(2, 4),
    }
    if is_zip:
        # The older form lacks this type.
        content["model"]["unsigned"] = torch.ones(2, dtype=torch.uint16)
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=is_zip)
    found = read_checkpoint(str(tmp_path / "x.pth"))
    assert all(torch.equal(found["model"][k], v) for k, v in content["model"].items())
    assert type(found["array"]) is np.ndarray
    assert found["array"].tolist() == [0, 1, 2]
    for key in ("size", "device", "dtype", "bytes", "number", "set"):
        assert found[key] == content[key]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changed_bytes_end_in_weights_or_in_one_message(tmp_path_factory, data):
    stream = io.BytesIO()
    torch.save({"model": {"w": torch.ones(2), "b": torch.ones(1)}, "iteration": 3}, stream)
    with zipfile.ZipFile(stream) as archive:
        parts = {info.filename: bytearray(archive.read(info)) for info in archive.infolist()}
    pickled = next(content for name, content in parts.items() if name.endswith("data.pkl"))
    for _ in range(data.draw(st.integers(1, 3))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, bytes(content))
    with contextlib.suppress(WeightsError):
        read_checkpoint(str(path))
