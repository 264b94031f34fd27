"""docs/tour.md leads through the code: each of its stops has to exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/tour.md").read_text(encoding="utf-8")
STOPS = sorted(set(re.findall(r"`((?:d2lite|tools|projects|tests)/[\w/.-]+(?::[\w.]+)?)`", TEXT)))
FOLDERS = sorted(set(re.findall(r"`((?:data|engine)/[\w/]+/)`", TEXT)))


def _names(path: Path) -> set[str]:
    """Names that a file defines, with the members of its classes as Class.member."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            names |= {f"{node.name}.{n.name}" for n in inner if isinstance(n, ast.FunctionDef)}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("stop", STOPS)
def test_each_stop_of_the_tour_exists(stop):
    file, _, name = stop.partition(":")
    path = ROOT / file
    assert path.exists(), f"docs/tour.md names {file}, which is not there"
    if name:
        assert name in _names(path), f"docs/tour.md names {stop}; {file} has no {name}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_sub_package_of_the_tour_exists(folder):
    assert (ROOT / "d2lite" / folder / "__init__.py").is_file()


@pytest.mark.parametrize("package", ["data", "engine"])
def test_tour_names_every_sub_package(package):
    """A new sub-package belongs on the map."""
    found = {p.parent.name for p in (ROOT / "d2lite" / package).glob("*/__init__.py")}
    named = {folder.split("/")[1] for folder in FOLDERS if folder.startswith(f"{package}/")}
    assert found == named


def test_the_table_of_levels_names_every_package():
    table = re.search(r"\| level .*?\n\n", TEXT, re.DOTALL)[0]
    packages = [path.parent.name for path in (ROOT / "d2lite").glob("*/__init__.py")]
    assert [name for name in packages if not re.search(rf"`(d2lite/)?{name}`", table)] == []


def test_the_tour_has_stops():
    assert len(STOPS) > 30
