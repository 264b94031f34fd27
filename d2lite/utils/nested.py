"""Nested lists and mappings: their values as one level, and sizes where parts occur repeatedly."""

from collections.abc import Iterator, Mapping
from typing import Any

# Values of the largest file of settings that is taken; COCO's panoptic classes are some 1,000.
MAX_VALUES = 1_000_000
# Bytes of such a file; PyYAML takes some 100 times as much.
MAX_TEXT = 2 * 2**20


def flat_items(content: Mapping[str, Any], separator: str = ".") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, each with the keys that lead to it, joined by a separator."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            for name, inner in flat_items(value, separator):
                yield f"{key}{separator}{name}", inner
        else:
            yield str(key), value


def refuse_repetition(content: Any) -> None:
    """Refuse content that grows without bound when it is written out or copied.

    YAML's anchors let a file of 1 KB name one list a billion times, or inside itself.

    Args:
        content: what a YAML file holds.

    Raises:
        ValueError: if it has more than `MAX_VALUES` values written out, or contains itself.
    """
    sizes: dict[int, int] = {}
    if _written_out(content, sizes) > MAX_VALUES:
        raise ValueError(
            "its anchors (&name, *name) repeat so much that it has more than "
            f"{MAX_VALUES} values, or contain themselves"
        )


def _written_out(value: Any, sizes: dict[int, int]) -> int:
    if not isinstance(value, list | dict):
        return 1
    known = sizes.get(id(value))
    if known is None:
        sizes[id(value)] = MAX_VALUES + 1  # what is met again before it is left contains itself
        parts = value.values() if isinstance(value, dict) else value
        known = sizes[id(value)] = 1 + sum(_written_out(part, sizes) for part in parts)
    return known
