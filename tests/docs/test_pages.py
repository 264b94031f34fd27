"""The Python of the pages for beginners runs, on what their commands leave."""

import re
from pathlib import Path

import cv2
import numpy as np
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
    others = {"extending", "from_ultralytics", "predicting", "serving"}
    found = {page.stem for page in DOCS.glob("*.md") if "```python\n" in page.read_text("utf-8")}
    assert found == others | set(PAGES)


def test_every_extra_is_explained():
    setup = (DOCS.parent / "setup.py").read_text("utf-8")
    extras = re.findall(r'^    "(\w+)": \[', setup, flags=re.MULTILINE)
    page = (DOCS / "how_to.md").read_text("utf-8")
    table = page[page.index("| extra | for |") :]
    rows = [row.split(" | ")[0] for row in table.splitlines()[2:]]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(extras)


@pytest.mark.slow
def test_what_the_page_for_ultralytics_shows_runs(tmp_path, monkeypatch):
    """Its code, and each expression about a result in its table."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
        cv2.imwrite(f"images/{split}/1.png", image)
        (tmp_path / "labels" / split / "1.txt").write_text("0 0.2 0.2 0.7 0.2 0.5 0.8\n")
    Path("data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    cv2.imwrite("photo.jpg", image)
    clip = cv2.VideoWriter("clip.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 96))
    clip.write(image)
    clip.release()
    text = (DOCS / "from_ultralytics.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(code.replace('"SOLVER.MAX_EPOCHS": 50', '"SOLVER.MAX_EPOCHS": 1'), names)
    names["result"] = names["model"].predict("photo.jpg", threshold=0.0)
    names["height"], names["width"] = names["result"].size
    table = text.partition("## Results")[2].partition("## Files")[0]
    expressions = re.findall(r"`(\[?(?:found\.mask\.\w+\(\) for|result\.)[^`]*)`", table)
    assert len(expressions) > 12
    of_others = ("supervision", "keypoints[")  # a package, and what another model finds
    for expression in expressions:
        if not any(word in expression for word in of_others):
            eval(expression, names)
