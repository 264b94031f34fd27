"""The Python of the pages for beginners runs, on what their commands leave."""

import re
from pathlib import Path

import pytest

from d2lite.config import find_config_file, get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.engine import DefaultTrainer
from tests.predicting.conftest import OPTIONS
from tests.reporting.sets import random_set

DOCS = Path(__file__).resolve().parents[2] / "docs"


def small_cfg():
    cfg = get_cfg()
    cfg.merge_from_file(find_config_file("quick_start.yaml"))
    cfg.merge_from_list([*OPTIONS, "SOLVER.MAX_ITER", 1, "SOLVER.IMS_PER_BATCH", 2])
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 0, "DATASETS.TEST", ()])
    return cfg


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where `d2lite train --config-file quick_start.yaml` was run, with a tiny model."""
    place = tmp_path_factory.mktemp("work")
    cfg = small_cfg()
    cfg.OUTPUT_DIR = str(place / "output" / "quick_start")
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return place


def given(page, cfg):
    """The names that the text of a page introduces before its code."""
    if page == "augmentation":
        return {"cfg": cfg}
    if page == "report":
        truth, results = random_set(7, num_images=4)
        return {"truth": truth, "results": results}
    return {}


PAGES = ["augmentation", "datasets", "first_steps", "report", "reproducibility"]


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    names = given(page, small_cfg())
    for block in blocks:
        exec(block, names)
    if page == "datasets":
        assert len(DatasetCatalog.get("my_train")) == 1
        DatasetCatalog.remove("my_train")
        MetadataCatalog.remove("my_train")


def test_every_page_with_python_is_run():
    """A page of examples that is new needs a test; these have theirs elsewhere."""
    others = {"extending", "predicting", "serving"}
    found = {page.stem for page in DOCS.glob("*.md") if "```python\n" in page.read_text("utf-8")}
    assert found == others | set(PAGES)


def test_every_extra_is_explained():
    setup = (DOCS.parent / "setup.py").read_text("utf-8")
    extras = re.findall(r'^    "(\w+)": \[', setup, flags=re.MULTILINE)
    page = (DOCS / "how_to.md").read_text("utf-8")
    table = page[page.index("| extra | for |") :]
    rows = [row.split(" | ")[0] for row in table.splitlines()[2:]]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(extras)
