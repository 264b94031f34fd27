"""What mkdocs adds to docs/: README files of projects, the changes."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not files of docs/."""
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
