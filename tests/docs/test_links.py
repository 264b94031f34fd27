"""Links of the pages lead to files and headings that are in the checkout, which has no network."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "docs").glob("*.ipynb"),
    *(ROOT / "projects").glob("*/README.md"),
]
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")


def dead_links(page):
    """Targets of a page that are not there; a heading is named as GitHub names it."""
    dead = []
    for path, heading in _LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        if not target.exists():
            dead.append(path)
        elif heading and heading not in headings(target):
            dead.append(f"{path}#{heading}")
    return dead


def headings(page):
    lines = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", line.strip().lower()).replace(" ", "-") for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    assert dead_links(page) == []


def test_dead_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One `two`\n[a](#one-two) [b](b.md) [c](page.md#three) [d](https://e.f/g)\n")
    assert dead_links(page) == ["b.md", "page.md#three"]
