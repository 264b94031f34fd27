"""get_cfg, the global config, and the project's own config files."""

import importlib
import subprocess
import sys

import pytest

from d2lite.config import find_config_file, get_cfg, global_cfg, set_global_cfg
from d2lite.config.locate import carried_configs
from d2lite.projects import add_project_configs, project_names


def test_every_call_gives_a_fresh_unfrozen_config():
    first = get_cfg()
    first.SEED = 3
    first.MODEL.FPN.IN_FEATURES.append("res2")
    assert get_cfg().SEED == -1
    assert get_cfg().MODEL.FPN.IN_FEATURES == []


def test_global_config_shows_the_keys_of_the_one_that_was_set():
    cfg = get_cfg()
    cfg.GLOBAL.HACK = 2.5
    set_global_cfg(cfg)
    assert global_cfg.GLOBAL.HACK == 2.5
    cfg.freeze()
    set_global_cfg(cfg)
    assert global_cfg.GLOBAL.HACK == 2.5


@pytest.mark.parametrize("address", sorted(carried_configs()))
def test_every_carried_config_loads_and_is_found_by_its_address(address):
    cfg = get_cfg()
    add_project_configs(cfg)
    found = find_config_file(address)
    assert found.resolve() == carried_configs()[address].resolve()
    defaults = cfg.clone()
    cfg.merge_from_file(found)
    assert cfg != defaults


def test_keys_of_all_projects_can_be_added_at_once():
    together = get_cfg()
    core = {key for key, _ in together.keys_and_values()}
    add_project_configs(together)
    for name in project_names():
        project = importlib.import_module(f"d2lite.projects.{name}")
        (function,) = [n for n in project.__all__ if n.startswith("add_") and n.endswith("_config")]
        alone = get_cfg()
        getattr(project, function)(alone)
        added = {key for key, _ in alone.keys_and_values()} - core
        assert added
        assert added <= {key for key, _ in together.keys_and_values()}


@pytest.mark.parametrize("module", ["d2lite", "d2lite.config", "d2lite.projects"])
def test_import_is_silent_with_warnings_as_errors(module):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {module}"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("module", ["torch", "fvcore.nn", "cv2", "matplotlib"])
def test_import_of_the_config_does_not_load(module):
    """Printing a config or completing a command line must not wait for torch."""
    code = f"import sys, d2lite.config; assert {module!r} not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
