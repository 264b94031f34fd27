"""The commands that the documents show are ones that d2lite understands."""

import re
import shlex
from pathlib import Path

import pytest

from d2lite.commands import COMMANDS as KNOWN
from d2lite.commands.program import load
from d2lite.config import find_config_file, get_cfg
from d2lite.projects import add_project_configs

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "projects").glob("*/README.md")),
]
# In the table of results and in sentences, commands are in backticks.
SHOWN = re.compile(r"^ *(d2lite [^`\n]+)$|`(d2lite [^`\n]+)`", re.MULTILINE)


def commands_of(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for match in SHOWN.finditer(text):
        yield (match[1] or match[2]).partition("  #")[0].strip()


# Files that the reader is to have.
OF_THE_READER = re.compile(r"CONFIG$|X$|my|output/|converted/")
# An option in a sentence, such as `SOLVER.BASE_LR 0.01`, or several.
OPTIONS = re.compile(r"`((?:[A-Z][A-Z0-9_]*\.)+[A-Z0-9_]+ [^`\n]+)`")

COMMANDS = [
    pytest.param(command, id=f"{page.relative_to(ROOT)}: {command[:60]}")
    for page in PAGES
    for command in commands_of(page)
]


def test_documents_show_commands():
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_a_shown_command_is_understood(command):
    words = shlex.split(command)[1:]
    words = [word for word in words if word != "..."]
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in KNOWN), None)
    if name is None:
        assert words[0] in ("--help", "--version", "COMMAND"), command
        return
    rest = words[len(name.split()) :]
    if rest:
        args = load(name).build_parser().parse_args(rest)
        config = getattr(args, "config_file", None)
        if config and not OF_THE_READER.match(config):
            assert Path(find_config_file(config)).is_file()


@pytest.fixture(scope="module")
def all_keys():
    cfg = get_cfg()
    add_project_configs(cfg)
    return cfg


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_a_page_gives_are_accepted(page, all_keys):
    """A value of another type, or a key that was renamed, would stop the reader's run."""
    for options in OPTIONS.findall(page.read_text(encoding="utf-8")):
        all_keys.clone().merge_from_list(shlex.split(options))


def test_pages_give_options():
    assert sum(len(OPTIONS.findall(page.read_text(encoding="utf-8"))) for page in PAGES) > 50
