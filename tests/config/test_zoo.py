"""Every published YAML: found under its name, and a user's own copy of it loads the same."""

import json

import pytest
import yaml

from d2lite.config import find_config_file, get_cfg
from d2lite.projects import add_project_configs

from ..shared_data import shared_folder


def _zoo():
    path = shared_folder() / "reference" / "zoo.json"
    return json.loads(path.read_text()) if path.is_file() else {}


ZOO = _zoo()
needs_zoo = pytest.mark.skipif(not ZOO, reason="the facts about the published configs are not here")


def _new_cfg():
    cfg = get_cfg()
    add_project_configs(cfg)
    return cfg


def test_a_copy_as_people_have_it_loads(tmp_path):
    """Version stamp, bases beside it, tuples as texts: the forms of the published files."""
    (tmp_path / "Base.yaml").write_text(
        'MODEL:\n  WEIGHTS: "detectron2://ImageNetPretrained/MSRA/R-50.pkl"\n'
        "SOLVER:\n  STEPS: (60000, 80000)\nVERSION: 2\n"
    )
    mine = tmp_path / "mine.yaml"
    mine.write_text('_BASE_: "Base.yaml"\nMODEL:\n  MASK_ON: True\nVERSION: 2\n')
    cfg = _new_cfg()
    cfg.merge_from_file(str(mine))
    assert cfg.MODEL.MASK_ON
    assert cfg.SOLVER.STEPS == (60000, 80000)
    assert cfg.VERSION == 2


@needs_zoo
@pytest.mark.parametrize("name", sorted(ZOO))
def test_published_name_is_found_and_its_values_load(name, tmp_path):
    carried = _new_cfg()
    carried.merge_from_file(str(find_config_file(name)))
    if name.startswith("SOLOv2/"):
        # Ours clip gradients, which the published ones do not: see docs/from_detectron2.md.
        assert carried.MODEL.META_ARCHITECTURE == "SOLOv2"
        return
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump({**_values(ZOO[name]), "VERSION": 2}))
    own = _new_cfg()
    own.merge_from_file(str(copy))
    assert own == carried


def _values(entry):
    """The entry as nested YAML: keys with dots become nodes."""
    nested = {}
    for key, value in entry.items():
        *path, leaf = key.split(".")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return nested
