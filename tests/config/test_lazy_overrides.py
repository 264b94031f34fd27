"""Overrides of Python configs by words of a command line."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from d2lite.config import LazyCall, LazyConfig
from d2lite.utils.errors import ConfigError


@pytest.fixture
def cfg():
    return OmegaConf.create({"train": {"steps": 10, "names": ["a", "b"]}, "rate": 0.1})


@pytest.mark.parametrize(
    ("word", "key", "expected"),
    [
        ("rate=1e-3", "rate", 0.001),
        ("train.steps=20", "train.steps", 20),
        ("train.steps=null", "train.steps", None),
        ("train.steps='20'", "train.steps", "20"),
        ("train.names=[x,3,true]", "train.names", ["x", 3, True]),
        ("train.names[1]=z", "train.names", ["a", "z"]),
        ("train.names.0=z", "train.names", ["z", "b"]),
        ("train={steps: 3}", "train", {"steps": 3, "names": ["a", "b"]}),
        ("train.names=(1, 2)", "train.names", [1, 2]),
        ("train.names=('ab')", "train.names", "('ab')"),
        (f"rate={'(' * 9000}1{')' * 9000}", "rate", f"{'(' * 9000}1{')' * 9000}"),
        ("rate=", "rate", ""),
        ("rate=detectron2://w.pth?matching_heuristics=True", "rate", None),
        ("rate=@x", "rate", "@x"),
        ("+train.new.deep=1", "train.new", {"deep": 1}),
        ("++train.steps=4", "train.steps", 4),
    ],
)
def test_a_word_sets_a_value(cfg, word, key, expected):
    LazyConfig.apply_overrides(cfg, [word])
    expected = word.partition("=")[2] if expected is None and "null" not in word else expected
    assert OmegaConf.select(cfg, key) == expected


def test_a_tilde_removes_a_key_or_a_part_of_a_list(cfg):
    assert LazyConfig.apply_overrides(cfg, ["~train.steps", "~train.names[0]"]) is cfg
    assert cfg.train == {"names": ["b"]}


def test_a_reference_can_be_set(cfg):
    LazyConfig.apply_overrides(cfg, ["rate=${train.steps}"])
    assert cfg.rate == 10


def test_a_value_with_parts_inside_a_number_is_a_key_error(cfg):
    with pytest.raises(KeyError, match="rate is not a config but of type float"):
        LazyConfig.apply_overrides(cfg, ["rate.deep=1"])


@pytest.mark.parametrize("word", ["train.steps", "=3", "", "two words=3"])
def test_a_word_of_another_form_is_refused(cfg, word):
    with pytest.raises(ConfigError, match="is not of the form KEY=VALUE"):
        LazyConfig.apply_overrides(cfg, [word])


def test_a_key_that_is_not_there_cannot_be_removed(cfg):
    with pytest.raises(KeyError, match="no such key"):
        LazyConfig.apply_overrides(cfg, ["~train.absent"])


def test_a_new_key_without_a_plus_is_warned_of_with_near_ones(cfg, caplog):
    with caplog.at_level(logging.WARNING):
        LazyConfig.apply_overrides(cfg, ["train.step=5"])
    assert "did you mean train.steps" in caplog.text
    caplog.clear()
    LazyConfig.apply_overrides(cfg, ["+train.stride=5", "train.steps=5"])
    assert not caplog.text


def test_arguments_of_calls_can_be_overridden():
    cfg = OmegaConf.create({"model": LazyCall(dict)(a=1)}, flags={"allow_objects": True})
    LazyConfig.apply_overrides(cfg, ["model.a=2", "model.b=3"])
    assert (cfg.model.a, cfg.model.b) == (2, 3)


@given(st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)))
def test_the_text_of_a_number_gives_the_number(value):
    cfg = OmegaConf.create({"key": None})
    LazyConfig.apply_overrides(cfg, [f"key={value}"])
    assert cfg.key == value
    assert type(cfg.key) is type(value)
