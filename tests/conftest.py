"""What all tests share: one thread, commands in this process, and skipping what a machine lacks."""

import logging
import os

# Before torch is imported: tests run on tensors so small that threads only cost time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from d2lite.commands import main
from d2lite.config.defaults import _C
from d2lite.data import DatasetCatalog, MetadataCatalog

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


@pytest.fixture
def d2lite(capfd):
    """Runs a command in this process; gives exit status, output and errors."""

    def run(*words):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words)])
        return int(ended.value.code or 0), *capfd.readouterr()

    yield run
    close_log()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder of a test; sets that it registers are forgotten after it."""
    monkeypatch.chdir(tmp_path)
    before = set(DatasetCatalog.list())
    yield tmp_path
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def close_log() -> None:
    """Take the handlers off d2lite's log, since the next test's console is another one."""
    logger = logging.getLogger("d2lite")
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)


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
