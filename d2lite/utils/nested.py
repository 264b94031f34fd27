"""Sizes of nested lists and mappings in which parts may occur more than once."""

from typing import Any

# Values of the largest file of settings that is taken; COCO's panoptic classes are some 1,000.
MAX_VALUES = 1_000_000
# Bytes of such a file; PyYAML takes some 100 times as much.
MAX_TEXT = 2 * 2**20


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
