"""Tables of every kind of model in docs/support.md and docs/export.md, written and read."""

from collections.abc import Iterable
from pathlib import Path

from .facilities import FACILITIES
from .models import MODELS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "support.md"
EXPORT_PAGE = DOCS / "export.md"
EXPORT_HEADING = "## Each kind of model in each format\n"
WORKS = "yes"
Row = dict[str, str]

_HEAD = """# What works with which model

Each cell was tried on a small model of its kind (`pytest -m slow tests/support/test_support.py`;
`python -m tests.support` writes this page): "yes" works and is tested, a number is a note below.
Export has [a table of its own](export.md#each-kind-of-model-in-each-format).

"""
_EXPORT_HEAD = f"""{EXPORT_HEADING}
Small models of each kind, with random weights, exported in each format and compared with the model
(`pytest -m slow tests/support/test_exporting.py`; `python -m tests.support --export` writes this
section): images of three sizes, in batches of one and three, without objects, and after such an
image. Differences are the largest of the three files, of the 8 best detections: of scores, of boxes
and keypoints in pixels, and of masks as 1 - IoU; "equal pixels" is the smallest share of pixels of
the same class and segment. The model's images were resized by the data loader, those of a file by
the file. "MB" is the size of OpenVINO's files. A number in brackets is a note below.

"""


def table(rows: dict[str, Row], columns: Iterable[str]) -> str:
    """A table of the models, and a numbered note for each text that is not short."""
    notes: list[str] = []
    names = list(columns)

    def shown(text: str) -> str:
        if text == WORKS or text[:1].isdigit() or not text:
            return text
        if text not in notes:
            notes.append(text)
        return f"({notes.index(text) + 1})"

    lines = ["| model | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for model in MODELS:
        cells = [shown(rows[model][name]) for name in names]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    listed = "".join(f"{number}. {text}\n" for number, text in enumerate(notes, 1))
    return "\n".join(lines) + f"\n\n{listed}"


def page(rows: dict[str, Row]) -> str:
    """docs/support.md."""
    return _HEAD + table(rows, FACILITIES)


def export_section(text: str) -> tuple[str, str, str]:
    """docs/export.md: what is before the section of `export_page`, the section, and the rest."""
    before, _, rest = text.partition(EXPORT_HEADING)
    section, heading, after = rest.partition("\n## ")
    return before, section, heading + after


def export_page(text: str, rows: dict[str, Row], columns: Iterable[str]) -> str:
    """docs/export.md with another table."""
    before, _, after = export_section(text)
    return before + _EXPORT_HEAD + table(rows, columns) + after


def read(text: str) -> dict[str, Row]:
    """The rows of a table, each cell with the text of its note."""
    lines = text.splitlines()
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")
    ]
    listed = [line.partition(". ") for line in lines if line[:1].isdigit()]
    notes = {f"({number})": note for number, _, note in listed}
    names = cells[0][1:]
    return {
        row[0]: {name: notes.get(cell, cell) for name, cell in zip(names, row[1:], strict=True)}
        for row in cells[1:]
    }
