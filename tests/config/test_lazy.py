"""Loading Python configs: what a file gives, and how files import each other."""

import subprocess
import sys
from pathlib import Path

import pytest

from d2lite.config import LazyConfig, instantiate
from d2lite.utils.errors import ConfigError, MissingFileError, UnknownNameError

BASE = """
from torch import nn
from d2lite.config import LazyCall as L

name = "base"
numbers = [1, 2]
options = dict(rate=0.1, inner=dict(depth=2))
model = L(nn.Linear)(in_features=2, out_features=3)
_private = dict(a=1)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "base.py").write_text(BASE)
    return tmp_path


def write(folder: Path, text: str, name: str = "top.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_gives_its_public_dicts_and_calls(folder):
    cfg = LazyConfig.load(str(folder / "common" / "base.py"))
    assert set(cfg) == {"options", "model"}
    assert cfg.options.inner.depth == 2


def test_keys_choose_names_of_any_type(folder):
    path = str(folder / "common" / "base.py")
    assert LazyConfig.load(path, "name") == "base"
    name, options = LazyConfig.load(path, ("name", "options"))
    assert (name, options.rate) == ("base", 0.1)


def test_an_unknown_key_is_refused_with_the_names_that_exist(folder):
    with pytest.raises(UnknownNameError, match=r"has no optimizer; it has .*model"):
        LazyConfig.load(str(folder / "common" / "base.py"), "optimizer")


def test_imported_dicts_have_attributes_and_can_be_changed(folder):
    path = write(folder, "from .common.base import model, options\noptions.inner.depth = 5\n")
    assert LazyConfig.load(path).options.inner.depth == 5


def test_each_import_reads_the_file_again(folder):
    """A change that one file makes to an imported value must not reach another file."""
    write(folder, "from .common.base import options\noptions.rate = 7\n", "a.py")
    path = write(
        folder, "from .a import options as changed\nfrom .common.base import options as fresh\n"
    )
    cfg = LazyConfig.load(path)
    assert (cfg.changed.rate, cfg.fresh.rate) == (7, 0.1)


def test_parents_and_star_imports_work(folder):
    (folder / "deep").mkdir()
    path = write(folder / "deep", "from ..common.base import *\nmodel.bias = False\n")
    assert instantiate(LazyConfig.load(path).model).bias is None


def test_an_import_inside_a_function_is_relative_to_its_file(folder):
    text = (
        "def late():\n    from .common.base import name\n    return name\n\n"
        "found = {'name': late()}\n"
    )
    assert LazyConfig.load(write(folder, text)).found.name == "base"


def test_ordinary_imports_are_left_alone(folder):
    import builtins

    before = builtins.__import__
    write(folder, "import os.path\nfrom math import pi\nvalues = dict(pi=pi)\n")
    LazyConfig.load(str(folder / "top.py"))
    assert builtins.__import__ is before


def test_load_rel_starts_from_the_file_of_the_caller(folder):
    text = (
        "from d2lite.config import LazyConfig\n"
        "options = LazyConfig.load_rel('common/base.py', 'options')\n"
    )
    assert LazyConfig.load(write(folder, text)).options.rate == 0.1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("from . import common", "relative import of .* name a config file"),
        ("from .common import base", "relative import of .*common.py is a folder"),
        ("from .absent import x", "relative import of .*absent.py is not there"),
        ("from .common.base import absent", "cannot import name 'absent'"),
    ],
)
def test_an_import_that_does_not_fit_is_an_import_error(folder, line, message):
    with pytest.raises(ImportError, match=message):
        LazyConfig.load(write(folder, line))


def test_files_that_import_each_other_are_refused_with_the_circle(folder):
    write(folder, "from .b import x\n", "a.py")
    write(folder, "from .a import y\n", "b.py")
    with pytest.raises(ImportError, match=r"a\.py -> b\.py -> a\.py"):
        LazyConfig.load(str(folder / "a.py"))


def test_a_file_of_another_kind_is_refused(folder):
    with pytest.raises(ConfigError, match=r"\.py, \.yaml or \.yml"):
        LazyConfig.load(write(folder, "", "notes.txt"))
    with pytest.raises(MissingFileError, match="no config file"):
        LazyConfig.load(str(folder / "absent.py"))


def test_a_mistake_in_python_names_the_file(folder):
    with pytest.raises(SyntaxError) as caught:
        LazyConfig.load(write(folder, "a = (\n"))
    assert caught.value.filename == str(folder / "top.py")


def test_without_omegaconf_the_rest_works_and_a_message_says_what_to_install():
    code = (
        "import sys; sys.modules['omegaconf'] = None\n"
        "from d2lite.config import LazyCall, get_cfg, instantiate\n"
        "get_cfg(); assert instantiate(3) == 3 and instantiate({'a': 1}) == {'a': 1}\n"
        "try: LazyCall(dict)(a=1)\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'd2lite[lazy]'" in done.stdout, done.stderr
