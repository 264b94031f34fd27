"""What mkdocs adds to docs/: pages made from the code, README files of projects, the changes."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("d2lite/config/model_defaults.py", "d2lite/config/defaults.py")
_ASSIGNS = re.compile(r"(?:_C\.)?([A-Z][A-Z0-9_.]*) = (.*)")


def config_keys() -> str:
    """A page with every key of the core, its default and the comment above it."""
    tables: dict[str, list[str]] = {}
    for source in SOURCES:
        for key, default, meaning in _keys_of((ROOT / source).read_text("utf-8")):
            section = key.rpartition(".")[0] or "Top level"
            text = f"| `{key}` | `{default}` | {meaning} |"
            tables.setdefault(section, []).append(text)
    head = "| key | default | meaning |\n|---|---|---|\n"
    parts = [f"## {name}\n\n{head}" + "\n".join(rows) for name, rows in sorted(tables.items())]
    return (
        "# Configuration keys\n\nMade from the comments in `d2lite/config`. A key without a "
        "meaning belongs to the one above it. `d2lite config --config-file X --diff` shows what a "
        "file changes; the keys of a project are in its `config.py`.\n\n" + "\n\n".join(parts)
    )


def _keys_of(source: str) -> list[tuple[str, str, str]]:
    """(key, default, meaning) in their order."""
    found: list[tuple[str, str, str]] = []
    comment: list[str] = []
    open_key: list[str] | None = None
    for line in source.splitlines():
        if open_key is not None:  # a default of several lines
            open_key[1] += " " + line.strip()
        elif line.startswith("#"):
            comment += [] if line.startswith("# ---") else [line.lstrip("# ")]
        elif (match := _ASSIGNS.match(line)) and match[2] not in ("CN()", "MODEL"):
            value, _, after = match[2].partition("  # ")
            open_key = [match[1], value, " ".join([*comment, after]).strip()]
            comment = []
        elif not line.strip() or match:
            # The comment above a section describes the keys in it, the first of them here.
            comment = comment if match else []
        if open_key is not None and _is_whole(open_key[1]):
            found.append(
                (open_key[0], open_key[1], open_key[2].replace("|", r"\|").replace("<", "&lt;"))
            )
            open_key = None
    return found


def _is_whole(text: str) -> bool:
    return all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}"))


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not files of docs/."""
    files.append(File.generated(config, "config_keys.md", content=config_keys()))
    files.append(
        File.generated(config, "changelog.md", content=(ROOT / "CHANGELOG.md").read_text("utf-8"))
    )
    pages = []
    for readme in sorted((ROOT / "projects").glob("*/README.md")):
        page = f"projects/{readme.parent.name}.md"
        files.append(File.generated(config, page, content=readme.read_text("utf-8")))
        pages.append(page)
    nav = config["nav"]
    named = str(nav[:-2])
    own = [file.src_uri for file in files.documentation_pages() if file.src_uri not in pages]
    nav[-1]["Projects"] = pages
    nav[-2]["More"] = [page for page in own if f"'{page}'" not in named]
    if not nav[-2]["More"]:
        del nav[-2]
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links between docs/ and the projects, which are beside it in the checkout, fit."""
    if page.file.src_uri.startswith("projects/"):
        markdown = markdown.replace("](../../docs/", "](../")
        # Code is not a part of the site.
        markdown = re.sub(r"\[([^]]+)\]\([^)]*\.py\)", r"\1", markdown)
        return re.sub(r"\]\(\.\./(\w+)/README\.md", r"](\1.md", markdown)
    markdown = re.sub(r"\]\(docs/", "](", markdown)
    return re.sub(r"\]\(\.\./projects/(\w+)/README\.md", r"](projects/\1.md", markdown)
