"""What print_config shows: differences and origins; it loads back."""

import pytest
import yaml

from d2lite.config import CfgNode, annotated_yaml, config_diff, get_cfg


@pytest.fixture
def changed(tmp_path) -> CfgNode:
    path = tmp_path / "mine.yaml"
    path.write_text("SOLVER: {STEPS: [1, 2], MAX_ITER: 40000}\nMODEL: {WEIGHTS: 'a: # b'}\n")
    cfg = get_cfg()
    cfg.merge_from_file(path)
    cfg.merge_from_list(["SOLVER.WEIGHT_DECAY_BIAS", "0.5"])
    cfg.derive("MODEL.ROI_HEADS.NUM_CLASSES", 3, "classes of\nfruit")
    return cfg


def test_diff_holds_exactly_the_keys_that_differ(changed):
    assert config_diff(get_cfg()) == {}
    assert config_diff(changed) == {
        "MODEL": {"ROI_HEADS": {"NUM_CLASSES": 3}, "WEIGHTS": "a: # b"},
        "SOLVER": {"STEPS": (1, 2), "WEIGHT_DECAY_BIAS": 0.5},
    }


def test_diff_against_another_base(changed):
    base = changed.clone()
    base.SEED = 3
    assert config_diff(changed, base) == {"SEED": -1}


def test_diff_merged_into_the_defaults_gives_an_equal_config(changed):
    again = get_cfg()
    again.merge_from_other_cfg(CfgNode(config_diff(changed)))
    assert again == changed


@pytest.mark.parametrize("only_diff", [True, False])
def test_annotated_text_loads_back_to_an_equal_config(changed, only_diff, tmp_path):
    path = tmp_path / "printed.yaml"
    path.write_text(annotated_yaml(changed, only_diff))
    again = get_cfg()
    again.merge_from_file(path)
    assert again == changed


def test_full_text_is_the_dump_with_comments(changed):
    assert yaml.safe_load(annotated_yaml(changed)) == yaml.safe_load(changed.dump())


def test_each_value_shows_its_origin(changed):
    lines = {line.split(":")[0].strip(): line for line in annotated_yaml(changed).splitlines()}
    assert lines["STEPS"].endswith("mine.yaml")
    assert lines["WEIGHT_DECAY_BIAS"].endswith("# command line")
    assert lines["VIS_PERIOD"].endswith("# default")
    assert "# derived: classes of fruit" in annotated_yaml(changed)


def test_project_keys_count_as_differences_only_against_a_base_without_them():
    cfg = get_cfg()
    cfg.MODEL.MINE = CfgNode({"WIDTH": 3})
    assert config_diff(cfg) == {"MODEL": {"MINE": {"WIDTH": 3}}}
    assert config_diff(cfg, cfg.clone()) == {}


def test_no_difference_is_an_empty_yaml_mapping():
    assert yaml.safe_load(annotated_yaml(get_cfg(), only_diff=True)) == {}
