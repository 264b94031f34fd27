"""Files that want to harm whoever opens them; those that run code are in test_checkpointer."""

import zipfile

import pytest
import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
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


def test_looking_for_class_names_does_not_open_it_either(bomb, monkeypatch):
    """This look comes first, before anything is loaded."""
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was opened"))
    assert class_names_of_weights(bomb) is None


def test_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    """The picture of a tensor in the file may say any size; here a view of one number."""
    view = torch.zeros(1).expand(1 << 40)
    torch.save({"model": {"weight": view, "bias": torch.zeros(1)}}, tmp_path / "x.pth")
    model = nn.Linear(1, 1)
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(tmp_path / "x.pth"))
    assert checkpointer.report.other_shape == [("weight", (1 << 40,), (1, 1))]


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
