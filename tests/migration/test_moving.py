"""Code written for detectron2 moves over: run as it is, or renamed by one command.

`public_project/` is written as people write for detectron2: its own backbone, mapper, evaluators
and trainer. It is never edited for d2lite.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2lite import migrate

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Path(__file__).parent / "public_project"


def _python(*args: object, cwd: Path) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def _printed(folder: Path, script: str) -> str:
    """What a script prints that `d2lite run` runs."""
    (folder / "script.py").write_text(script)
    done = _python("-m", "d2lite.run", "script.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _train(start: list[object], project: Path, folder: Path, *options: object) -> list[dict]:
    """Train the project; return the lines of metrics.json without the times in them."""
    done = _python(
        *start, project / "train_net.py", "--config-file", project / "configs/tiny.yaml", *options,
        "OUTPUT_DIR", folder / "out", "TINYDET.DATA", folder / "dots", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    lines = (folder / "out/metrics.json").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    timed = ("time", "eta", "memory")
    kept = [{k: v for k, v in r.items() if not any(t in k for t in timed)} for r in records]
    # As text, where a score that does not exist equals itself.
    return json.loads(json.dumps(kept), parse_constant=str)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return _train(["-m", "d2lite.run"], PROJECT, folder), folder / "out"


def test_project_trains_and_is_evaluated_as_it_is(unbroken):
    records, out = unbroken
    assert records[-1]["iteration"] == 4
    assert any("seen" in record for record in records), "the project's own hook was not called"
    assert records[-1]["count/images"] == 6
    assert (out / "model_final.pth").is_file()
    assert (out / "inference/coco_instances_results.json").is_file()


def test_project_resumes_to_the_same_numbers_and_weights(unbroken, tmp_path):
    half = _train(["-m", "d2lite.run"], PROJECT, tmp_path, "SOLVER.MAX_ITER", 2)
    assert half[-1]["iteration"] == 2
    resumed = _train(["-m", "d2lite.run"], PROJECT, tmp_path, "--resume", "SOLVER.MAX_ITER", 4)
    assert resumed[-1] == unbroken[0][-1]
    weights = [
        torch.load(out / "model_final.pth", weights_only=True)["model"]
        for out in (tmp_path / "out", unbroken[1])
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_migrated_project_gives_the_same_numbers(unbroken, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project)
    done = _python("-m", "d2lite.migrate", project, "--write", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 places need your work" in done.stdout
    assert not [p for p in project.rglob("*.py") if "import detectron2" in p.read_text()]
    assert _train([], project, tmp_path) == unbroken[0]


def test_both_names_give_one_module_object_also_in_spawned_processes(tmp_path):
    (tmp_path / "script.py").write_text(
        "import multiprocessing, pickle\n"
        "import d2lite.structures.boxes as ours\n"
        "import detectron2.structures.boxes as theirs\n"
        "class Thing: pass\n"
        "def work(queue, thing):\n"
        "    from detectron2.structures import Boxes\n"
        "    queue.put(Boxes.__module__ + ' ' + type(thing).__name__)\n"
        "if __name__ == '__main__':\n"
        "    assert ours is theirs and ours.__spec__.name == 'd2lite.structures.boxes'\n"
        "    old = b'cdetectron2.structures.boxes\\nBoxes\\n.'\n"
        "    assert pickle.loads(old) is ours.Boxes\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    queue = context.Queue()\n"
        "    process = context.Process(target=work, args=(queue, Thing()))\n"
        "    process.start(); print(queue.get()); process.join()\n"
    )
    for command in (["script.py"], ["-m", "script"]):
        done = _python("-m", "d2lite.run", *command, cwd=tmp_path)
        assert done.stdout == "d2lite.structures.boxes Thing\n", done.stderr


def test_packages_find_detectron2_installed_in_its_last_release(tmp_path):
    script = (
        "from importlib import metadata, util\n"
        "assert util.find_spec('detectron2')\n"
        "print(metadata.version('detectron2'), metadata.metadata('detectron2')['Name'])\n"
        "names = [found.name for found in metadata.distributions()]\n"
        "print(names.count('detectron2'), metadata.files('detectron2'))\n"
    )
    assert _printed(tmp_path, script) == "0.6 detectron2\n1 None\n"


def test_level_and_handlers_of_the_logger_of_detectron2_count_for_d2lite(tmp_path):
    script = (
        "import logging, sys\n"
        "logger = logging.getLogger('detectron2')\n"
        "logger.addHandler(logging.StreamHandler(sys.stdout))\n"
        "logger.setLevel(logging.WARNING)\n"
        "logging.getLogger('d2lite.engine').info('silent')\n"
        "logging.getLogger('d2lite.engine').warning('heard')\n"
        "logging.getLogger('detectron2.mine').warning('mine')\n"
        "logging.getLogger('detectron2.data.common').setLevel(logging.ERROR)\n"
        "logging.getLogger('d2lite.data.common').warning('silent')\n"
        "logging.getLogger('detectron2_of_mine').error('silent')\n"
        "assert logging.getLogger().name == logging.getLogger('root').name == 'root'\n"
    )
    assert _printed(tmp_path, script) == "heard\nmine\n"


def test_name_given_to_the_logger_of_detectron2_is_printed(tmp_path):
    script = (
        "from detectron2.utils.logger import setup_logger\n"
        "setup_logger(name='detectron2', abbrev_name='d2').info('text')\n"
    )
    assert _printed(tmp_path, script).endswith("d2]: text\n")


@pytest.mark.slow
def test_names_are_found_also_in_modules_of_detectron2_that_merely_import_them(tmp_path):
    script = (
        "from detectron2.modeling.roi_heads.roi_heads import Matcher, configurable\n"
        "from detectron2.engine.defaults import comm, hooks, verify_results\n"
        "from detectron2.data.dataset_mapper import T, utils\n"
        "from detectron2.modeling.poolers import nonzero_tuple\n"
        "from detectron2.modeling.roi_heads.roi_heads import add_ground_truth_to_proposals\n"
        "from detectron2.modeling.meta_arch.rcnn import convert_image_to_rgb\n"
        "from detectron2.evaluation.coco_evaluation import convert_to_coco_json\n"
        "from detectron2.data.datasets.builtin import register_coco_instances\n"
        "from detectron2.utils.video_visualizer import ColorMode, random_color\n"
        "import detectron2.layers as L, detectron2.modeling.poolers as P\n"
        "assert nonzero_tuple is L.nonzero_tuple and utils.annotations_to_instances\n"
        "assert comm.__name__ == 'd2lite.utils.comm' and T.RandomFlip and hooks.EvalHook\n"
        "print(hasattr(P, 'nothing'), hasattr(P, '_Boxes'))\n"
    )
    assert _printed(tmp_path, script) == "False False\n"


@pytest.mark.slow
def test_module_of_detectron2_runs_by_its_name(tmp_path):
    """Reports of issues begin with the output of this one."""
    done = _python("-m", "d2lite.run", "-m", "detectron2.utils.collect_env", cwd=tmp_path)
    assert "torch" in done.stdout, done.stderr


def test_missing_module_of_detectron2_is_named_with_what_to_do(tmp_path):
    (tmp_path / "script.py").write_text("import detectron2.nothing")
    done = _python("-m", "d2lite.run", "script.py", cwd=tmp_path)
    assert "No module named 'detectron2.nothing': d2lite has no 'd2lite.nothing'" in done.stderr


@pytest.mark.parametrize("command", [["none.py"], ["-m", "no_such_module"], []])
def test_nothing_to_run_ends_with_the_usage_and_status_2(command, tmp_path):
    done = _python("-m", "d2lite.run", *command, cwd=tmp_path)
    assert done.returncode == 2
    assert "usage: d2lite run" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_installed_detectron2_is_mentioned_and_not_used(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "script.py").write_text("import detectron2; print(detectron2.__name__)")
    done = _python("-m", "d2lite.run", "script.py", cwd=tmp_path)
    assert done.stdout == "d2lite\n"
    assert "is not used in this run" in done.stderr


CASES = {
    "import detectron2.utils.comm as comm": "import d2lite.utils.comm as comm",
    "from detectron2 import model_zoo": "from d2lite import model_zoo",
    "import detectron2\nx = detectron2.layers": "import d2lite\nx = d2lite.layers",
    "log = getLogger('detectron2')": "log = getLogger('d2lite')",
    "x = 'detectron2.evaluation'": "x = 'd2lite.evaluation'",
    "x = 'detectron2://a/b.pkl'": "x = 'detectron2://a/b.pkl'",
    "x = 'https://host/detectron2/blob'": "x = 'https://host/detectron2/blob'",
    "# detectron2.layers\n": "# detectron2.layers\n",
    "class A:\n    detectron2 = 1\nA.detectron2": "class A:\n    detectron2 = 1\nA.detectron2",
    "my_detectron2 = 1": "my_detectron2 = 1",
}


@pytest.mark.parametrize("old", CASES)
def test_code_and_dotted_names_change_and_addresses_stay(old):
    assert migrate.migrate_source(old) == CASES[old]


@given(st.lists(st.sampled_from([*CASES, "\n", "# comment é"]), max_size=8))
def test_migrating_twice_changes_nothing_more(pieces):
    once = migrate.migrate_source("\n".join(pieces))
    assert migrate.migrate_source(once) == once


def test_names_without_counterpart_are_listed_with_what_to_do():
    source = (
        "from detectron2 import _C\n"
        "from detectron2.data import DatasetCatalog, no_such_name\n"
        "import detectron2.layers as L\n"
        "L.Conv2d\n"
        "L.other\n"
        "DatasetCatalog.get('x')\n"
        "from detectron2.modeling.poolers import nonzero_tuple\n"
    )
    found = {missing.name: missing for missing in migrate.find_missing(source)}
    assert list(found) == [
        "_C", "data.no_such_name", "layers.other", "modeling.poolers.nonzero_tuple",
    ]  # fmt: skip
    assert "write it in your project" in found["layers.other"].advice
    advice = found["modeling.poolers.nonzero_tuple"].advice
    assert advice == "it is d2lite.layers.nonzero_tuple"
    assert "pure torch" in found["_C"].advice
    assert found["layers.other"].line == 5


def test_diff_is_shown_and_nothing_is_written_without_the_flag(tmp_path, capsys):
    script = tmp_path / "a.py"
    script.write_bytes(b"import detectron2\r\n")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("torch\ndetectron2 @ git+https://host/x/detectron2.git@v0.6\n")
    assert migrate.main([str(tmp_path)]) == 0
    assert "+import d2lite" in capsys.readouterr().out
    assert script.read_bytes() == b"import detectron2\r\n"
    script.chmod(0o755)
    migrate.main([str(tmp_path), "--write"])
    assert script.read_bytes() == b"import d2lite\r\n"
    assert script.stat().st_mode & 0o777 == 0o755
    assert requirements.read_text() == "torch\nd2lite\n"


def test_notebook_cells_change_and_shell_lines_with_them(tmp_path):
    cell = {"cell_type": "code", "source": ["!pip install detectron2\n", "import detectron2\n"]}
    text = {"cell_type": "markdown", "source": ["detectron2 is"]}
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": [cell, text]}))
    migrate.main([str(path), "--write"])
    cells = json.loads(path.read_text())["cells"]
    assert cells[0]["source"] == ["!pip install d2lite\n", "import d2lite\n"]
    assert cells[1] == text


def test_file_that_is_not_python_is_left_and_named(tmp_path, capsys):
    path = tmp_path / "old.py"
    path.write_text("print 'detectron2'\n")
    assert migrate.main([str(tmp_path), "--write"]) == 0
    assert path.read_text() == "print 'detectron2'\n"
    assert f"{path}: left as it is" in capsys.readouterr().out


def test_path_that_does_not_exist_is_a_mistake_of_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        migrate.main([str(tmp_path / "none")])
    assert stopped.value.code == 2
    assert "there is no such file or folder" in capsys.readouterr().err
