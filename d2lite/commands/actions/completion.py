"""What `d2lite completion` does: a shell's script with the names that can be completed."""

import argparse
from collections.abc import Iterator
from typing import Any

import shtab

from d2lite.config import get_cfg
from d2lite.config.locate import carried_configs
from d2lite.data import DatasetCatalog
from d2lite.projects import add_project_configs

# Each is a function of the script; what it offers besides the files of the folder.
_CONFIGS, _DATASETS, _KEYS = "_d2lite_configs", "_d2lite_datasets", "_d2lite_keys"
# Name of the parsed option -> the function that completes it.
_COMPLETED = {"config_file": _CONFIGS, "specs": _DATASETS, "opts": _KEYS}


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script of a shell.

    Args:
        parser: the whole command with its sub-commands; changed in place.
        shell: "bash", "zsh" or "tcsh".
    """
    for one in _parsers(parser):
        for action in one._actions:
            function = _COMPLETED.get(action.dest)
            if function and not action.choices:
                # tcsh's scripts have no functions: there, files alone are completed.
                action.complete = {"bash": function, "zsh": function, "tcsh": "f"}  # type: ignore[attr-defined]
    make = {"bash": _bash_function, "zsh": _zsh_function}.get(shell)
    functions: Any = "" if make is None else {shell: "\n".join(make(*row) for row in _words())}
    return str(shtab.complete(parser, shell, preamble=functions))


def _words() -> list[tuple[str, list[str]]]:
    cfg = get_cfg()
    add_project_configs(cfg)
    addresses = [*carried_configs(), *carried_configs(pattern="*.py")]
    configs = {address.rpartition("/")[2] for address in addresses}
    return [
        (_CONFIGS, sorted(configs)),
        (_DATASETS, sorted(DatasetCatalog.list())),
        (_KEYS, [key for key, _ in cfg.keys_and_values()]),
    ]


def _bash_function(name: str, words: list[str]) -> str:
    return f'{name}() {{ compgen -W "{" ".join(words)}" -- "$1"; compgen -f -- "$1"; }}'


def _zsh_function(name: str, words: list[str]) -> str:
    return f"{name}() {{ compadd -- {' '.join(words)}; _files; }}"


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _parsers(inner)
