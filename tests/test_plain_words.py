"""The text of the project keeps to plain words; the worst of what it once had must not come back.

The reader is a tired engineer whose second language is English. Comments, docstrings, messages and
pages are searched for phrases that such a reader has to guess at, each with what to write instead.
"""

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Phrase -> what to write instead.
PHRASES = {
    r"\banew\b": "again, from scratch",
    r"\btold\b": "reported, logged, distinguished",
    r"\bhand(?:s|ed)? on\b": "pass on",
    r"\bunsound\b": "invalid",
    r"\btakes, from\b": "say it in the usual order",
    r"\bnone, nothing\b": "nothing where there is none",
    r"\bopens? the (?:door|hooks' doors)\b": "call the hooks",
    r"\bdoors?\b(?!-)": "hook point; path",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bhears?\b|\bheard\b": "receive, learn",
    r"\bfarewell\b|\blonely\b": "leave, orphan",
    r"\bblows? up\b|\bblew up\b": "becomes infinite or NaN",
    r"\bmeeting(?: point| place)?\b": "rendezvous",
}
# Names of classes are data.
LEFT_OUT = {"d2lite/data/datasets/builtin_meta.py"}
SUFFIXES = {".py", ".md"}
FOLDERS = ("d2lite", "projects", "tools", "docs")


def _passages(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of all that a person reads in a file."""
    if path.suffix == ".md":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                for offset, line in enumerate(token.string.splitlines()):
                    yield token.start[0] + offset, line


def _files() -> list[Path]:
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in FOLDERS:
        found += [p for p in sorted((ROOT / folder).rglob("*")) if p.suffix in SUFFIXES]
    return [path for path in found if path.relative_to(ROOT).as_posix() not in LEFT_OUT]


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_has_a_phrase_that_the_reader_must_guess_at(phrase):
    pattern = re.compile(phrase, re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in _files()
        for number, line in _passages(path)
        if pattern.search(line)
    ]
    assert not found, f"write {PHRASES[phrase]!r} instead:\n" + "\n".join(found)


def test_the_search_finds_phrases_in_comments_docstrings_and_messages(tmp_path):
    """A test of the test: a search that finds nothing anywhere proves nothing."""
    source = tmp_path / "sample.py"
    source.write_text('"""Begun anew."""\nx = "begun anew"  # anew\n', encoding="utf-8")
    assert sum("anew" in text for _, text in _passages(source)) == 3
