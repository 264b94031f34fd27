"""@configurable: plain arguments and configs."""

import pickle

import pytest
from omegaconf import OmegaConf

from d2lite.config import CfgNode, configurable, get_cfg


class Head:
    @configurable
    def __init__(self, width: int, *, depth: int = 2, norm: str = ""):
        """Plain arguments only."""
        self.facts = (width, depth, norm)

    @classmethod
    def from_config(cls, cfg, width_factor=1):
        return {"width": cfg.WIDTH * width_factor, "norm": cfg.NORM}


class Wider(Head):
    @classmethod
    def from_config(cls, cfg, width_factor=1):
        return {**super().from_config(cfg, width_factor), "width": 1000}


class OwnInit(Head):
    @configurable
    def __init__(self, width, *, extra, **rest):
        super().__init__(width, **rest)
        self.extra = extra

    @classmethod
    def from_config(cls, cfg, width_factor=1):
        return {**super().from_config(cfg, width_factor), "extra": 9}


@pytest.fixture
def cfg() -> CfgNode:
    return CfgNode({"WIDTH": 8, "NORM": "GN"})


def test_plain_arguments_pass_untouched():
    assert Head(3, depth=4).facts == (3, 4, "")
    assert Head(width=3, norm="BN").facts == (3, 2, "BN")


def test_config_goes_through_from_config(cfg):
    assert Head(cfg).facts == (8, 2, "GN")
    assert Head(cfg=cfg).facts == (8, 2, "GN")
    assert Head(cfg, 2).facts == (16, 2, "GN")
    assert Head(cfg, width_factor=3).facts == (24, 2, "GN")


def test_arguments_that_from_config_does_not_take_override_its_result(cfg):
    assert Head(cfg, width_factor=2, norm="BN", depth=7).facts == (16, 7, "BN")


def test_from_config_with_keyword_catch_all_gets_everything(cfg):
    class Greedy(Head):
        @classmethod
        def from_config(cls, cfg, **kwargs):
            return {"width": kwargs["depth"], "norm": "seen"}

    assert Greedy(cfg, depth=5).facts == (5, 2, "seen")


def test_subclasses_use_their_own_from_config(cfg):
    assert Wider(cfg).facts == (1000, 2, "GN")


def test_subclass_with_its_own_constructor_calls_the_plain_one_of_its_base(cfg):
    made = OwnInit(cfg, 2)
    assert (made.facts, made.extra) == ((16, 2, "GN"), 9)


def test_signature_and_docstring_stay_those_of_the_plain_constructor():
    assert Head.__init__.__doc__ == "Plain arguments only."
    assert Head.__init__.__name__ == "__init__"


def test_functions_are_configurable_too(cfg):
    @configurable(from_config=lambda cfg, extra=0: {"a": cfg.WIDTH, "b": extra})
    def add(a, b=1, c=100):
        return a + b + c

    assert add(1, 2, c=3) == 6
    assert add(cfg) == 108
    assert add(cfg, extra=5, c=0) == 13


def test_object_built_from_a_config_pickles(cfg):
    assert pickle.loads(pickle.dumps(Head(cfg))).facts == Head(cfg).facts


def test_class_without_from_config_says_what_it_needs():
    class Bare:
        @configurable
        def __init__(self, a): ...

    with pytest.raises(TypeError, match=r"Bare .* needs a classmethod from_config"):
        Bare(get_cfg())


def test_from_config_that_is_no_classmethod_is_refused():
    class Wrong:
        @configurable
        def __init__(self, a): ...

        def from_config(self, cfg): ...

    with pytest.raises(TypeError, match="classmethod from_config"):
        Wrong(get_cfg())


def test_from_config_must_take_the_config_first(cfg):
    class Wrong:
        @configurable
        def __init__(self, a): ...

        @classmethod
        def from_config(cls, settings): ...

    with pytest.raises(TypeError, match="gets the config as 'cfg', before all"):
        Wrong(cfg)
    with pytest.raises(TypeError, match="gets the config as 'cfg'"):
        configurable(from_config=lambda settings: {})


def test_misuse_of_the_decorator_is_refused():
    with pytest.raises(TypeError, match="__init__ only"):
        configurable(lambda: None)
    with pytest.raises(TypeError, match="from_config="):
        configurable()


def test_a_config_of_omegaconf_is_a_config_too():
    """Code that keeps its options in OmegaConf builds our classes from it."""
    cfg = OmegaConf.create({"WIDTH": 3})

    @configurable(from_config=lambda cfg: {"width": cfg.WIDTH})
    def make(width):
        return width

    assert make(cfg) == make(width=3) == 3
