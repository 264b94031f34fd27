"""Augmentations by name: one line of configuration, written like a call, becomes an object.

    RandomApply(RandomRotation(angle=(-10, 10)), prob=0.3)

Names are those of AUGMENTATION_REGISTRY; arguments are literals, other augmentations and lists of
both. The text is read as syntax and never run.
"""

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from d2lite.data import transforms as T
from d2lite.utils.errors import ConfigError
from d2lite.utils.registry import Registry

from .albumentations_bridge import Albumentations, load_albumentations
from .copy_paste import CopyPaste
from .mixing import MixingAugmentation, WholeImageAugmentation
from .mixup import MixUp
from .mosaic import Mosaic

AUGMENTATION_REGISTRY = Registry("AUGMENTATION")

Step = T.Augmentation | WholeImageAugmentation

for _name in T.__all__:
    _kind = getattr(T, _name)
    if (
        isinstance(_kind, type)
        and issubclass(_kind, T.Augmentation)
        and _kind not in (T.Augmentation, T.DrawnByBatch)
    ):
        AUGMENTATION_REGISTRY.register(_kind)
for _kind in (Albumentations, CopyPaste, MixUp, Mosaic):
    AUGMENTATION_REGISTRY.register(_kind)


def read_augmentation(text: str, defaults: Mapping[str, Mapping[str, Any]] | None = None) -> Step:
    """The augmentation that a text names.

    Args:
        text: a name, or a name with arguments in brackets. `prob=...` is understood everywhere:
            what has no such argument is wrapped into RandomApply.
        defaults: name -> arguments that count if the text gives that name none.

    Raises:
        ConfigError: for a text that is no such call, or arguments that do not fit.
        UnknownNameError: for a name that is not registered.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        made = _Reader(AUGMENTATION_REGISTRY.get, defaults or {}).value(tree)
    except SyntaxError as err:
        raise ConfigError(
            f"INPUT.AUGMENTATIONS: {text!r} cannot be read. Write a name with arguments, as in "
            "'RandomRotation(angle=(-10, 10))'."
        ) from err
    except ConfigError:
        raise
    except (TypeError, ValueError) as err:
        raise ConfigError(f"INPUT.AUGMENTATIONS: {text}: {err}") from err
    if not isinstance(made, (T.Augmentation, WholeImageAugmentation)):
        raise ConfigError(f"INPUT.AUGMENTATIONS: {text!r} is not an augmentation but {made!r}.")
    return made


class _Reader:
    """Makes values of syntax; what a name means is the caller's."""

    def __init__(
        self, find: Callable[[str], Any], defaults: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.find, self.defaults = find, defaults

    def value(self, node: ast.expr) -> Any:
        """The object or literal that a node stands for."""
        if isinstance(node, ast.Name):
            return self._make(node.id, [], {})
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            inner = self
            if node.func.id == "Albumentations":
                inner = _Reader(_find_in_albumentations, {})
            if any(keyword.arg is None for keyword in node.keywords):
                raise ValueError("** cannot be read; write the arguments out.")
            named = {str(keyword.arg): inner.value(keyword.value) for keyword in node.keywords}
            return self._make(node.func.id, [inner.value(arg) for arg in node.args], named)
        if isinstance(node, (ast.List, ast.Tuple)):
            kind = list if isinstance(node, ast.List) else tuple
            return kind(self.value(item) for item in node.elts)
        return ast.literal_eval(node)

    def _make(self, name: str, given: list[Any], named: dict[str, Any]) -> Any:
        kind = self.find(name)
        if not given and not named:
            named = dict(self.defaults.get(name, {}))
        is_step = issubclass(kind, (T.Augmentation, WholeImageAugmentation))
        prob = None
        if is_step and "prob" not in inspect.signature(kind).parameters:
            prob = named.pop("prob", None)
        for part in _flat([*given, *named.values()]):
            if is_step and isinstance(part, WholeImageAugmentation):
                raise ValueError(
                    f"{type(part).__name__} cannot stand inside {name}; it is a step of its own"
                    + (", with its own prob." if isinstance(part, MixingAugmentation) else ".")
                )
        made = kind(*given, **named)
        if prob is None:
            return made
        if isinstance(made, WholeImageAugmentation):
            raise ValueError(f"{name} takes no prob; give it to the transforms inside, as p=...")
        return T.RandomApply(made, prob)


def _find_in_albumentations(name: str) -> Any:
    module = load_albumentations()
    found = getattr(module, name, None)
    if name.startswith("_") or not isinstance(found, type):
        raise ValueError(f"albumentations {module.__version__} has no {name!r}.")
    return found


def _flat(values: list[Any]) -> list[Any]:
    parts = []
    for value in values:
        parts += _flat(list(value)) if isinstance(value, (list, tuple)) else [value]
    return parts
