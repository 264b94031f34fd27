"""Reading YAML configs: the safe loader alone, and the chain of `_BASE_` files."""

import logging
import os
from pathlib import Path
from typing import Any

import yaml

from d2lite.utils.errors import ConfigError, MissingFileError, UserError
from d2lite.utils.file_io import PathManager
from d2lite.utils.nested import MAX_TEXT, refuse_repetition

from .locate import config_of_detectron2
from .safe_eval import safe_eval

logger = logging.getLogger(__name__)

BASE_KEY = "_BASE_"
_EVAL_TAG = "tag:yaml.org,2002:python/object/apply:eval"

Layer = tuple[str, dict[str, Any]]


class _Loader(yaml.SafeLoader):
    """The safe loader, plus the one tag that published configs need."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = getattr(key_node, "value", None)
            if isinstance(key, str) and key in seen and key != "<<":
                logger.warning(
                    "%s, line %d: %s stands twice in one section; the later one counts",
                    node.start_mark.name,
                    key_node.start_mark.line + 1,
                    key,
                )
            seen.add(str(key))
        return super().construct_mapping(node, deep=deep)


def _computed(loader: _Loader, node: yaml.Node) -> Any:
    items = loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else []
    if len(items) != 1 or not isinstance(items[0], str):
        raise _tag_error(node, 'needs one text, as in ["[2**x for x in [5, 6]]"]')
    try:
        return safe_eval(items[0])
    except ValueError as err:
        raise _tag_error(node, f"{err}; only arithmetic on literals is computed") from err


def _refused(loader: _Loader, node: yaml.Node) -> Any:
    raise _tag_error(node, "tags are refused because they can run code; write the value itself")


def _tag_error(node: yaml.Node, why: str) -> ConfigError:
    tag = str(node.tag).replace("tag:yaml.org,2002:", "!!")
    mark = node.start_mark
    return ConfigError(f"{mark.name}, line {mark.line + 1}: the YAML tag {tag}: {why}.")


_Loader.add_constructor(_EVAL_TAG, _computed)
_Loader.add_constructor(None, _refused)


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """Sections and values that a YAML text holds.

    Args:
        text: the YAML.
        name: what to call it in messages.

    Raises:
        ConfigError: if it cannot be read, holds a refused tag, or is not a mapping of keys.
    """
    if len(text) > MAX_TEXT:
        raise ConfigError(f"{name} has {len(text)} characters, and configs up to {MAX_TEXT}.")
    try:
        loader = _Loader(text)
        loader.name = name
        try:
            content = loader.get_single_data()
        finally:
            loader.dispose()
        refuse_repetition(content)
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as err:
        # Also of values that look like a date or a number and are not.
        raise ConfigError(f"{name} is not valid YAML: {err}") from err
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{name} holds {type(content).__name__} at the top, expected sections and keys such as"
            " 'MODEL:' (is this the right file?)."
        )
    return content


def read_layers(path: str | os.PathLike[str]) -> list[Layer]:
    """A file and everything it inherits from, the most general first.

    Args:
        path: a YAML file, local or an address that `PathManager` knows; for a file of detectron2's
            that is missing, the one that d2lite carries is read.

    Returns:
        (file, its own content without `_BASE_`) for each file of the chain.

    Raises:
        MissingFileError: if a file is missing; the text names the chain that led there.
        ConfigError: if a file cannot be read or inherits from itself.
    """
    path = os.fspath(path)
    carried = None if os.path.exists(path) else config_of_detectron2(path)
    if carried is not None:
        logger.info(f"Config file {path}: no such file; d2lite's own {carried} is taken.")
    return _layers(str(carried or path), ())


def _layers(path: str, chain: tuple[str, ...]) -> list[Layer]:
    local = _local(path, chain)
    chain = (*chain, path)
    try:
        text = local.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} cannot be read as a text file: {err}") from err
    content = parse_yaml(text, path)
    bases = content.pop(BASE_KEY, [])
    layers: list[Layer] = []
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or not base:
            raise ConfigError(f"{path}: {BASE_KEY} is {base!r}, expected the path of a file.")
        base_path = _beside(path, base)
        if _same_file(base_path, chain):
            raise ConfigError(
                f"{BASE_KEY} goes round in a circle: {_arrows((*chain, base_path))}. "
                f"Remove {BASE_KEY} from one of them."
            )
        layers += _layers(base_path, chain)
    return [*layers, (path, content)]


def _local(path: str, chain: tuple[str, ...]) -> Path:
    local = Path(PathManager.get_local_path(path) if "://" in path else path)
    if local.is_file():
        return local
    found = "a folder" if local.is_dir() else "no such file"
    if not chain:
        raise MissingFileError(f"Config file {path}: {found}.")
    raise MissingFileError(
        f"{chain[-1]} inherits from {path} ({BASE_KEY}): {found}. "
        f"Chain: {_arrows((*chain, path))}. Paths are relative to the file that names them."
    )


def _beside(path: str, base: str) -> str:
    """The path of `base`, which the file `path` names."""
    if "://" in base or os.path.isabs(base):
        return base
    if base.startswith("~"):
        return os.path.expanduser(base)
    if "://" in path:
        return f"{path.rpartition('/')[0]}/{base}"
    return os.path.normpath(os.path.join(os.path.dirname(path), base))


def _same_file(path: str, chain: tuple[str, ...]) -> bool:
    return os.path.realpath(path) in {os.path.realpath(earlier) for earlier in chain}


def _arrows(paths: tuple[str, ...]) -> str:
    return " -> ".join(paths)
