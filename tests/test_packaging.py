"""What a wheel carries, so that an installed d2lite works from any folder, without the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.tools.conftest import TINY

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def _configs(folder):
    return [path for path in folder.rglob("*") if path.suffix in (".yaml", ".py")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel that is built from an sdist, as an index gives it to people."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    # Only what setup.py reads: a build in the checkout itself would leave its traces there.
    for name in ("d2lite", "configs", "projects"):
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                target = folder / "src" / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        (folder / "src" / name).write_bytes((ROOT / name).read_bytes())
    make = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    built = subprocess.run(
        [sys.executable, "-c", make], cwd=folder / "src", check=True, capture_output=True, text=True
    )
    sdist = folder / "src" / "dist" / built.stdout.split()[-1]
    options = ["--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(sdist)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_carries_every_module_template_config_and_project(wheel):
    """Configs and projects are outside of the package and are mapped into it by setup.py."""
    carried = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "d2lite").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
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


def test_an_editable_installation_is_found_from_the_folder_that_the_checkout_is_in(wheel, tmp_path):
    """That folder has a folder d2lite, too, which has no __init__.py."""
    checkout = tmp_path / "d2lite"
    (wheel.parent / "src").rename(checkout)
    make = "from setuptools import build_meta; print(build_meta.build_editable('..'))"
    command = [sys.executable, "-c", make]
    built = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    with zipfile.ZipFile(tmp_path / built.stdout.split()[-1]) as archive:
        archive.extractall(tmp_path / "packages")
    (found,) = (tmp_path / "packages").glob("*.pth")
    ask = "import d2lite; print(d2lite.__file__)"
    answer = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": found.read_text().strip()},
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(answer.stdout.strip()) == checkout / "d2lite" / "__init__.py"


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The program `d2lite` of a fresh environment, which has the wheel and nothing of ours else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    if not python.exists():
        python = scripts / "python"
    place = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    options = ["--no-deps", "--no-index", "-q", str(wheel)]
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", *options], check=True, capture_output=True)
    # The dependencies are those of this environment, since to fetch torch again takes minutes. Only
    # now: pip would find the d2lite that is installed there, and uninstall it to make room.
    Path(place, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return scripts / "d2lite"


def test_an_installed_wheel_does_what_the_readme_shows(installed, tmp_path):
    """From an empty folder, with nothing of the checkout on the search path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    folder = str(installed.parents[1])

    def run(*words):
        ended = subprocess.run(
            [str(installed), *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    assert "usage: d2lite" in run("--help")
    assert folder in run("check"), "d2lite comes from the wheel"
    run("train", "--config-file", "quick_start.yaml", *TINY)
    run(
        "train",
        "--config-file",
        "output/quick_start/config.yaml",
        "--resume",
        "SOLVER.MAX_ITER",
        "4",
    )
    assert "copypaste" in run("eval", "output/quick_start")
    run("predict", "output/quick_start", "shapes://val/3", "shapes://val/7", "--output", "found/")
    assert len(list((tmp_path / "found").iterdir())) == 2
    assert (tmp_path / "output/quick_start/report.html").is_file()
    run("data", "check", "shapes_val")
    run("data", "convert", "shapes_val", "--to", "coco", "--output", "photos")
    assert "image size: " in run("config", "photos/")
    assert "NUM_CLASSES" in run("config", "--config-file", "mask_rcnn_R_50_FPN_3x.yaml")
    run("config", "--config-file", "R50_3x.yaml", "--diff")
    (tmp_path / "theirs.py").write_text(
        "import detectron2.config as c\nprint(c.get_cfg.__module__)\n"
    )
    assert "d2lite" in run("run", "theirs.py")
    assert "files would change" in run("migrate", "theirs.py")
