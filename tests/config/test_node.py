"""CfgNode: merging, checking, origins, copies."""

import copy
import pickle

import pytest
import yacs.config
import yaml
from hypothesis import given
from hypothesis import strategies as st

from d2lite.config import CfgNode, get_cfg
from d2lite.utils.errors import ConfigError, UnknownKeyError

# ---------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("key", "given_value", "stored"),
    [
        ("SOLVER.BASE_LR", "1", 1.0),
        ("SOLVER.BASE_LR", "1e-3", 0.001),
        ("SOLVER.MAX_ITER", "9e4", 90000),
        ("SOLVER.NESTEROV", "true", True),
        ("SOLVER.NESTEROV", "False", False),
        ("SOLVER.WEIGHT_DECAY_BIAS", "0", 0),
        ("SOLVER.STEPS", "[3, 4]", (3, 4)),
        ("SOLVER.STEPS", "(5,)", (5,)),
        # The bytes of a file name that is not UTF-8, as Python shows them.
        ("DATASETS.TRAIN", "('coco:/a\udcff.json',)", ("coco:/a\udcff.json",)),
        ("MODEL.FPN.IN_FEATURES", "('res2', 'res3')", ["res2", "res3"]),
        ("OUTPUT_DIR", "2024", "2024"),
        ("OUTPUT_DIR", "a/b c", "a/b c"),
        ("MODEL.WEIGHTS", "''", ""),
        ("MODEL.WEIGHTS", "", ""),
        # yacs lets a text become None: no weights, no norm, as in `WEIGHTS: null`.
        ("MODEL.WEIGHTS", None, ""),
        ("MODEL.FPN.NORM", "None", ""),
        ("SEED", 4, 4),
    ],
)
def test_option_is_read_into_the_type_of_its_key(key, given_value, stored):
    cfg = get_cfg()
    cfg.merge_from_list([key, given_value])
    value = dict(cfg.keys_and_values())[key]
    assert value == stored
    assert type(value) is type(stored)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SOLVER.BASE_LR", "fast", "a number"),
        ("SOLVER.MAX_ITER", "2.5", "an integer"),
        ("SOLVER.MAX_ITER", "True", "an integer"),
        ("SOLVER.NESTEROV", "1", "True or False"),
        ("DATASETS.TRAIN", "coco", r"a tuple, for instance \('coco',\)"),
        ("SOLVER.MAX_ITER", None, "an integer"),
        ("SOLVER.STEPS", "{1: 2}", "a tuple"),
    ],
)
def test_wrong_type_names_option_key_found_and_expected(key, value, expected):
    with pytest.raises(ConfigError, match=f"command line: {key} is .*expected {expected}"):
        get_cfg().merge_from_list([key, value])


def test_whole_float_of_a_division_becomes_an_integer_where_one_was():
    """A batch of 8.0 images would fail far from here."""
    node = CfgNode({"IMS_PER_BATCH": 16, "RATE": 0.5, "SHARE": 3})
    node.IMS_PER_BATCH, node.RATE, node.SHARE = 16 / 2, 1.0, 2.5
    assert [repr(node[key]) for key in ("IMS_PER_BATCH", "RATE", "SHARE")] == ["8", "1.0", "2.5"]
    # A weight of somebody's own that begins with 1.
    node.OWN_WEIGHT = 1
    node.OWN_WEIGHT = 1.0
    node.merge_from_list(["OWN_WEIGHT", "0.5"])
    assert node.OWN_WEIGHT == 0.5


def test_key_whose_default_is_none_goes_back_to_none():
    cfg = get_cfg()
    for value, stored in (("0.5", 0.5), ("None", None), ("1", 1)):
        cfg.merge_from_list(["SOLVER.WEIGHT_DECAY_BIAS", value])
        assert stored == cfg.SOLVER.WEIGHT_DECAY_BIAS


def test_nested_sequences_keep_the_kinds_of_the_default():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", "[[1., 2.], [3., 4.]]"])
    assert cfg.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS == ((1.0, 2.0), (3.0, 4.0))


# ---------------------------------------------------------------------------- wrong keys


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("SOLVER.BASE_LRR", "SOLVER.BASE_LR"),
        ("solver.max_iter", "SOLVER.MAX_ITER"),
        ("MODEL.NUM_CLASSES", "MODEL.ROI_HEADS.NUM_CLASSES"),
        ("MODEL.ROI_HEAD.NUM_CLASSES", "MODEL.ROI_HEADS.NUM_CLASSES"),
        ("WEIGHTS", "MODEL.WEIGHTS"),
        ("IMS_PER_BATCHES", "SOLVER.IMS_PER_BATCH"),
    ],
)
def test_unknown_option_names_the_nearest_key(key, near):
    with pytest.raises(ConfigError, match=f"command line: unknown config key {key}.*{near}"):
        get_cfg().merge_from_list([key, "1"])


def test_unknown_key_of_a_file_names_the_file_the_full_key_and_the_nearest(write):
    path = write("a.yaml", "MODEL:\n  RESNETS:\n    DEPHT: 18\n")
    with pytest.raises(ConfigError) as caught:
        get_cfg().merge_from_file(path)
    assert path in str(caught.value)
    assert "MODEL.RESNETS.DEPHT" in str(caught.value)
    assert "Nearest: MODEL.RESNETS.DEPTH" in str(caught.value)


def test_unknown_key_of_a_base_file_names_the_base_file(write):
    base = write("base.yaml", "SEEED: 3\n")
    child = write("child.yaml", "_BASE_: base.yaml\nSEED: 4\n")
    with pytest.raises(ConfigError, match=base):
        get_cfg().merge_from_file(child)


def test_wrong_type_in_a_file_names_file_key_and_both_types(write):
    path = write("a.yaml", "SOLVER:\n  MAX_ITER: many\n")
    with pytest.raises(ConfigError, match=rf"{path}: SOLVER.MAX_ITER is 'many' \(str\).*\(int\)"):
        get_cfg().merge_from_file(path)


def test_failed_merges_change_nothing(write):
    """Half of a file's values would be worse than none."""
    cfg = get_cfg()
    base = "SEED: 9\nSOLVER:\n  MAX_ITER: 5\n"
    write("base.yaml", base)
    with pytest.raises(ConfigError):
        cfg.merge_from_file(write("a.yaml", "_BASE_: base.yaml\nNOPE: 1\n"))
    with pytest.raises(ConfigError):
        cfg.merge_from_list(["SEED", "1", "NOPE", "2"])
    assert cfg == get_cfg()
    assert cfg.is_default("SEED")


def test_option_without_a_value_names_the_lonely_word():
    with pytest.raises(ConfigError, match=r"pairs KEY VALUE.*odd.*'MODEL.DEVICE'"):
        get_cfg().merge_from_list(["SEED", "1", "MODEL.DEVICE"])


def test_value_for_a_section_says_that_it_is_a_section():
    with pytest.raises(ConfigError, match=r"MODEL.FPN is a section"):
        get_cfg().merge_from_list(["MODEL.FPN", "3"])
    with pytest.raises(ConfigError, match=r"OPTIONS is a section, found.*give it a dict"):
        get_cfg().merge_from_list(["MODEL.ADAPTER.OPTIONS", "3"])
    with pytest.raises(ConfigError, match=r"ADAPTER.OPTIONS is not valid YAML"):
        get_cfg().merge_from_list(["MODEL.ADAPTER.OPTIONS", "{depth: 3"])


@pytest.mark.parametrize(
    "content",
    ["{'size': 8, 'more': {'depth': 2}}", "{size: 8, more: {depth: 2}}", {"size": 8}],
)
def test_a_dict_on_the_command_line_is_merged_into_a_section_as_from_a_file(content):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.ADAPTER.OPTIONS.depth", "3", "MODEL.ADAPTER.OPTIONS", content])
    options = cfg.MODEL.ADAPTER.OPTIONS
    assert (options.depth, options.size) == (3, 8)
    assert cfg.origin("MODEL.ADAPTER.OPTIONS.size") == "command line"
    assert isinstance(content, dict) or options.more.depth == 2
    assert yaml.safe_load(cfg.dump())["MODEL"]["ADAPTER"]["OPTIONS"] == options
    with pytest.raises(UnknownKeyError, match=r"SOLVER\.MAX_ITR\. Nearest: SOLVER\.MAX_ITER"):
        cfg.merge_from_list(["SOLVER", "{'MAX_ITR': 3}"])


def test_a_dict_for_a_new_key_of_the_command_line_is_a_section():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.ADAPTER.OPTIONS.more", "{'depth': 2}"])
    assert yaml.safe_load(cfg.dump())["MODEL"]["ADAPTER"]["OPTIONS"] == {"more": {"depth": 2}}


def test_a_text_that_spells_a_dict_stays_a_text_where_a_text_is_expected():
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", "{'a': 1}"])
    assert cfg.OUTPUT_DIR == "{'a': 1}"


def test_section_with_all_lines_commented_out_asks_for_nothing(write):
    cfg = get_cfg()
    cfg.merge_from_file(write("a.yaml", "SOLVER:\n  # MAX_ITER: 5\nSEED: 3\n"))
    assert cfg.SEED == 3
    assert get_cfg().SOLVER == cfg.SOLVER


def test_files_of_a_later_version_are_refused(write):
    with pytest.raises(ConfigError, match=r"VERSION is 3 \(int\), expected 2"):
        get_cfg().merge_from_file(write("a.yaml", "VERSION: 3\nSEED: 1\n"))


@pytest.mark.parametrize("version", ["", "VERSION: 1\n"])
def test_keys_of_version_one_are_read_by_their_present_names(write, caplog, version):
    path = write(
        "a.yaml",
        f"{version}MODEL:\n  WEIGHT: one.pkl\n  RPN_HEAD:\n    NAME: MyHead\n"
        "  RPN:\n    POST_NMS_TOPK_TEST: 321\nTEST:\n  DETECTIONS_PER_IMG: 44\n  AUG_ON: True\n",
    )
    cfg = get_cfg()
    cfg.merge_from_file(path)
    assert cfg.VERSION == 2
    assert (cfg.MODEL.WEIGHTS, cfg.MODEL.RPN.HEAD_NAME) == ("one.pkl", "MyHead")
    assert (cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.TEST.DETECTIONS_PER_IMAGE) == (321, 44)
    assert cfg.TEST.AUG.ENABLED
    assert "MODEL.WEIGHT -> MODEL.WEIGHTS" in caplog.text


def test_every_old_key_leads_to_a_key_that_there_is():
    from d2lite.config.old_keys import RENAMED

    known = dict(get_cfg().keys_and_values())
    assert [new for new in RENAMED.values() if new not in known] == []
    assert [old for old in RENAMED if old in known] == []


def test_key_of_version_one_among_options_names_its_new_name():
    with pytest.raises(ConfigError, match=r"MODEL.WEIGHT is .* called MODEL.WEIGHTS now"):
        get_cfg().merge_from_list(["MODEL.WEIGHT", "x"])


def test_saved_configs_of_adelaidet_load_although_they_hold_other_models(write):
    path = write("a.yaml", "MODEL:\n  FCPOSE_ON: False\n  BASIS_MODULE:\n    NAME: x\nSEED: 3\n")
    cfg = get_cfg()
    cfg.merge_from_file(path)
    assert cfg.SEED == 3
    assert "BASIS_MODULE" not in cfg.MODEL


def test_a_model_of_adelaidet_that_is_switched_on_is_refused(write):
    path = write("a.yaml", "MODEL:\n  FCPOSE_ON: True\n")
    with pytest.raises(ConfigError, match=r"a.yaml: MODEL.FCPOSE_ON switches on a part"):
        get_cfg().merge_from_file(path)


def test_a_key_that_code_added_is_read_whatever_its_name(write):
    cfg = get_cfg()
    cfg.MODEL.FCPOSE_ON = False
    cfg.merge_from_file(write("a.yaml", "MODEL:\n  FCPOSE_ON: True\n"))
    assert cfg.MODEL.FCPOSE_ON


def test_lists_of_dicts_are_values(write):
    cfg = get_cfg()
    cfg.SOURCES = []
    cfg.merge_from_file(write("a.yaml", "SOURCES:\n- {NAME: a, RATIO: 1.0}\n- {NAME: b}\n"))
    assert cfg.SOURCES == [{"NAME": "a", "RATIO": 1.0}, {"NAME": "b"}]
    again = get_cfg()
    again.SOURCES = []
    again.merge_from_file(write("b.yaml", cfg.dump()))
    assert again.SOURCES == cfg.SOURCES
    with pytest.raises(ConfigError, match="SOURCES cannot hold"):
        cfg.SOURCES = [{"a": object()}]


def test_attribute_that_is_no_key_names_near_ones():
    with pytest.raises(AttributeError, match=r"'DEPHT'.*Nearest: DEPTH"):
        _ = get_cfg().MODEL.RESNETS.DEPHT
    assert not hasattr(get_cfg().MODEL, "NOPE")
    assert getattr(get_cfg().MODEL, "NOPE", 3) == 3


@pytest.mark.parametrize("value", [{1, 2}, object(), {"a": 1}, [object()]])
def test_value_that_no_file_can_hold_is_refused(value):
    with pytest.raises(ConfigError, match="SEED cannot hold"):
        get_cfg().SEED = value


# ---------------------------------------------------------------------------- freezing


def test_frozen_config_refuses_every_way_of_setting(write):
    cfg = get_cfg()
    cfg.freeze()
    path = write("a.yaml", "SEED: 3\n")
    for change in (
        lambda: setattr(cfg, "SEED", 1),
        lambda: setattr(cfg.MODEL, "DEVICE", "cpu"),
        lambda: cfg.__setitem__("SEED", 1),
        lambda: cfg.__delitem__("SEED"),
        lambda: cfg.merge_from_list(["SEED", "1"]),
        lambda: cfg.merge_from_other_cfg(CfgNode({"SEED": 1})),
        lambda: cfg.merge_from_file(path),
    ):
        with pytest.raises(AttributeError, match="frozen"):
            change()
    assert cfg == get_cfg()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    assert cfg.MODEL.DEVICE == "cpu"


# ---------------------------------------------------------------------------- origins


def test_every_value_knows_where_it_came_from(write):
    write("base.yaml", "SEED: 1\nVIS_PERIOD: 2\n")
    child = write("child.yaml", "_BASE_: base.yaml\nSEED: 3\n")
    cfg = get_cfg()
    cfg.merge_from_file(child)
    cfg.merge_from_list(["SOLVER.BASE_LR", "0.1"])
    cfg.merge_from_list(["SOLVER.GAMMA", "0.5"], origin="demo --opts")
    cfg.MODEL.DEVICE = "cpu"
    cfg.derive("MODEL.ROI_HEADS.NUM_CLASSES", 3, "classes of fruit")
    assert cfg.origin("SEED") == f"file {child}"
    assert cfg.origin("VIS_PERIOD").endswith("base.yaml")
    assert cfg.origin("SOLVER.BASE_LR") == "command line"
    assert cfg.origin("SOLVER.GAMMA") == "demo --opts"
    assert cfg.origin("MODEL.DEVICE") == "code"
    assert cfg.origin("MODEL.ROI_HEADS.NUM_CLASSES") == "derived: classes of fruit"
    assert cfg.origin("OUTPUT_DIR") == "default"
    assert cfg.MODEL.ROI_HEADS.origin("NUM_CLASSES") == "derived: classes of fruit"


def test_value_equal_to_the_default_still_counts_as_set():
    """MODEL.DEVICE cuda on the command line asks for CUDA, though it is the default."""
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cuda"])
    assert not cfg.is_default("MODEL.DEVICE")


def test_new_keys_of_a_project_are_defaults_until_set():
    cfg = get_cfg()
    cfg.MODEL.MINE = CfgNode()
    cfg.MODEL.MINE.WIDTH = 3
    cfg.MODEL.YOURS = CfgNode({"DEPTH": 4})
    assert cfg.is_default("MODEL.MINE.WIDTH")
    assert cfg.is_default("MODEL.YOURS.DEPTH")
    cfg.MODEL.MINE.WIDTH = 5
    assert not cfg.is_default("MODEL.MINE.WIDTH")


def test_section_that_replaces_another_was_set_by_code():
    cfg = get_cfg()
    cfg.SOLVER.AMP = CfgNode({"ENABLED": True, "PRECISION": "bfloat16"})
    assert cfg.origin("SOLVER.AMP.ENABLED") == "code"


@pytest.mark.parametrize("twin", [CfgNode.clone, copy.deepcopy, copy.copy])
def test_copies_carry_the_origins(twin):
    cfg = get_cfg()
    cfg.merge_from_list(["SEED", "3"])
    other = twin(cfg)
    assert other == cfg
    assert other.origin("SEED") == "command line"
    assert other.is_default("MODEL.DEVICE")
    other.SEED = 5
    assert (cfg.SEED, cfg.origin("SEED")) == (3, "command line")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_copies_carry_origins_and_freezing(protocol):
    """Loader and training processes get their config this way."""
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu"])
    cfg.freeze()
    other = pickle.loads(pickle.dumps(cfg, protocol=protocol))
    assert other == cfg
    assert other.MODEL.origin("DEVICE") == "command line"
    assert other.MODEL.is_frozen()


def test_merging_another_config_brings_its_origins():
    cfg, other = get_cfg(), CfgNode({"SEED": 1, "MODEL": {"DEVICE": "cpu"}})
    other.derive("SEED", 4, "drawn")
    cfg.merge_from_other_cfg(other)
    assert (cfg.SEED, cfg.origin("SEED")) == (4, "derived: drawn")
    assert (cfg.MODEL.DEVICE, cfg.origin("MODEL.DEVICE")) == ("cpu", "code")


def test_derive_works_on_a_frozen_config_and_checks_the_type():
    cfg = get_cfg()
    cfg.freeze()
    cfg.derive("SEED", 7, "drawn")
    assert cfg.SEED == 7
    with pytest.raises(ConfigError, match="derived: why: SEED is"):
        cfg.derive("SEED", [1], "why")


@pytest.mark.parametrize("key", ["MODEL.NOPE", "NOPE.DEVICE", "MODEL.DEVICE.NOPE"])
def test_origin_of_an_unknown_key_is_refused(key):
    with pytest.raises(ConfigError, match=f"unknown config key {key}"):
        get_cfg().origin(key)


def test_origin_of_a_section_is_refused():
    with pytest.raises(ConfigError, match="MODEL is a section"):
        get_cfg().origin("MODEL")


def test_words_of_other_libraries_and_key_value_with_a_sign_are_explained():
    with pytest.raises(UnknownKeyError, match=r"key epochs; it is SOLVER\.MAX_EPOCHS here"):
        get_cfg().merge_from_list(["epochs", "3"])
    for words in (["SEED=1"], ["SEED=1", "SOLVER.BASE_LR=0.1"]):
        with pytest.raises(ConfigError, match=r"SEED=1: KEY=VALUE is for Python.*it is SEED 1"):
            get_cfg().merge_from_list(words)


# ---------------------------------------------------------------------------- new keys, old keys


def test_section_that_allows_new_keys_takes_them_from_files_and_options(write):
    cfg = get_cfg()
    cfg.MINE = CfgNode(new_allowed=True)
    cfg.merge_from_file(write("a.yaml", "MINE:\n  A: 1\n  B: {C: 2, D: 1e-3}\n"))
    cfg.merge_from_list(["MINE.B.E", "7"])
    assert cfg.MINE.A == 1
    assert cfg.MINE.B.C == 2
    assert cfg.MINE.B.E == 7
    assert cfg.origin("MINE.B.C").startswith("file ")


def test_section_made_by_the_class_of_yacs_is_a_section():
    """Public projects import CN from yacs.config as often as from detectron2.config."""
    cfg = get_cfg()
    cfg.MINE = yacs.config.CfgNode({"INNER": yacs.config.CfgNode({"B": 2})})
    cfg.MINE.A = 1
    cfg.merge_from_list(["MINE.A", "5", "MINE.INNER.B", "7"])
    assert (cfg.MINE.A, cfg.clone().MINE.INNER.B) == (5, 7)
    assert isinstance(cfg.MINE.INNER, CfgNode)
    with pytest.raises(UnknownKeyError):
        cfg.merge_from_list(["MINE.C", "5"])


def test_keys_that_yacs_was_told_about_keep_their_meaning():
    cfg = get_cfg()
    cfg.register_deprecated_key("OLD.THING")
    cfg.register_renamed_key("OLD.NAME", "SEED")
    cfg.merge_from_list(["OLD.THING", "1"])
    with pytest.raises(ConfigError, match=r"OLD\.NAME was renamed to SEED"):
        cfg.merge_from_list(["OLD.NAME", "1"])


# ---------------------------------------------------------------------------- text


def test_dump_loads_back_to_an_equal_config(write):
    cfg = get_cfg()
    cfg.merge_from_list(
        ["OUTPUT_DIR", "2024", "SOLVER.STEPS", "(1, 2)", "MODEL.WEIGHTS", "a: b # c"]
    )
    cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS = (0.25,)
    again = get_cfg()
    again.merge_from_file(write("dumped.yaml", cfg.dump()))
    assert again == cfg
    assert CfgNode.load_cfg(cfg.dump()) is not None


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])))
def test_every_text_survives_dump_and_load(text):
    cfg = CfgNode({"KEY": ""})
    cfg.KEY = text
    again = CfgNode({"KEY": ""})
    again.merge_from_other_cfg(CfgNode.load_cfg(cfg.dump()))
    assert text == again.KEY


@pytest.mark.parametrize(
    "words", [["MODEL.DEVICE", "cpu", "--resume"], ["--eval-only", "MODEL.WEIGHTS", "x.pth", "y"]]
)
def test_flag_among_the_options_is_not_a_key(words):
    """A shell command is often repeated with a flag put at its end."""
    flag = next(word for word in words if word.startswith("--"))
    with pytest.raises(ConfigError, match=f"{flag} among the KEY VALUE pairs is not an option"):
        get_cfg().merge_from_list(words)


def test_a_set_named_without_a_comma_is_one_set():
    """As in cfg.DATASETS.TRAIN = ("my_set"), which Python reads as a text."""
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = "my_set"
    assert cfg.DATASETS.TRAIN == ("my_set",)


def test_a_computed_key_keeps_its_first_value():
    node = CfgNode()
    node.COMPUTED_SIZE = 5
    node.COMPUTED_SIZE = 5
    with pytest.raises(KeyError, match="COMPUTED_SIZE was computed as 5, now as 6"):
        node.COMPUTED_SIZE = 6
    assert node.COMPUTED_SIZE == 5
