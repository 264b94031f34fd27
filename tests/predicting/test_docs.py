"""The Python of docs/predicting.md runs, from top to bottom."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from d2lite.checkpoint.reading import read_checkpoint
from d2lite.checkpoint.writing import write_weights
from d2lite.data.images.image_io import read_image
from d2lite.predicting.saving import FORMATS

from .conftest import CLASSES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "predicting.md"


def blocks() -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_code_blocks_run(checkpoint, tmp_path, monkeypatch):
    pytest.importorskip("supervision")
    pytest.importorskip("trackers")
    monkeypatch.chdir(tmp_path)
    content = read_checkpoint(str(checkpoint))
    # The random weights of the test are not sure of anything.
    content["d2lite"]["thresholds"] = dict.fromkeys(CLASSES, 0.0)
    write_weights(Path("model_final.pth"), content)
    Image.fromarray(read_image("shapes://val/0", "RGB")).save("photo.jpg")
    Path("photos").mkdir()
    shutil.copy("photo.jpg", "photos")
    names: dict[str, object] = {}
    # tests/test_model.py runs the training.
    code = [block for block in blocks() if ".train(" not in block]
    assert len(code) >= 7
    for block in code:
        exec(block, names)
    assert Path("found.png").is_file()
    assert Path("found.json").is_file()


def test_all_formats_are_in_the_table():
    rows = re.findall(r"^\| `(\w+)`", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(FORMATS) <= set(rows)
