"""TorchScript needs classes whose fields are known: a class of given fields for `Instances`."""

import copy
import itertools
import linecache
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any, Optional, cast

import torch
from torch import Tensor, nn

from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils.errors import ArgumentError

from .scripted_parts import prepared

__all__ = ["freeze_training_mode", "patch_instances"]

_numbers = itertools.count()
# By this attribute of a class torch finds the one that it compiles in its place.
_NAME = "_jit_override_qualname"
_CLASS = """\
class ScriptedInstances{number}:
    def __init__(self, image_size: tuple[int, int]{arguments}):
        self.image_size = image_size
{starts}
    def cat(self, instances: list["ScriptedInstances{number}"]) -> "ScriptedInstances{number}":
        other = ScriptedInstances{number}(self.image_size{nothing})
{joins}
        return other

    def to(self, device: torch.device) -> "ScriptedInstances{number}":
        other = ScriptedInstances{number}(self.image_size{nothing})
{moves}
        return other

    def __getitem__(self, item: Tensor) -> "ScriptedInstances{number}":
        other = ScriptedInstances{number}(self.image_size{nothing})
{picks}
        return other

    def has(self, name: str) -> bool:
{claims}
        return False

    def get_fields(self) -> dict[str, Tensor]:
        fields: dict[str, Tensor] = {{}}
{reads}
        return fields

    def __len__(self) -> int:
{lengths}
        raise NotImplementedError("Instances without fields have no length.")
"""
_FIELD = """
    @property
    def {name}(self) -> {kind}:
        value = self._{name}
        assert value is not None, "Instances have no field {name}."
        return value

    @{name}.setter
    def {name}(self, value: {kind}) -> None:
        self._{name} = value
"""
# Of each field, what one line does where the field is set.
_LINES = {
    "moves": "other._{name} = value_{i}.to(device)",
    "picks": "other._{name} = value_{i}[item]",
    "reads": 'fields["{name}"] = value_{i}{tensor}',
    "lengths": "return value_{i}{tensor}.shape[0]",
    "joins": "other._{name} = {cat}([one.{name} for one in instances])",
}
_KINDS = {Tensor: "Tensor", Boxes: "Boxes", RotatedBoxes: "RotatedBoxes"}


@contextmanager
def patch_instances(fields: Mapping[str, type | str]) -> Iterator[type]:
    """Inside, `torch.jit.script` takes `Instances` for a class that has these fields.

    Args:
        fields: names and types, `Tensor`, `Boxes` or `RotatedBoxes`, or their names.

    Yields:
        The class. Its objects are made from an image size and are filled by arguments, by
        attributes, or by its `from_instances` from `Instances` with some of the fields.

    Detectors, RPN, StandardROIHeads and the heads of masks and keypoints are compiled in the form
    for evaluation, see `scripting_with_instances`.

    Raises:
        ArgumentError: for a field of another type, or none at all.
    """
    made = _make_class(fields)
    torch.jit.script(made)
    _forget_compiled()
    before = vars(Instances).get(_NAME)
    setattr(Instances, _NAME, torch.jit._state._get_script_class(made).qualified_name())
    try:
        with prepared(fields):
            yield made
    finally:
        _forget_compiled()
        if before is None:
            delattr(Instances, _NAME)
        else:
            setattr(Instances, _NAME, before)


def _forget_compiled() -> None:
    """Make torch compile functions and modules again; it keeps them, with the class they knew."""
    torch.jit._recursive.concrete_type_store.type_store.clear()
    torch.jit._state._jit_caching_layer.clear()


@contextmanager
def freeze_training_mode(model: nn.Module) -> Iterator[None]:
    """Inside, `training` is a constant, so TorchScript skips the code of the other mode.

    Args:
        model: any module.
    """
    classes: set[Any] = {type(module) for module in model.modules()}
    before = {each: each.__dict__.get("__constants__") for each in classes}
    for each in classes:
        each.__constants__ = [*getattr(each, "__constants__", ()), "training"]
    try:
        yield
    finally:
        for each, constants in before.items():
            if constants is None:
                del each.__constants__
            else:
                each.__constants__ = constants


def _make_class(fields: Mapping[str, type | str]) -> type:
    """TorchScript reads the text of a class, so this one is written and not put together."""
    kinds = {name: _name(kind) for name, kind in fields.items()}
    wrong = [name for name, kind in kinds.items() if kind not in _KINDS.values()]
    if wrong or not fields:
        raise ArgumentError(
            f"Fields {wrong or '{}'}: give the name and the type of each, torch.Tensor, Boxes or "
            "RotatedBoxes."
        )
    number = next(_numbers)
    parts = dict.fromkeys(("arguments", "starts", "claims", *_LINES), "")
    # Inside of the class TorchScript does not know the defaults yet.
    parts["nothing"] = ", None" * len(kinds)
    text = ""
    for i, (name, kind) in enumerate(kinds.items()):
        is_tensor = kind == "Tensor"
        facts = {"name": name, "i": i, "tensor": "" if is_tensor else ".tensor"}
        facts["cat"] = "torch.cat" if is_tensor else f"value_{i}.cat"
        text += _FIELD.format(name=name, kind=kind)
        parts["arguments"] += f", {name}: Optional[{kind}] = None"
        parts["starts"] += f"        self._{name} = {name}\n"
        parts["claims"] += f'        if name == "{name}":\n'
        parts["claims"] += f"            return self._{name} is not None\n"
        for key, line in _LINES.items():
            parts[key] += f"        value_{i} = self._{name}\n        if value_{i} is not None:\n"
            parts[key] += f"            {line.format(**facts)}\n"
    return _read_class(f"ScriptedInstances{number}", _CLASS.format(number=number, **parts) + text)


def _name(kind: type | str) -> str:
    return kind if isinstance(kind, str) else _KINDS.get(kind, repr(kind))


def _read_class(name: str, text: str) -> type:
    file = f"<{name}>"
    module = ModuleType(f"{__name__}.{name}")
    names: dict[str, Any] = {"torch": torch, "Optional": Optional}
    names |= {kind: each for each, kind in _KINDS.items()}
    vars(module).update(names, __file__=file)
    exec(compile(text, file, "exec"), vars(module))
    # Where `inspect`, and so TorchScript, looks for the text.
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    sys.modules[module.__name__] = module
    made: Any = vars(module)[name]
    made.from_instances = staticmethod(partial(_from_instances, made))
    return cast(type, made)


def _from_instances(made: Any, instances: Instances) -> Any:
    """The same fields, copied, as an object of a made class."""
    scripted = made(instances.image_size)
    for name, value in instances.get_fields().items():
        setattr(scripted, name, copy.deepcopy(value))
    return scripted
