"""CfgNode: a yacs node that inherits from files and knows where each value came from."""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from yacs.config import CfgNode as _BaseNode

from d2lite.utils.errors import ConfigError, TakenNameError, UnknownKeyError
from d2lite.utils.other_words import called_here

from .messages import (
    VERSION,
    did_you_mean,
    near_keys,
    near_names,
    refuse_assignments,
    refuse_flags,
    version_text,
)
from .old_keys import RENAMED, is_of_another_model, with_present_names
from .values import MisfitError, describe, fit_value, is_plain, read_literal
from .yaml_files import parse_yaml, read_layers

_ORIGINS = "__origins__"
_NULLABLE = "__nullable__"
# Keys of DATASETS that code often gives a single name, as in ("my_set") for ("my_set",).
_SET_NAMES = ("TRAIN", "TEST")
# Whole numbers that code may compute by a division, as in cfg.SOLVER.IMS_PER_BATCH = 16 / 2.
_WHOLE_NAMES = (
    *("IMS_PER_BATCH", "MAX_ITER", "WARMUP_ITERS", "CHECKPOINT_PERIOD", "EVAL_PERIOD"),
    *("NUM_WORKERS", "NUM_CLASSES", "BATCH_SIZE_PER_IMAGE", "DETECTIONS_PER_IMAGE"),
)


class _Change(NamedTuple):
    node: "CfgNode"
    name: str
    value: Any
    origin: str


class CfgNode(_BaseNode):  # type: ignore[misc]  # yacs ships no types
    """A section of the configuration: keys with values, and further sections.

    Every key has an origin: "default" while nobody has set it, else "file PATH", "command line",
    "code" (an assignment in Python) or "derived: WHY". If one of the keys or
    values of a merge is wrong, it raises and changes nothing.

    Args:
        init_dict: keys and values; dicts become sections.
        key_list: names that lead here from the root, for messages.
        new_allowed: whether a merge may add keys.
    """

    def __init__(
        self,
        init_dict: Mapping[str, Any] | None = None,
        key_list: list[str] | None = None,
        new_allowed: bool = False,
    ) -> None:
        super().__init__(None, key_list, new_allowed)
        self.__dict__[_ORIGINS] = {}
        self.__dict__[_NULLABLE] = set()
        path = list(key_list or [])
        for name, value in (init_dict or {}).items():
            if isinstance(value, Mapping) and not isinstance(value, CfgNode):
                value = type(self)(value, [*path, str(name)], new_allowed)
            self[name] = copy.deepcopy(value)

    # ------------------------------------------------------------------ single keys

    def __getattr__(self, name: str) -> Any:
        """The value or section called `name`."""
        if name in self:
            return self[name]
        # hasattr() comes here for dunder names often; only keys deserve the search for near ones.
        near = [] if name.startswith("_") else near_names(name, self)
        raise AttributeError(f"the config has no key {name!r} here.{did_you_mean(near)}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a key, or add one; the origin of a key that was there becomes "code"."""
        if name in _SET_NAMES and isinstance(value, str) and isinstance(self.get(name), tuple):
            value = (value,)
        if name in _WHOLE_NAMES and isinstance(value, float) and value.is_integer():
            value = int(value)
        if name.startswith("COMPUTED_") and self.get(name, value) != value:
            raise TakenNameError(
                f"{name} was computed as {self[name]!r}, now as {value!r}; a key of such a name "
                "takes one value alone."
            )
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a key, or add one; the origin of a key that was there becomes "code"."""
        if self.is_frozen():
            raise AttributeError(
                f"The config is frozen, {name} cannot be set; call cfg.defrost() first."
            )
        if not isinstance(name, str) or name in self.__dict__:
            raise ConfigError(f"{name!r} cannot be the name of a key.")
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, _BaseNode) and not isinstance(value, CfgNode):
            # Projects make their sections by yacs's own class, too.
            value = CfgNode(value, new_allowed=value.is_new_allowed())
        if not isinstance(value, CfgNode) and not is_plain(value):
            raise ConfigError(
                f"{name} cannot hold {describe(value)}; expected a section, or text, numbers, "
                "booleans, None, and lists and tuples of them."
            )
        self._store(name, value, "code" if name in self else "default")

    def __delitem__(self, name: str) -> None:
        """Remove a key or section."""
        if self.is_frozen():
            raise AttributeError(
                f"The config is frozen, {name} cannot be removed; call cfg.defrost() first."
            )
        super().__delitem__(name)

    def _store(self, name: str, value: Any, origin: str) -> None:
        """Set a key whatever the state of the node, and note the origin."""
        dict.__setitem__(self, name, value)
        origins, nullable = self.__dict__[_ORIGINS], self.__dict__[_NULLABLE]
        if value is None:
            nullable.add(name)
        if isinstance(value, CfgNode):
            if origin != "default":
                for node, leaf in value._leaves():
                    node.__dict__[_ORIGINS].setdefault(leaf, origin)
        elif origin == "default":
            origins.pop(name, None)
        else:
            origins[name] = origin

    # ------------------------------------------------------------------ origins

    def origin(self, key: str) -> str:
        """Where the value of a key came from.

        Args:
            key: dotted name from this node, for instance "MODEL.DEVICE".

        Returns:
            "default", "file PATH", "command line", "code" or "derived: WHY".

        Raises:
            ConfigError: if there is no such key, or it names a section.
        """
        node, name = self._find(key, key)
        if isinstance(node[name], CfgNode):
            raise ConfigError(f"{key} is a section; ask for one of its keys.")
        return str(node.__dict__[_ORIGINS].get(name, "default"))

    def is_default(self, key: str) -> bool:
        """Whether nobody has set the key, not even to the value it had."""
        return self.origin(key) == "default"

    def derive(self, key: str, value: Any, why: str) -> None:
        """Set a key to what follows from something else; works on a frozen config too.

        Args:
            key: dotted name from this node.
            value: of the key's type.
            why: what it follows from, a few words.
        """
        origin = f"derived: {why}"
        for change in self._plan([(key, value)], origin, unquote=False):
            change.node._store(change.name, change.value, origin)

    def has_key(self, key: str) -> bool:
        """Whether there is a key or section of this dotted name."""
        node, name = self._section_of(key)
        return node is not None and name in node

    def remove(self, key: str) -> None:
        """Remove a key, and the sections that are empty then.

        Args:
            key: dotted name from this node.

        Raises:
            UnknownKeyError: if there is no such key.
        """
        node, name = self._find(key, key)
        del node[name]
        section = key.rpartition(".")[0]
        if section and not node:
            self.remove(section)

    def keys_and_values(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """All keys below this node as dotted names, with their values, in order."""
        for name, value in self.items():
            if isinstance(value, CfgNode):
                yield from value.keys_and_values(f"{prefix}{name}.")
            else:
                yield prefix + name, value

    def _leaves(self) -> Iterator[tuple["CfgNode", str]]:
        for name, value in self.items():
            if isinstance(value, CfgNode):
                yield from value._leaves()
            else:
                yield self, name

    # ------------------------------------------------------------------ merging

    @classmethod
    def load_yaml_with_base(
        cls, filename: str | os.PathLike[str], allow_unsafe: bool = False
    ) -> dict[str, Any]:
        """Content of a YAML file over that of the files it inherits from.

        Args:
            filename: the file; its `_BASE_` (a path or a list of them) is relative to it,
                absolute, or starts with `~`.
            allow_unsafe: has no effect; files are only ever read by the safe loader.
        """
        merged: dict[str, Any] = {}
        for _, content in read_layers(filename):
            _overlay(merged, content)
        return merged

    def merge_from_file(
        self, cfg_filename: str | os.PathLike[str], allow_unsafe: bool = True
    ) -> None:
        """Take over the values of a YAML file and of the files it inherits from.

        Args:
            cfg_filename: see `load_yaml_with_base`.
            allow_unsafe: has no effect; files are only ever read by the safe loader.

        Raises:
            MissingFileError: if the file or one it inherits from is missing.
            ConfigError: for an unknown key or a value of the wrong type.
        """
        trial = self.clone()
        layers = [
            (path, with_present_names(content, f"file {path}"))
            for path, content in read_layers(cfg_filename)
        ]
        for path, content in layers:
            trial._take(content, f"file {path}")
        for path, content in layers:
            self._take(content, f"file {path}")

    def _take(self, content: Mapping[str, Any], origin: str) -> None:
        self._apply(self._plan(_flatten(content, self), origin, unquote=False))

    def merge_from_list(self, cfg_list: Sequence[Any], origin: str = "command line") -> None:
        """Take over values given as KEY, VALUE, KEY, VALUE, ...

        Args:
            cfg_list: dotted keys and their values; texts are read as Python literals where they
                spell one, those for a section also as YAML.
            origin: what to note as the origin of the values.

        Raises:
            ConfigError: for a key without a value, an unknown key or a value of the wrong type.
        """
        refuse_flags(cfg_list[::2])
        refuse_assignments(cfg_list[::2])
        if len(cfg_list) % 2:
            raise ConfigError(
                "Options come in pairs KEY VALUE, but the number of words is odd: "
                f"{' '.join(map(str, cfg_list))}. A KEY has no VALUE, perhaps the last, "
                f"{cfg_list[-1]!r}; or a value with spaces or brackets needs quotes."
            )
        pairs: list[tuple[str, Any]] = []
        for key, value in zip(map(str, cfg_list[::2]), cfg_list[1::2], strict=True):
            section, name = self._section_of(key)
            target = None if section is None else section.get(name)
            content = _literal(value)
            is_section = isinstance(target, CfgNode)
            if is_section and isinstance(content, str) and content.startswith("{"):
                content = parse_yaml(content, f"{origin}: {key}")
            if isinstance(target, CfgNode) and isinstance(content, Mapping):
                pairs += _flatten(content, target, f"{key}.")
            else:
                pairs.append((key, value))
        self._apply(self._plan(pairs, origin, unquote=True))

    def merge_from_other_cfg(self, cfg_other: Mapping[str, Any]) -> None:
        """Take over all values of another config; their origins come along where they have one."""
        pairs = _flatten(cfg_other, self)
        changes = self._plan(pairs, "code", unquote=False)
        if isinstance(cfg_other, CfgNode):
            known = {key: cfg_other.origin(key) for key, _ in cfg_other.keys_and_values()}
            origins = [known.get(key, "default") for key, _ in pairs]
            changes = [
                change._replace(origin=change.origin if origin == "default" else origin)
                for change, origin in zip(changes, origins, strict=True)
            ]
        self._apply(changes)

    def _plan(
        self, pairs: Iterable[tuple[str, Any]], origin: str, *, unquote: bool
    ) -> list[_Change]:
        """Check keys and values against this config, without changing it."""
        changes = []
        for key, value in pairs:
            if key == "VERSION" and str(value) != str(VERSION):
                raise ConfigError(version_text(value, origin))
            if self._is_retired(key):
                continue
            if not self.has_key(key) and is_of_another_model(key, value, origin):
                continue
            node, name = self._find(key, origin)
            if name not in node:
                fitted = _literal(value)
                if isinstance(fitted, Mapping):
                    fitted = CfgNode(fitted, new_allowed=True)
            else:
                fitted = _fitted(node, name, key, value, origin, unquote=unquote)
            changes.append(_Change(node, name, fitted, origin))
        return changes

    @staticmethod
    def _apply(changes: Iterable[_Change]) -> None:
        for node, name, value, origin in changes:
            if node.is_frozen():
                raise AttributeError("The config is frozen; call cfg.defrost() before merging.")
            node._store(name, value, origin)

    def _is_retired(self, key: str) -> bool:
        """Whether the key was registered as deprecated in yacs; one that was renamed raises.

        Both messages are from yacs.
        """
        if self.key_is_renamed(key):
            try:
                self.raise_key_rename_error(key)
            except KeyError as err:
                raise UnknownKeyError(str(err.args[0])) from err
        return bool(self.key_is_deprecated(key))

    def _find(self, key: str, asker: str) -> tuple["CfgNode", str]:
        """The section that holds (or may take) the key, and the key's last name."""
        node, name = self._section_of(key)
        if node is None or not (name in node or node.is_new_allowed()):
            raise UnknownKeyError(self._unknown_text(key, asker))
        return node, name

    def _section_of(self, key: str) -> tuple["CfgNode | None", str]:
        *sections, name = key.split(".")
        node: Any = self
        for section in sections:
            node = node.get(section) if isinstance(node, CfgNode) else None
        return node if isinstance(node, CfgNode) else None, name

    def _unknown_text(self, key: str, asker: str) -> str:
        source = "" if asker == key else f"{asker}: "
        if key in RENAMED:
            return f"{source}{key} is a key of version 1; it is called {RENAMED[key]} now."
        if name := called_here(key):
            return f"{source}unknown config key {key}; it is {name} here."
        near = near_keys(key, [name for name, _ in self.keys_and_values()])
        return f"{source}unknown config key {key}.{did_you_mean(near)}"

    # ------------------------------------------------------------------ copies and text

    def dump(self, **kwargs: Any) -> str:
        """The config as YAML, which loads back to an equal one.

        Args:
            **kwargs: handed to `yaml.safe_dump`.
        """
        return str(super().dump(**kwargs))

    @classmethod
    def _load_cfg_from_yaml_str(cls, str_obj: str) -> "CfgNode":
        return cls(parse_yaml(str_obj, "YAML text"))

    def __deepcopy__(self, memo: dict[int, Any]) -> "CfgNode":
        """A copy with the same origins; assigning the keys would mark each as set by code."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        for name, value in self.items():
            dict.__setitem__(twin, name, copy.deepcopy(value, memo))
        return twin

    def __copy__(self) -> "CfgNode":
        """A shallow copy with its own origins."""
        return _rebuild(type(self), dict(self), copy.deepcopy(self.__dict__))

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: like `__copy__`, so that origins travel to other processes."""
        return _rebuild, (type(self), dict(self), dict(self.__dict__))


def _rebuild(cls: type[CfgNode], items: dict[str, Any], state: dict[str, Any]) -> CfgNode:
    twin = cls.__new__(cls)
    twin.__dict__.update(state)
    dict.update(twin, items)
    return twin


def _flatten(
    content: Mapping[str, Any], into: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any]]:
    """Nested sections as (dotted key, value), as deep as `into` has the same sections."""
    pairs: list[tuple[str, Any]] = []
    for name, value in content.items():
        target = into.get(name)
        if isinstance(value, Mapping) and isinstance(target, CfgNode):
            pairs += _flatten(value, target, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def _literal(value: Any) -> Any:
    return read_literal(value) if isinstance(value, str) else value


def _overlay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            _overlay(below[name], value)
        else:
            below[name] = copy.deepcopy(value)


def _fitted(node: CfgNode, name: str, key: str, value: Any, origin: str, *, unquote: bool) -> Any:
    current = node[name]
    if isinstance(current, CfgNode):
        # A section with all its lines commented out reads as None and asks for nothing.
        if value is None:
            return current
        names = f" (with {', '.join(list(current)[:4])}, ...)" if current else ""
        raise ConfigError(
            f"{origin}: {key} is a section{names}, found the value {describe(value)}. Set one of "
            "its keys, or give it a dict."
        )
    nullable = name in node.__dict__[_NULLABLE]
    try:
        return fit_value(value, current, nullable=nullable, unquote=unquote)
    except MisfitError as err:
        raise ConfigError(
            f"{origin}: {key} is {describe(value)}, expected {err} like {describe(current)}."
        ) from err
