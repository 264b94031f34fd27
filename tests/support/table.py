"""docs/support.md: every kind of model with every facility, written and read."""

from pathlib import Path

from .facilities import FACILITIES
from .models import MODELS

PAGE = Path(__file__).parents[2] / "docs/support.md"
WORKS = "yes"
Row = dict[str, str]

_HEAD = """# What works with which model

Each cell was tried on a small model of its kind (`pytest -m slow tests/support`;
`python -m tests.support` writes this page): "yes" works and is tested, a number is a note below.
Export has [a table of its own](export.md).

"""


def page(rows: dict[str, Row]) -> str:
    """The page, with a numbered note for each text that is not "yes"."""
    notes: list[str] = []

    def shown(text: str) -> str:
        if text == WORKS:
            return text
        if text not in notes:
            notes.append(text)
        return f"({notes.index(text) + 1})"

    lines = ["| model | " + " | ".join(FACILITIES) + " |", "|---" * (len(FACILITIES) + 1) + "|"]
    for name in MODELS:
        cells = [shown(rows[name][facility]) for facility in FACILITIES]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    listed = "".join(f"{number}. {text}\n" for number, text in enumerate(notes, 1))
    return f"{_HEAD}" + "\n".join(lines) + f"\n\n{listed}"


def read(text: str) -> dict[str, Row]:
    """The rows of a page, each cell with the text of its note."""
    lines = text.splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    listed = [line.partition(". ") for line in lines if line[:1].isdigit()]
    notes = {f"({number})": note for number, _, note in listed}
    names = table[0][1:]
    return {
        row[0]: {
            facility: notes.get(cell, cell) for facility, cell in zip(names, row[1:], strict=True)
        }
        for row in table[1:]
    }
