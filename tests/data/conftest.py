"""What several tests of the data floor need."""

import json

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.utils import comm
from tests.data.spec_files import picture


@pytest.fixture
def as_rank(monkeypatch):
    """A function that makes this process believe that it is one of several."""

    def pretend(rank, world_size):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)

    return pretend


@pytest.fixture
def own_folders(monkeypatch, tmp_path):
    """A working folder and a root of datasets in tmp_path, and no names left behind."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("D2LITE_DATASETS", str(tmp_path / "root"))
    before = set(DatasetCatalog.list()), set(MetadataCatalog.list())
    yield
    for faults, names in zip((DatasetCatalog, MetadataCatalog), before, strict=True):
        for name in set(faults.list()) - names:
            faults.remove(name)


@pytest.fixture
def home(tmp_path):
    """The folder of a dataset, below the working folder of `own_folders`; not made yet."""
    return tmp_path / "work" / "set"


@pytest.fixture
def folder(home):
    """A function that writes files, of text or JSON, and images of 40 x 20 for names of images."""

    def write(files):
        for name, content in files.items():
            path = home / name
            if content is None:
                picture(path, size=(40, 20))
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return home

    return write
