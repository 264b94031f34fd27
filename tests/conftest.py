"""What all tests share: small tensors on one thread, and the skipping of what a machine lacks."""

import os

# Before torch is imported: tests run on tensors so small that threads only cost time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from d2lite.config.defaults import _C

pytest_plugins = ["tests.store_server"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked gpu where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        # (`keywords` would also have the names of the folders that a test is in.)
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _same_draws():
    """Every test starts from the same random state, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_reports(monkeypatch: pytest.MonkeyPatch):
    """Trainings in tests write no report, which takes longer than they do."""
    monkeypatch.setitem(_C.REPORT, "ENABLED", False)


@pytest.fixture(autouse=True)
def _no_outside_folders(monkeypatch: pytest.MonkeyPatch, tmp_path_factory):
    """Tests see neither the user's data sets nor the user's cache."""
    monkeypatch.delenv("D2LITE_DATASETS", raising=False)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
