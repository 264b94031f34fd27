"""YAML files: inheritance, and what is never executed."""

import os

import pytest

from d2lite.config import CfgNode, get_cfg
from d2lite.utils.errors import ConfigError, MissingFileError

RETINANET_SIZES = (
    "SIZES: !!python/object/apply:eval "
    '["[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"]'
)


def _merged(path: str) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(path)
    return cfg


def test_child_overrides_its_base_and_keeps_the_rest(write):
    write("base.yaml", "SEED: 1\nSOLVER: {MAX_ITER: 5, BASE_LR: 0.5}\n")
    cfg = _merged(write("sub/child.yaml", "_BASE_: ../base.yaml\nSOLVER: {MAX_ITER: 6}\n"))
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (1, 6, 0.5)


def test_base_may_be_absolute_or_start_at_home_or_be_a_list(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    absolute = write("a.yaml", "SEED: 1\nVIS_PERIOD: 1\n")
    write("b.yaml", "SEED: 2\n")
    assert _merged(write("c.yaml", f"_BASE_: {absolute}\n")).SEED == 1
    assert _merged(write("d.yaml", "_BASE_: ~/b.yaml\n")).SEED == 2
    both = _merged(write("e.yaml", "_BASE_: [a.yaml, b.yaml]\n"))
    assert (both.SEED, both.VIS_PERIOD) == (2, 1)


def test_load_yaml_with_base_gives_the_plain_merged_content(write):
    write("base.yaml", "A: {B: 1, C: 2}\n")
    path = write("child.yaml", "_BASE_: base.yaml\nA: {B: 3}\nD: [1]\n")
    assert CfgNode.load_yaml_with_base(path) == {"A": {"B": 3, "C": 2}, "D": [1]}


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nothing\.yaml: no such file"):
        _merged(str(tmp_path / "nothing.yaml"))


@pytest.mark.parametrize(
    "path",
    [
        "./detectron2_repo/configs/COCO-Detection/retinanet_R_50_FPN_1x.yaml",
        "/none/d2lite/model_zoo/configs/COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    ],
)
def test_missing_file_of_a_folder_of_detectron2_is_the_carried_one(path):
    assert _merged(path).MODEL.META_ARCHITECTURE == "RetinaNet"


@pytest.mark.parametrize(
    "path",
    [
        "mine/configs/COCO-Detection/retinanet_R_50_FPN_1x.yaml",
        "detectron2/configs/COCO-Detection/none.yaml",
    ],
)
def test_missing_file_of_another_folder_or_name_stays_missing(path):
    with pytest.raises(MissingFileError, match="no such file"):
        _merged(path)


def test_missing_base_names_the_chain_that_led_to_it(write):
    write("b.yaml", "_BASE_: c.yaml\n")
    with pytest.raises(MissingFileError, match=r"a\.yaml -> .*b\.yaml -> .*c\.yaml"):
        _merged(write("a.yaml", "_BASE_: b.yaml\n"))


def test_circle_of_bases_names_the_chain(write):
    write("b.yaml", "_BASE_: sub/../a.yaml\n")
    with pytest.raises(ConfigError, match=r"circle: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        _merged(write("a.yaml", "_BASE_: b.yaml\n"))


def test_base_that_is_no_path_is_refused(write):
    with pytest.raises(ConfigError, match="_BASE_ is 3"):
        _merged(write("a.yaml", "_BASE_: 3\n"))


def test_same_base_reached_twice_is_no_circle(write):
    write("root.yaml", "SEED: 1\n")
    write("l.yaml", "_BASE_: root.yaml\n")
    write("r.yaml", "_BASE_: root.yaml\n")
    assert _merged(write("a.yaml", "_BASE_: [l.yaml, r.yaml]\n")).SEED == 1


def test_published_retinanet_sizes_are_computed(write):
    text = f"MODEL:\n  ANCHOR_GENERATOR:\n    {RETINANET_SIZES}\n"
    sizes = _merged(write("retinanet.yaml", text)).MODEL.ANCHOR_GENERATOR.SIZES
    assert sizes == [[x, x * 2 ** (1 / 3), x * 2 ** (2 / 3)] for x in (32, 64, 128, 256, 512)]


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/apply:eval [\"open('{mark}', 'w')\"]",
        "!!python/object/apply:eval [\"__import__('os').system('touch {mark}')\"]",
        '!!python/object/apply:eval ["[].__class__"]',
        "!!python/object/new:list [[1]]",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
        "!!python/tuple [1, 2]",
        "!mine 3",
    ],
)
def test_tags_are_refused_by_name_and_nothing_runs(write, tmp_path, value):
    mark = tmp_path / "mark"
    path = write("a.yaml", f"SEED: 1\nMODEL:\n  WEIGHTS: {value.replace('{mark}', str(mark))}\n")
    with pytest.raises(ConfigError) as caught:
        _merged(path)
    assert f"{path}, line 3: the YAML tag {value.split()[0]}" in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("text", ["a: b: c", "MODEL: [1", "\tA: 1", "A: *nothing"])
def test_broken_yaml_names_the_file(write, text):
    with pytest.raises(ConfigError, match=r"a\.yaml is not valid YAML"):
        _merged(write("a.yaml", text))


@pytest.mark.parametrize("text", ["just words", "[1, 2]"])
def test_file_without_keys_is_refused(write, text):
    with pytest.raises(ConfigError, match="expected sections and keys"):
        _merged(write("a.yaml", text))


def test_empty_file_changes_nothing(write):
    assert _merged(write("a.yaml", "# nothing\n")) == get_cfg()


def test_binary_file_is_refused(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_bytes(os.urandom(8) + b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as a text file"):
        _merged(str(path))


def test_key_that_stands_twice_is_warned_about(write, caplog):
    """The first of two SOLVER sections vanishes without a trace otherwise."""
    cfg = _merged(write("a.yaml", "SOLVER: {MAX_ITER: 3}\nSOLVER: {GAMMA: 0.5}\n"))
    assert cfg.SOLVER.GAMMA == 0.5
    assert "line 2: SOLVER stands twice" in caplog.text


def test_aliases_are_read(write):
    cfg = _merged(write("a.yaml", "MODEL: {PIXEL_MEAN: &m [1., 2., 3.], PIXEL_STD: *m}\n"))
    assert cfg.MODEL.PIXEL_STD == [1.0, 2.0, 3.0]
