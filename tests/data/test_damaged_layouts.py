"""Label files that something damaged give records, faults or a message: never another exception.

Files are changed at random, from a seed: bytes are cut, doubled and replaced, and values of JSON,
XML and text become ones of another kind.
"""

import contextlib
import json
import random
import re
from pathlib import Path

import pytest

from d2lite.data.datasets.by_string.registration import _SpecLoader
from d2lite.data.datasets.by_string.spec_string import parse_spec
from d2lite.data.records.faults import collecting_faults
from d2lite.data.records.object_checks import drop_invalid
from d2lite.utils.errors import UserError
from tests.data.layout_files import LAYOUTS
from tests.resources import bounded

pytestmark = pytest.mark.filterwarnings(
    "ignore::PIL.Image.DecompressionBombWarning", "ignore:Reading `.npy`:UserWarning"
)

VALUES = [
    None, True, [], {}, "", "x", -1, 0, 1.5, float("nan"), float("inf"), 10**30, 10**400, "nan",
    "1e999", [1], [[1, 2]], [["a"]], {"a": 1}, [None], "a\0b", "../..", "\ud800", 2**63,
]  # fmt: skip
TEXTS = ["", "nan", "inf", "-1", "1e999", "x", "9" * 40, "\0", "é", "1,2", ";", '"', "<", "-"]


def _damaged(data: bytes, dice: random.Random, is_json: bool) -> bytes:
    """The content with one to three changes."""
    for _ in range(dice.randint(1, 3)):
        kind = dice.random()
        if is_json and kind < 0.7:
            try:
                data = json.dumps(_with_other_value(json.loads(data), dice)).encode()
                continue
            except ValueError:
                pass
        words = list(re.finditer(rb"[\w.+-]+", data))
        if words and kind < 0.6:
            word, text = dice.choice(words), dice.choice(TEXTS).encode()
            data = data[: word.start()] + text + data[word.end() :]
            continue
        start = dice.randrange(len(data) + 1)
        end = min(len(data), start + dice.choice((1, 3, 20)))
        middle = dice.choice((b"", data[start:end] * 2, dice.randbytes(end - start), b"\n"))
        data = data[:start] + middle + data[end:]
    return data


def _with_other_value(content, dice):
    """JSON in which one value, at any depth, is another or is gone."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    if isinstance(content, dict | list):
        walk(content)
    if not places:
        return dice.choice(VALUES)
    node, key = dice.choice(places)
    if dice.random() < 0.3:
        del node[key]
    else:
        node[key] = dice.choice(VALUES)
    return content


def _read(name: str) -> int:
    """How many images a string gives, as a training reads it."""
    loader = _SpecLoader(parse_spec(name))
    with collecting_faults() as faults:
        own = loader.source.classes()
        records = loader.source.load()
        loader.source.metadata()
        drop_invalid(records, faults)
    assert own is None or all(isinstance(label, str) for label in own)
    for record in records:
        assert isinstance(record["height"], int)
        for obj in record.get("annotations", ()):
            assert own is None or own[obj["category_id"]]
    return len(records)


def _damage_and_read(layout, folder: Path, seeds: range) -> None:
    name = layout(folder / "d")
    assert _read(name) == 1
    files = [p for p in sorted((folder / "d").rglob("*")) if p.suffix not in (".jpg",)]
    files = [(p, p.read_bytes()) for p in files if p.is_file()]
    for seed in seeds:
        dice = random.Random(f"{layout.__name__} {seed}")
        path, data = dice.choice(files)
        path.write_bytes(_damaged(data, dice, path.suffix == ".json"))
        for string in (name, f"auto:{folder / 'd'}"):
            try:
                with contextlib.suppress(UserError):
                    _read(string)
            except Exception as error:
                error.add_note(f"seed {seed}, {string}: {path.read_bytes()!r}")
                raise
        path.write_bytes(data)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_label_files_end_in_records_faults_or_a_message(layout, tmp_path):
    with bounded(seconds=120):
        _damage_and_read(layout, tmp_path, range(100))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_damaged_label_files(layout, tmp_path):
    _damage_and_read(layout, tmp_path, range(100, 4000))
