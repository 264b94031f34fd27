"""What a wheel carries, so that an installed d2lite works from any folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _configs(folder):
    return [path for path in folder.rglob("*") if path.suffix in (".yaml", ".py")]


@pytest.mark.slow
def test_wheel_carries_every_module_config_and_project(tmp_path):
    """Configs and projects lie outside of the package and are mapped into it by setup.py."""
    pytest.importorskip("setuptools")
    # Only what setup.py reads: a build in the checkout itself would leave its traces there.
    for name in ("d2lite", "configs", "projects"):
        for path in (ROOT / name).rglob("*"):
            if path.suffix in (".py", ".yaml", ".yml", ".typed"):
                target = tmp_path / "src" / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        (tmp_path / "src" / name).write_bytes((ROOT / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(tmp_path / "src")]
    subprocess.run(command, check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    carried = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "d2lite").rglob("*.py")}
    for path in _configs(ROOT / "configs"):
        expected.add(f"d2lite/configs/{path.relative_to(ROOT / 'configs').as_posix()}")
    for project in (ROOT / "projects").glob("*/"):
        inside = f"d2lite/projects/{project.name}"
        for path in (project / project.name).rglob("*.py"):
            expected.add(f"{inside}/{path.relative_to(project / project.name).as_posix()}")
        for path in _configs(project / "configs"):
            expected.add(f"{inside}/{path.relative_to(project).as_posix()}")
    assert expected - carried == set()
    assert not any(name.startswith("tests/") for name in carried)
