import sys

import pytest
import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.utils.errors import WeightsError


@pytest.fixture
def path(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    made = tmp_path / "net.safetensors"
    safetensors.save_file({"weight": torch.full((2, 3), 4.0), "bias": torch.ones(2)}, made)
    return made


def test_weights_are_read(path):
    model = nn.Linear(3, 2)
    DetectionCheckpointer(model).load(str(path))
    assert (model.weight == 4).all()
    assert (model.bias == 1).all()


def test_a_cut_off_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(WeightsError, match="cut off or damaged"):
        DetectionCheckpointer(nn.Linear(3, 2)).load(str(path))


def test_without_the_package_the_command_is_told(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(WeightsError, match="pip install safetensors"):
        DetectionCheckpointer(nn.Linear(3, 2)).load(str(path))
