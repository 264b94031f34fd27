"""Devices and seeds."""

import logging
import os
import random
import sys

import numpy as np
import pytest
import torch

from d2lite.utils import env
from d2lite.utils.collect_env import collect_env_info
from d2lite.utils.env import resolve_device, seed_all_rng
from d2lite.utils.errors import DeviceError


@pytest.fixture
def no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def no_accelerator(monkeypatch, no_cuda):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_accelerator")
def test_default_cuda_that_is_missing_becomes_the_cpu_with_a_log_line(caplog):
    with caplog.at_level(logging.INFO):
        assert resolve_device("cuda", was_set=False) == torch.device("cpu")
    assert "computing on cpu" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("no_cuda")
def test_default_cuda_that_is_missing_becomes_mps_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("cuda", was_set=False) == torch.device("mps")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
@pytest.mark.usefixtures("no_accelerator")
def test_device_that_was_asked_for_and_is_missing_is_an_error_with_a_mend(name):
    with pytest.raises(DeviceError, match=f"'{name}' was asked for.*MODEL.DEVICE cpu"):
        resolve_device(name, was_set=True)


def test_cuda_index_beyond_the_devices_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1", was_set=True) == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="there are 2 CUDA devices"):
        resolve_device("cuda:2", was_set=True)


def test_unknown_device_name_is_an_error():
    with pytest.raises(DeviceError, match="'gpu' is not a device"):
        resolve_device("gpu", was_set=True)


def test_cpu_is_always_there():
    assert resolve_device("cpu", was_set=True) == torch.device("cpu")


def _draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 3])
def test_same_seed_gives_the_same_draws_from_all_three_generators(seed):
    assert seed_all_rng(seed) == seed
    first = _draws()
    seed_all_rng(seed)
    assert _draws() == first


def test_without_a_seed_one_is_drawn_and_returned_and_repeats_the_draws():
    seed = seed_all_rng()
    first = _draws()
    seed_all_rng(seed)
    assert _draws() == first
    assert seed_all_rng() != seed


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="-1"):
        seed_all_rng(-1)


def test_environment_report_names_versions_and_variables(monkeypatch):
    monkeypatch.setenv("D2LITE_DATASETS", "/somewhere")
    text = collect_env_info()
    assert torch.__version__ in text
    assert "numpy" in text
    assert "$D2LITE_DATASETS" in text
    assert "/somewhere" in text


def test_a_file_is_imported_under_a_given_name(tmp_path):
    (tmp_path / "mine.py").write_text("VALUE = 5\n")
    assert env._import_file("name_of_mine", tmp_path / "mine.py").VALUE == 5
    assert "name_of_mine" not in sys.modules
    made = env._import_file("name_of_mine", str(tmp_path / "mine.py"), make_importable=True)
    assert sys.modules.pop("name_of_mine") is made
    with pytest.raises(FileNotFoundError, match="is not a Python file"):
        env._import_file("x", tmp_path / "mine.txt")


def test_the_environment_of_a_site_is_set_up_once(tmp_path, monkeypatch):
    (tmp_path / "site_env.py").write_text(
        "import os\n\ndef setup_environment():\n    os.environ['SITE_COUNT'] += 'x'\n"
    )
    monkeypatch.setenv("SITE_COUNT", "")
    env.setup_environment()
    monkeypatch.setenv("DETECTRON2_ENV_MODULE", str(tmp_path / "site_env.py"))
    for _ in range(2):
        env.setup_environment()
    assert os.environ["SITE_COUNT"] == "x"
    monkeypatch.syspath_prepend(tmp_path)
    env.setup_custom_environment("site_env")
    assert os.environ["SITE_COUNT"] == "xx"
