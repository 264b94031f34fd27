"""The commands that the documents show are ones that d2lite understands."""

import re
import shlex
from pathlib import Path

import pytest

from d2lite.commands import known_commands
from d2lite.commands.program import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# In the table of results and in sentences, commands are in backticks.
SHOWN = re.compile(r"^ *(d2lite [^`\n]+)$|`(d2lite [^`\n]+)`", re.MULTILINE)


def commands_of(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for match in SHOWN.finditer(text):
        yield (match[1] or match[2]).partition("  #")[0].strip()


COMMANDS = [
    pytest.param(command, id=f"{page.name}: {command[:60]}")
    for page in PAGES
    for command in commands_of(page)
]


def test_documents_show_commands():
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_a_shown_command_is_understood(command):
    words = shlex.split(command)[1:]
    words = [word for word in words if word != "..."]
    known = known_commands()
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in known), None)
    if name is None:
        assert words[0] in ("--help", "--version", "COMMAND"), command
        return
    rest = words[len(name.split()) :]
    if rest:
        load(name).build_parser().parse_args(rest)
