"""The page of configuration keys: what they are by default, and the comments in the code.

`python .ci/docs_config_keys.py` writes docs/config_keys.md.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "config_keys.md"
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
        "file changes; the keys of a project are in its `config.py`.\n\n"
        + "\n\n".join(parts)
        + "\n"
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


if __name__ == "__main__":
    PAGE.write_text(config_keys(), encoding="utf-8")
