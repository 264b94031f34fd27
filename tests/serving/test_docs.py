"""The Python of docs/serving.md runs, and its options are those of the command."""

import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from d2lite.commands.serve import build_parser
from d2lite.serving import Limits, ModelQueue, build_app

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_code_blocks_run(predictor, serving, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(photo)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    with serving(build_app(ModelQueue(predictor), Limits())) as address:
        for block in blocks:
            exec(block, {"address": address})
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_stated_limits_are_the_defaults():
    stated = re.findall(r"`(--[\w-]+) (\d+)`", PAGE)
    words = [word for option in stated for word in option]
    assert len(stated) == 4
    assert build_parser().parse_args(["run", *words]) == build_parser().parse_args(["run"])
