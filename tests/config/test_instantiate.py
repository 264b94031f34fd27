"""instantiate: from the description of a call to its result."""

import functools
import logging
from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from torch import nn

from d2lite.config import LazyCall as L
from d2lite.config import instantiate
from d2lite.config.instantiate import dump_dataclass
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import InputTypeError


@dataclass
class Pair:
    left: Any
    right: Any = None


class Holder:
    def __init__(self, **kwargs):
        self.__dict__.update(kwargs)


def choose(name):
    return {"dict": dict, "list": list}[name]


def test_inner_calls_are_made_first():
    made = instantiate(L(Holder)(layer=L(nn.Linear)(in_features=1, out_features=2)))
    assert isinstance(made.layer, nn.Linear)


def test_references_see_the_value_at_the_time_of_the_call():
    cfg = L(Holder)(size=1, inner=L(Holder)(size="${..size}"))
    cfg.size = 5
    assert instantiate(cfg).inner.size == 5


def test_calls_inside_lists_and_dicts_are_made():
    made = instantiate(L(Holder)(parts=[1, L(nn.ReLU)()], names={"a": {"b": L(nn.ReLU)()}}))
    assert made.parts[0] == 1
    assert isinstance(made.parts, list)
    assert isinstance(made.parts[1], nn.ReLU)
    assert isinstance(made.names["a"]["b"], nn.ReLU)


def test_arguments_are_left_alone_where_recursion_is_off():
    made = instantiate(L(Holder)(part=L(nn.ReLU)(), _recursive_=False))
    assert isinstance(made.part, DictConfig)
    assert made.part._target_ is nn.ReLU


def test_a_partial_call_is_returned_where_it_is_asked_for():
    made = instantiate({"_target_": "torch.nn.Linear", "_partial_": True, "in_features": 2})
    assert isinstance(made, functools.partial)
    assert made(out_features=3).out_features == 3


@pytest.mark.parametrize("value", [5, None, "text", {"a": 1}, Holder()])
def test_what_describes_no_call_is_returned_as_it_is(value):
    assert instantiate(value) is value


def test_a_dict_without_calls_keeps_its_attributes():
    made = instantiate(L(Holder)(options={"rate": 0.1}))
    assert made.options.rate == 0.1


def test_the_target_can_be_an_address_or_a_call():
    assert isinstance(instantiate({"_target_": "torch.nn.ReLU"}), nn.ReLU)
    chosen = L(L(choose)(name="dict"))(a=1)
    assert instantiate(chosen) == {"a": 1}


def test_objects_of_a_dataclass_come_out_as_such():
    made = instantiate(L(Holder)(shape=ShapeSpec(channels=3), pair=L(Pair)(left=1)))
    assert made.shape == ShapeSpec(channels=3)
    assert made.pair == Pair(1)


def test_a_described_dataclass_is_made_again():
    described = dump_dataclass(Pair(Pair(1, 2), [Pair(3)]))
    assert instantiate(described) == Pair(Pair(1, 2), [Pair(3)])
    with pytest.raises(TypeError, match="needs an object of a dataclass"):
        dump_dataclass(Pair)


def test_tuples_stay_tuples():
    assert instantiate((1, {"_target_": "builtins.dict"})) == (1, {})


def test_errors_of_the_call_keep_their_type_and_are_logged(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(TypeError, match="out_features"):
        instantiate(L(Holder)(layer=L(nn.Linear)(in_features=1)))
    assert "Linear" in caplog.text


@pytest.mark.parametrize("target", [3, None, ["a"]])
def test_a_target_that_cannot_be_called_is_refused(target):
    with pytest.raises(TypeError, match="LazyCall needs a callable"):
        L(target)
    with pytest.raises(InputTypeError, match="not a callable"):
        instantiate({"_target_": target})


def test_an_address_that_leads_nowhere_is_refused():
    with pytest.raises(KeyError, match=r"torch\.nn has no 'Lienar'"):
        instantiate({"_target_": "torch.nn.Lienar"})


def test_a_model_can_be_put_into_a_config():
    """As training scripts do: cfg.optimizer.params.model = model."""
    cfg = OmegaConf.create({"optimizer": L(Holder)(params=L(Holder)())}, flags={"allow_objects": 1})
    model = nn.ReLU()
    cfg.optimizer.params.model = model
    assert instantiate(cfg.optimizer).params.model is model
