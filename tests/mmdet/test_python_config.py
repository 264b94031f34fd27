"""Configs of MMDetection are read as its own reader reads them, without being executed."""

import pytest

from d2lite.mmdet import parse_mmdet_config, read_mmdet_config
from d2lite.utils.errors import ConfigError, MissingFileError


def write(folder, **files):
    """Files by name, without .py."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_dicts_of_a_file_join_those_of_its_base(tmp_path):
    write(
        tmp_path,
        base="model = dict(type='A', head=dict(width=3, depth=2), steps=[1, 2])\nleft = 1\n",
        own="_base_ = './base.py'\nmodel = dict(head=dict(depth=5), steps=[3])\n",
    )
    assert read_mmdet_config(tmp_path / "own.py") == {
        "model": {"type": "A", "head": {"width": 3, "depth": 5}, "steps": [3]},
        "left": 1,
    }


def test_a_marked_dict_takes_the_place_of_the_one_of_the_base(tmp_path):
    write(
        tmp_path,
        base="norm = dict(type='BN', eps=1)\n",
        own="_base_ = ['base.py']\nnorm = dict(_delete_=True, type='GN')\n",
    )
    assert read_mmdet_config(tmp_path / "own.py") == {"norm": {"type": "GN"}}


def test_values_of_the_base_are_used_in_every_way_to_write_them(tmp_path):
    write(
        tmp_path,
        base="size = (640, 480)\nroot = 'data/'\n",
        own="_base_ = ['base.py']\n"
        "a = _base_.size\nb = '{{_base_.root}}'\nc = {{_base_.size}}\nd = f'{_base_.root}x.json'\n",
    )
    found = read_mmdet_config(tmp_path / "own.py")
    assert [found[name] for name in "abcd"] == [(640, 480), "data/", (640, 480), "data/x.json"]


def test_sums_lists_and_changes_are_read(tmp_path):
    text = """
'A comment.'
num_gpus = 8
rate = 0.02 / 16 * num_gpus
steps = [dict(type='A')] + [dict(type='B')] * 2
sizes = [(s, s) for s in (32, 64)]
model = dict(type='M', head=dict(classes=len(('a', 'b'))), **dict(extra=1))
model.update(dict(head=dict(width=-1)))
model['neck'] = None
model.pop('extra')
half = 2 ** -1
"""
    assert parse_mmdet_config(text) == {
        "num_gpus": 8,
        "rate": 0.01,
        "steps": [{"type": "A"}, {"type": "B"}, {"type": "B"}],
        "sizes": [(32, 32), (64, 64)],
        "model": {"type": "M", "head": {"classes": 2, "width": -1}, "neck": None},
        "half": 0.5,
    }


def test_files_that_import_their_bases_are_read(tmp_path):
    """The newer way: classes are imported and stand for their names."""
    write(tmp_path, base="from x.models import RTMDet\nmodel = dict(type=RTMDet, depth=1)\n")
    write(
        tmp_path / "sub",
        own="from mmengine.config import read_base\n"
        "with read_base():\n    from ..base import *\n"
        "model.update(dict(depth=2))\n",
    )
    found = read_mmdet_config(tmp_path / "sub/own.py")
    assert found["model"] == {"type": "RTMDet", "depth": 2}


def test_a_statement_that_would_have_to_be_executed_is_left_out_and_logged(tmp_path, caplog):
    marker = tmp_path / "made"
    write(tmp_path, own=f"a = 1\nb = open({str(marker)!r}, 'w')\nc = a.__class__\nd = 2\n")
    assert read_mmdet_config(tmp_path / "own.py") == {"a": 1, "d": 2}
    assert not marker.exists()
    assert "own.py, line 2" in caplog.text
    assert "left out" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["a = [0] * 10 ** 9", "a = 9 ** 9 ** 9 ** 9", "a = 'x' * 99999999", "a = list(range(10 ** 9))"],
)
def test_values_that_would_fill_the_memory_are_left_out(text):
    assert "a" not in parse_mmdet_config(text)


def test_a_file_that_is_based_on_itself_is_refused(tmp_path):
    write(tmp_path, one="_base_ = 'two.py'\n", two="_base_ = 'one.py'\n")
    with pytest.raises(ConfigError, match="based on itself"):
        read_mmdet_config(tmp_path / "one.py")


def test_a_missing_base_is_named_with_the_file_that_wants_it(tmp_path):
    write(tmp_path, one="_base_ = 'none.py'\n")
    with pytest.raises(MissingFileError, match=r"none\.py, which .*one\.py is based on"):
        read_mmdet_config(tmp_path / "one.py")


@pytest.mark.parametrize("text", ["model = dict(", "\0", "(" * 5000])
def test_what_is_not_python_is_refused(text):
    with pytest.raises(ConfigError, match="not Python"):
        parse_mmdet_config(text)


def test_dicts_in_other_dicts_are_read():
    text = "common = dict(a=1, b=2)\nmodel = {**common, 'b': 3}\n"
    assert parse_mmdet_config(text)["model"] == {"a": 1, "b": 3}


def test_a_name_that_no_base_has_is_refused():
    with pytest.raises(ConfigError, match=r"the base files have no root\.images"):
        parse_mmdet_config("a = '{{_base_.root.images}}'")
