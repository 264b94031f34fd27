"""Saving Python configs as YAML, and showing them as text."""

import copy
import functools
import logging
import pickle
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from torch import nn

from d2lite.config import LazyCall as L
from d2lite.config import LazyConfig, instantiate
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError


def config(**values):
    return DictConfig(values, flags={"allow_objects": True})


def saved_and_loaded(cfg, tmp_path):
    LazyConfig.save(cfg, str(tmp_path / "saved.yaml"))
    return LazyConfig.load(str(tmp_path / "saved.yaml"))


def test_a_call_comes_back_with_the_shortest_address_of_its_target(tmp_path):
    cfg = config(layer=L(nn.Linear)(in_features=2, out_features="${.in_features}"))
    loaded = saved_and_loaded(cfg, tmp_path)
    assert loaded.layer._target_ == "torch.nn.Linear"
    loaded.layer.in_features = 4
    assert instantiate(loaded.layer).out_features == 4, "references are kept"


def test_classes_partial_calls_and_dataclasses_come_back(tmp_path):
    norm = functools.partial(nn.LayerNorm, eps=1e-3)
    cfg = config(call=L(dict)(norm=norm, activation=nn.GELU, shape=ShapeSpec(channels=3, stride=4)))
    made = instantiate(saved_and_loaded(cfg, tmp_path).call)
    assert made["norm"](3).eps == 1e-3
    assert made["activation"] is nn.GELU
    assert made["shape"] == ShapeSpec(channels=3, stride=4)


def test_what_cannot_be_saved_is_listed_and_refuses_to_be_called(tmp_path, caplog):
    cfg = config(a=1, model=L(dict)(norm=lambda c: c))
    with caplog.at_level(logging.WARNING):
        loaded = saved_and_loaded(cfg, tmp_path)
    assert "cannot hold model.norm (" in caplog.text
    assert "test_lazy_saving.py, line" in caplog.text
    assert loaded.a == 1
    with pytest.raises(ConfigError, match="Load the Python file"):
        loaded.model.norm(3)


def test_what_yaml_cannot_hold_is_pickled_where_cloudpickle_is_installed(tmp_path):
    pytest.importorskip("cloudpickle")
    LazyConfig.save(config(x=lambda: 3), str(tmp_path / "c.yaml"))
    with open(tmp_path / "c.yaml.pkl", "rb") as file:
        assert pickle.load(file).x() == 3


def test_yaml_that_omegaconf_wrote_is_read(tmp_path):
    cfg = config(call=L(nn.Linear)(in_features=2, out_features=3))
    cfg.norm = functools.partial(nn.LayerNorm, eps=1e-3)
    OmegaConf.save(cfg, tmp_path / "c.yaml")
    loaded = LazyConfig.load(str(tmp_path / "c.yaml"))
    assert isinstance(instantiate(loaded.call), nn.Linear)
    assert loaded.norm(2).eps == 1e-3


def test_tags_that_would_run_code_are_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: !!python/object/apply:os.system [exit 1]\n")
    with pytest.raises(ConfigError, match="cannot be read as a config"):
        LazyConfig.load(str(path))


def test_addresses_of_detectron2_mean_ours(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "shape: {_target_: detectron2.layers.ShapeSpec, channels: 3}\n"
        "norm: !!python/name:detectron2.layers.FrozenBatchNorm2d ''\n"
    )
    cfg = LazyConfig.load(str(path))
    assert instantiate(cfg.shape) == ShapeSpec(channels=3)
    assert cfg.norm.__module__.startswith("d2lite.")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_keep_their_references(copied):
    cfg = copied(config(width=4, layer=L(nn.Linear)(in_features="${width}", out_features=1)))
    cfg.width = 6
    assert instantiate(cfg.layer).in_features == 6


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab1e-.:#'"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(_VALUES)
def test_plain_values_come_back_equal(tmp_path_factory, value):
    cfg = config(value=value)
    assert saved_and_loaded(cfg, tmp_path_factory.mktemp("saved")) == cfg


def test_text_reads_like_python():
    cfg = config(options={"rate": 0.1, "deep": {"on": True}}, names=["a", 1, None])
    cfg.call = L(count)(start="${options.rate}")
    assert LazyConfig.to_py(cfg) == (
        "cfg.options.rate = 0.1\n"
        "cfg.options.deep.on = True\n"
        'cfg.names = ["a", 1, None]\n'
        'cfg.call = itertools.count(start="${options.rate}")\n'
    )


def test_long_calls_have_one_argument_a_line():
    cfg = config(call=L(dict)(first="x" * 40, second={"inner": ["y" * 40]}))
    assert LazyConfig.to_py(cfg, prefix="") == (
        "call = builtins.dict(\n"
        f'    first="{"x" * 40}",\n'
        f'    second={{"inner": ["{"y" * 40}"]}},\n'
        ")\n"
    )
