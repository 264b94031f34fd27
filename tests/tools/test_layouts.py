"""Every layout of every tool trains, is scored and is drawn, by its string alone."""

import json

import pytest

from d2lite.data import DatasetCatalog
from tests.data.layout_files import LAYOUTS
from tests.tools.conftest import TINY


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_layout_trains_is_scored_and_is_drawn(layout, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = layout(tmp_path / "d")
    before = set(DatasetCatalog.list())
    records = DatasetCatalog.get(name)
    objects = [obj for record in records for obj in record["annotations"]]
    has_masks = all("segmentation" in obj for obj in objects)
    are_outlines = all(isinstance(obj.get("segmentation"), list) for obj in objects)
    options = [
        *TINY, "DATASETS.TRAIN", (name,), "DATASETS.TEST", (name,), "MODEL.MASK_ON", has_masks,
        "INPUT.MASK_FORMAT", "polygon" if are_outlines else "bitmask", "OUTPUT_DIR", "out",
    ]  # fmt: skip
    trained = run("train_net", "--config-file", "quick_start.yaml", *options)
    assert trained.status == 0, trained.err
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.json").read_text().splitlines()]
    assert lines[-1]["iteration"] == 3
    scored = {key for line in lines for key in line}
    assert "bbox/AP50" in scored
    assert ("segm/AP50" in scored) == (has_masks and not name.startswith("voc:"))
    drawn = run(
        "visualize_data", "--config-file", "out/config.yaml", "--source", "annotation",
        "--output-dir", "drawn",
    )  # fmt: skip
    assert drawn.status == 0, drawn.err
    assert len(list((tmp_path / "drawn").iterdir())) == len(records) == 1
    for added in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(added)
