"""The command `d2lite`: find a command by its name, read its options, run it."""

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from d2lite import __version__
from d2lite.utils.other_words import COMMANDS as OTHER_COMMANDS
from d2lite.utils.other_words import called_here
from d2lite.utils.run_tool import run_tool
from d2lite.utils.streams import guard_streams

from .table import COMMANDS

_HEAD = """\
usage: d2lite COMMAND [OPTIONS]     d2lite COMMAND --help     d2lite --version
"""
_EXAMPLES = """\
examples:
  d2lite train --config-file quick_start.yaml
  d2lite predict output/quick_start photos/
"""


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the words name.

    Args:
        words: what follows `d2lite` on the command line; None for that of this process.

    Raises:
        SystemExit: always; 0 for success, 1 where a command has found faults, 2 for a mistake.
    """
    guard_streams()
    given = list(sys.argv[1:] if words is None else words)
    if not given or given[0] in ("-h", "--help"):
        sys.stdout.write(_top_help())
        raise SystemExit(0 if given else 2)
    if given[0] == "--version":
        sys.stdout.write(f"d2lite {__version__}\n")
        raise SystemExit(0)
    # The longer name first: a command of a group has two words.
    names = [" ".join(given[:2]), given[0]]
    name = next((name for name in names if name in COMMANDS), None)
    if name is not None:
        rest = given[len(name.split()) :]
        run_tool(lambda: _run(load(name), f"d2lite {name}", rest))
    raise SystemExit(_unknown(given, list(COMMANDS)))


def as_script(name: str, file: str) -> Callable[[], int | None]:
    """The main function of a script in tools/ that is a command under another name."""
    program = f"python tools/{Path(file).name}"

    def run() -> int | None:
        return _run(load(name), program, None, old_program=f"d2lite {name}")

    return run


def whole_parser() -> argparse.ArgumentParser:
    """One parser of all commands, from which shells' completion is made."""
    parser = argparse.ArgumentParser(prog="d2lite")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers()
    groups: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for name in COMMANDS:
        group, _, member = name.partition(" ")
        if member and group not in groups:
            groups[group] = commands.add_parser(group, help="datasets").add_subparsers()
        level = groups[group] if member else commands
        level.add_parser(
            member or group,
            parents=[load(name).build_parser()],
            add_help=False,
            help=_summary(name),
        )
    return parser


def load(name: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(COMMANDS[name])


def _run(
    command: ModuleType, program: str, words: Sequence[str] | None, *, old_program: str = ""
) -> int | None:
    parser: argparse.ArgumentParser = command.build_parser()
    parser.prog = program
    if old_program:
        parser.description = (parser.description or "").replace(old_program, program)
        parser.epilog = (parser.epilog or "").replace(old_program, program)
    parser.error = lambda message: _refuse(parser, message)  # type: ignore[method-assign]
    _refuse_other_words(parser, sys.argv[1:] if words is None else words)
    status: int | None = command.main(parser.parse_args(words))
    return status


def _refuse_other_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """End with what `epochs=3` and the like, as Ultralytics has options, are called here."""
    if any(word.endswith(".py") for word in words):
        return  # of a Python config or another script, which may have such keys
    found = [word for word in words if re.match(r"[a-z]\w*=", word) and called_here(word)]
    if found and not any(Path(word).exists() for word in found):
        width = max(map(len, found))
        rows = "".join(f"  {word:<{width}}  {called_here(word)}\n" for word in found)
        parser.exit(
            2,
            "error: options are KEY VALUE pairs or --NAME VALUE. What other libraries call\n"
            f"{rows}`{parser.prog} --help` lists the options, docs/from_ultralytics.md explains.\n",
        )


def _refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """End with the message of argparse and, for an option that is not known, the nearest one."""
    options = [word for action in parser._actions for word in action.option_strings]
    wrong = [word for word in message.split()[2:] if word.startswith("--")]
    near = [difflib.get_close_matches(word, options, n=1) for word in wrong]
    here = [f"{word} is {name} here" for word in wrong if (name := called_here(word))]
    if message.startswith(("unrecognized", "ambiguous")) and here:
        parser.exit(2, f"error: {message}: {'; '.join(here)}.\n")
    guess = ", ".join(one[0] for one in near if one)
    mean = f". Did you mean {guess}?" if message.startswith("unrecognized") and guess else "."
    parser.exit(2, f"error: {message}{mean} `{parser.prog} --help` lists the options.\n")


def _summary(name: str) -> str:
    return (load(name).__doc__ or "").partition("\n")[0].rstrip(".")


def _table(names: Sequence[str]) -> str:
    width = max(map(len, names))
    return "".join(f"  {name:<{width}}  {_summary(name)}\n" for name in names)


def _group(name: str) -> str:
    return name.partition(" ")[0] if " " in name else ""


def _top_help() -> str:
    rows: dict[str, str] = {}
    for name in COMMANDS:
        group, _, member = name.partition(" ")
        if member:
            rows[group] = f"{rows[group]}, {member}" if group in rows else f"Datasets: {member}"
        else:
            rows[name] = _summary(name)
    width = max(map(len, rows))
    lines = "".join(f"  {name:<{width}}  {text}\n" for name, text in rows.items())
    return f"{_HEAD}\n{lines}\n{_EXAMPLES}"


def _unknown(given: Sequence[str], names: Sequence[str]) -> int:
    """Say which commands there are, those of a group if one was named; return the status."""
    members = [name for name in names if _group(name) == given[0]]
    is_help = len(given) > 1 and given[1] in ("-h", "--help")
    if members and (len(given) == 1 or is_help):
        text = f"usage: d2lite {given[0]} COMMAND [OPTIONS]\n\n{_table(members)}"
        (sys.stdout if is_help else sys.stderr).write(text)
        return 0 if is_help else 2
    wanted = " ".join(given[:2]) if members else given[0]
    near = difflib.get_close_matches(wanted, names, n=1)
    if given[0] in OTHER_COMMANDS:
        near = [OTHER_COMMANDS[given[0]]]
    known = members or [*dict.fromkeys(_group(name) or name for name in names)]
    sys.stderr.write(
        f"error: d2lite has no command {wanted!r}"
        + (f"; did you mean {near[0]!r}?" if near else f". Known: {', '.join(known)}.")
        + "\n"
    )
    return 2
