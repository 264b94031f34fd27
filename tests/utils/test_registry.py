"""Registries: names to objects, and what a miss says."""

from collections import OrderedDict

import pytest
import torch

from d2lite import modeling
from d2lite.utils.errors import UnknownNameError
from d2lite.utils.registry import Registry, _convert_target_to_string, locate


@pytest.fixture
def registry() -> Registry:
    made = Registry("BACKBONE")
    for name in ("build_resnet_backbone", "build_swin_backbone"):
        made.register(type(name, (), {}))
    return made


def test_registered_objects_are_found_by_their_name():
    registry = Registry("THING")

    @registry.register()
    class First: ...

    def second(): ...

    registry.register(second)
    assert registry.get("First") is First
    assert registry.get("second") is second
    assert dict(registry) == {"First": First, "second": second}
    assert "First" in registry


def test_unknown_name_lists_the_known_ones_nearest_first_and_how_to_register(registry):
    with pytest.raises(UnknownNameError) as caught:
        registry.get("build_swim_backbone")
    text = str(caught.value)
    assert text.index("build_swin_backbone") < text.index("build_resnet_backbone")
    assert "@BACKBONE_REGISTRY.register()" in text
    assert "--import" in text


def test_empty_registry_says_that_it_is_empty():
    with pytest.raises(KeyError, match="Known: none yet"):
        Registry("HEAD").get("x")


def test_second_object_of_one_name_is_refused_and_names_the_first(registry):
    with pytest.raises(ValueError, match="BACKBONE has 'build_swin_backbone' already, from"):
        registry.register(type("build_swin_backbone", (), {}))


def test_registering_the_same_object_twice_is_harmless(registry):
    """A user's file may be imported twice, by path and as a module of a notebook."""
    same = registry.get("build_swin_backbone")
    registry.register(same)
    assert registry.get("build_swin_backbone") is same


def test_locate_imports_modules_and_their_attributes():
    import os.path

    assert locate("os.path.join") is os.path.join
    assert locate("os.path") is os.path


@pytest.mark.parametrize("name", ["no_such_module_here.x", "os.path.no_such_name"])
def test_locate_names_what_it_cannot_find(name):
    with pytest.raises(UnknownNameError, match="no_such") as caught:
        locate(name)
    # What pydoc-like callers catch.
    assert isinstance(caught.value, ImportError)


def test_the_address_of_a_class_is_the_shortest_that_finds_it():
    assert _convert_target_to_string(torch.nn.Conv1d) == "torch.nn.Conv1d"
    assert _convert_target_to_string(OrderedDict) == "collections.OrderedDict"
    assert locate(_convert_target_to_string(Registry)) is Registry


def _from(module: str, name: str) -> type:
    return type(name, (), {"__module__": module})


@pytest.mark.parametrize("users_first", [False, True])
def test_users_object_takes_the_place_of_one_of_d2lite(caplog, users_first):
    """Code for detectron2 has its own FCOS; which file is imported first must not matter."""
    registry = Registry("META_ARCH", reserved=("RetinaNet",))
    theirs, ours = _from("mymodel.fcos", "FCOS"), _from("d2lite.modeling.meta_arch.fcos", "FCOS")
    with caplog.at_level("INFO", logger="d2lite"):
        for each in (theirs, ours) if users_first else (ours, theirs):
            assert registry.register(each) is each
    assert registry.get("FCOS") is theirs
    (line,) = caplog.messages
    assert "mymodel.fcos" in line
    assert "d2lite.modeling.meta_arch.fcos" in line


@pytest.mark.parametrize("second", ["mymodel.fcos", "d2lite.fcos"])
def test_two_objects_of_one_owner_stay_refused(second):
    registry = Registry("META_ARCH")
    registry.register(_from(second.replace("fcos", "first"), "FCOS"))
    with pytest.raises(AssertionError, match=r"already, from .*first"):
        registry.register(_from(second, "FCOS"))


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        (modeling.BACKBONE_REGISTRY, "build_resnet_fpn_backbone"),
        (modeling.META_ARCH_REGISTRY, "RetinaNet"),
        (modeling.PROPOSAL_GENERATOR_REGISTRY, "RPN"),
        (modeling.ROI_HEADS_REGISTRY, "StandardROIHeads"),
    ],
)
def test_built_ins_of_detectron2_cannot_be_replaced(registry, name):
    with pytest.raises(AssertionError, match="already"):
        registry.register(_from("mymodel", name))
