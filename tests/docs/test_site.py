"""The pages build into a site without a warning, load nothing from elsewhere, name real keys."""

import logging
import re
from pathlib import Path

import pytest

from d2lite.config import get_cfg
from d2lite.projects import add_project_configs

ROOT = Path(__file__).resolve().parents[2]
LOADED = re.compile(
    r"""(?:<script|<img|<link rel="?stylesheet)[^>]*(?:src|href)="?(?:https?:)?//"""
)


def build(folder, **changes):
    """Build the site; the warnings, any of which ends a strict build."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    warnings = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())
    logger = logging.getLogger("mkdocs")
    logger.addHandler(handler)
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), **changes))
    finally:
        logger.removeHandler(handler)
    return warnings


@pytest.mark.filterwarnings("ignore")
def test_site_builds_with_all_links_and_loads_nothing_from_elsewhere(tmp_path, monkeypatch):
    pytest.importorskip("material")
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    assert build(tmp_path) == []
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 25
    assert {page.name for page in pages if LOADED.search(page.read_text("utf-8"))} == set()


@pytest.mark.filterwarnings("ignore")
def test_broken_link_is_found(tmp_path, monkeypatch):
    """Otherwise the test above could not fail."""
    pytest.importorskip("material")
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[two](two.md) [three](#three)\n")
    found = build(
        tmp_path / "site", docs_dir=str(tmp_path / "docs"), nav=[{"One": "index.md"}], hooks=[]
    )
    assert len(found) == 2


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS = "MODEL|INPUT|DATASETS|DATALOADER|SOLVER|TEST|MODEL_EMA|REPORT"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_that_a_page_names_exist(page):
    cfg = get_cfg()
    add_project_configs(cfg)
    named = re.findall(rf"`((?:{SECTIONS})(?:\.[A-Z0-9_]+)+)\b(?![*.(])", page.read_text("utf-8"))
    assert [key for key in named if not cfg.has_key(key) and key != "MODEL.MY_WIDTH"] == []


def test_quoted_messages_are_those_of_the_code():
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    quoted = re.findall(r"^\| `([^`]+ [^`]+)`", page, flags=re.MULTILINE)
    code = "".join(path.read_text("utf-8") for path in (ROOT / "d2lite").rglob("*.py"))
    assert len(quoted) > 4
    assert [message for message in quoted if message not in code] == []
