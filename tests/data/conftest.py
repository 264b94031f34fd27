"""What several tests of the data floor need."""

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog


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
