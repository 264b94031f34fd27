"""The published configurations of the projects: found by name, true to the recorded values."""

import gzip
import itertools
import json

import pytest
import torch

from d2lite.config import find_config_file, get_cfg
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model
from d2lite.projects import (
    add_project_configs,
    deeplab,
    mask2former,
    panoptic_deeplab,
    point_rend,
    project_names,
    without_unused_project_keys,
)

from ..shared_data import shared_folder


def _recorded() -> dict:
    path = shared_folder() / "reference" / "zoo_projects.json.gz"
    return json.loads(gzip.decompress(path.read_bytes())) if path.is_file() else {}


RECORDED = _recorded()
NAMES = [
    name for name, row in RECORDED.get("configs", {}).items() if row["project"] in project_names()
]
ADD = {
    "deeplab": deeplab.add_deeplab_config,
    "mask2former": mask2former.add_maskformer2_config,
    "panoptic_deeplab": panoptic_deeplab.add_panoptic_deeplab_config,
    "point_rend": point_rend.add_pointrend_config,
}
needs_records = pytest.mark.skipif(not RECORDED, reason="the recorded values are not here")


def _plain(value):
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _flat(cfg) -> dict:
    return {key: _plain(value) for key, value in cfg.keys_and_values()}


@needs_records
@pytest.mark.parametrize("name", NAMES)
def test_our_file_has_the_recorded_values(name):
    """The same keys differ from the defaults, by the same values."""
    row = RECORDED["configs"][name]
    cfg = get_cfg()
    ADD[row["project"]](cfg)
    ours = cfg.clone()
    ours.merge_from_file(find_config_file(name))
    cfg.merge_from_list([word for item in row["values"].items() for word in item])
    assert _flat(ours) == _flat(cfg)


@needs_records
@pytest.mark.parametrize("name", [n for n in NAMES if "architecture" in RECORDED["configs"][n]])
def test_every_tool_finds_it_and_its_parameters_have_the_recorded_names(name):
    row = RECORDED["configs"][name]
    cfg = setup_cfg(name, ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        model = build_model(cfg)
    expected = RECORDED["architectures"][row["architecture"]]["state_dict"]
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert found == {key: shape for key, shape, _ in expected}


@needs_records
@pytest.mark.parametrize("project", ADD)
def test_each_project_adds_the_recorded_keys(project):
    cfg = get_cfg()
    ADD[project](cfg)
    flat = _flat(cfg)
    added = RECORDED["projects"][project]["added_keys"]
    assert {key: flat.get(key) for key in added} == added


def test_projects_add_their_keys_in_any_order_and_twice():
    """Each has an optimizer of its own, though: that of the first one is kept."""
    results = []
    for order in itertools.permutations(ADD.values()):
        cfg = get_cfg()
        for add in (*order, *order):
            add(cfg)
        results.append(_flat(cfg))
        results[-1].pop("SOLVER.OPTIMIZER")
    assert all(result == results[0] for result in results)


def test_all_projects_together_leave_the_cores_values_alone():
    """Panoptic-DeepLab's optimizer must not become that of Faster R-CNN."""
    cfg, together = get_cfg(), get_cfg()
    add_project_configs(together)
    flat = _flat(together)
    assert {key: flat[key] for key, _ in cfg.keys_and_values()} == _flat(cfg)
    # The tests set one key for all of them; see conftest.
    changed = {key for key, _ in cfg.keys_and_values() if not cfg.is_default(key)}
    assert changed == {key for key, _ in together.keys_and_values() if not together.is_default(key)}


@pytest.mark.parametrize(
    "name",
    [
        "pointrend_rcnn_R_50_FPN_1x_coco",
        "InstanceSegmentation/pointrend_rcnn_R_50_FPN_1x_coco.yaml",
        "point_rend/InstanceSegmentation/pointrend_rcnn_R_50_FPN_1x_coco.yaml",
        "PointRend/InstanceSegmentation/pointrend_rcnn_R_50_FPN_1x_coco.yaml",
        "projects/PointRend/configs/InstanceSegmentation/pointrend_rcnn_R_50_FPN_1x_coco.yaml",
    ],
)
def test_published_addresses_find_our_file(name):
    assert find_config_file(name).parts[-4:-1] == ("point_rend", "configs", "InstanceSegmentation")


def test_a_saved_config_has_the_keys_of_a_project_for_its_models_alone(tmp_path):
    cfg = get_cfg()
    add_project_configs(cfg)
    cfg.MY_OWN_KEY = 3
    plain = without_unused_project_keys(cfg, get_cfg())
    assert dict(plain.keys_and_values()) == {
        **dict(get_cfg().keys_and_values()),
        "MY_OWN_KEY": 3,
    }
    assert cfg.has_key("MODEL.SOLOV2.NUM_CLASSES")  # itself it is not changed

    cfg.MODEL.META_ARCHITECTURE = "SOLOv2"
    named = without_unused_project_keys(cfg, get_cfg())
    assert named.MODEL.SOLOV2 == cfg.MODEL.SOLOV2
    assert not named.has_key("MODEL.POINT_HEAD")

    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = 7
    set_by_hand = without_unused_project_keys(cfg, get_cfg())
    assert set_by_hand.MODEL.POINT_HEAD == cfg.MODEL.POINT_HEAD
    assert not set_by_hand.has_key("MODEL.SOLOV2")
