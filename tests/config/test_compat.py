"""Configs under the key names of earlier versions."""

import pytest

from d2lite.config import CfgNode, downgrade_config, get_cfg, upgrade_config
from d2lite.config.compat import ConverterV1, ConverterV2, guess_version
from d2lite.utils.errors import ConfigError


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_config_that_goes_back_and_forth_is_the_same(version):
    cfg = get_cfg()
    cfg.USER_CUSTOM = 1
    old = downgrade_config(cfg, to_version=version)
    assert version == old.VERSION
    assert old.has_key("MODEL.WEIGHT") == (version < 2)
    assert old.has_key("MODEL.RPN_HEAD.NAME") == (version < 1)
    assert upgrade_config(old) == cfg
    assert cfg == {**get_cfg(), "USER_CUSTOM": 1}


def test_values_travel_to_their_new_names():
    old = CfgNode({"MODEL": {"WEIGHT": "a.pkl", "RPN": {"ANCHOR_SIZES": [[32]]}}})
    new = upgrade_config(old)
    assert new == {
        "MODEL": {"WEIGHTS": "a.pkl", "ANCHOR_GENERATOR": {"SIZES": [[32]]}},
        "VERSION": 2,
    }
    assert upgrade_config(old, 1) == {**old, "VERSION": 1}


def test_the_version_is_guessed_from_the_keys():
    assert guess_version(get_cfg(), "x.yaml") == 2
    assert guess_version(CfgNode({"TEST": {"AUG_ON": True}}), "x.yaml") == 1
    assert guess_version(CfgNode({"MODEL": {"RPN_HEAD": {"NAME": "x"}}}), "x.yaml") == 0


def test_a_version_of_the_future_is_refused():
    with pytest.raises(ConfigError, match="no version 3"):
        upgrade_config(get_cfg(), 3)


@pytest.mark.parametrize(
    ("architecture", "sizes"), [("RetinaNet", [[64]]), ("GeneralizedRCNN", [[8]])]
)
def test_anchors_of_version_1_are_those_of_the_chosen_architecture(tmp_path, architecture, sizes):
    (tmp_path / "old.yaml").write_text(
        f"MODEL:\n  META_ARCHITECTURE: {architecture}\n  RPN:\n    ANCHOR_SIZES: [[8]]\n"
        "  RETINANET:\n    ANCHOR_SIZES: [[64]]\n"
    )
    cfg = get_cfg()
    cfg.merge_from_file(tmp_path / "old.yaml")
    assert sizes == cfg.MODEL.ANCHOR_GENERATOR.SIZES


def test_one_version_is_one_step_in_place():
    cfg = CfgNode({"MODEL": {"RPN_HEAD": {"NAME": "x"}, "WEIGHT": "a.pkl"}})
    ConverterV1.upgrade(cfg)
    assert cfg == {"MODEL": {"RPN": {"HEAD_NAME": "x"}, "WEIGHT": "a.pkl"}}
    ConverterV2.upgrade(cfg)
    assert cfg == {"MODEL": {"RPN": {"HEAD_NAME": "x"}, "WEIGHTS": "a.pkl"}}
    ConverterV2.downgrade(cfg)
    ConverterV1.downgrade(cfg)
    assert cfg == {"MODEL": {"RPN_HEAD": {"NAME": "x"}, "WEIGHT": "a.pkl"}}
