"""The table of docs/datasets.md has every kind of dataset string, and nothing that is not one."""

import re
from pathlib import Path

from d2lite.data.converting import WRITERS
from d2lite.data.datasets.by_string.spec_string import KINDS, parse_spec

PAGE = Path(__file__).resolve().parents[2] / "docs/datasets.md"


def _rows(head):
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index(head) :].partition("\n\n")[0]
    return [[cell.strip() for cell in row.split(" | ")] for row in table.splitlines()[2:]]


def test_the_table_of_tools_has_the_form_of_every_kind():
    forms = [re.fullmatch("`(.+)`", row[2])[1] for row in _rows("| tool | export")]
    assert sorted(map(_plain, forms)) == sorted(_plain(kind.form) for kind in KINDS.values())
    for form in forms:
        assert parse_spec(form).kind in KINDS


def _plain(form):
    """A form without the name of its file."""
    return re.sub(r":[A-Z]+(\.[a-z]+)?", ":", form)


def test_the_table_of_conversions_has_every_format():
    assert [row[0].strip("| `") for row in _rows("| to | keeps")] == list(WRITERS)


def test_options_of_the_page_are_those_of_strings():
    options = {row[0].strip("| `").split("=")[0] for row in _rows("| option | for")}
    assert options == {o for kind in KINDS.values() for o in kind.options}
