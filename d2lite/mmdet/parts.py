"""What the settings of a part of a network say, in MMDetection's form."""

from collections.abc import Mapping
from typing import Any

from d2lite.utils.errors import ConfigError

Keys = dict[str, Any]
# Settings of a part of a network, as a file has them.
Part = Mapping[str, Any]


def kind_of(part: Part) -> str:
    """The type of a part; a class of a package by its last name."""
    return str(part.get("type", "")).rsplit(".", 1)[-1]


def require_kind(part: Part, what: str, *kinds: str) -> None:
    """Check the type of a part of a network.

    Args:
        part: its settings.
        what: the part in words.
        *kinds: the types that have a counterpart.

    Raises:
        ConfigError: for another type.
    """
    if kind_of(part) not in kinds:
        raise ConfigError(
            f"There is no counterpart of the {what} {kind_of(part)!r}; there is {', '.join(kinds)}."
        )


def norm_of(part: Part) -> str:
    """The type of the norms of a part; "" for none."""
    return str((part.get("norm_cfg") or {}).get("type", ""))


def nms_threshold(part: Part) -> float:
    """The IoU of the suppression in the settings of a test.

    Raises:
        ConfigError: for another kind of suppression.
    """
    nms = part.get("nms") or {}
    if nms.get("type", "nms") != "nms":
        raise ConfigError(f"There is no counterpart of the suppression {nms.get('type')!r}.")
    return float(nms.get("iou_threshold", nms.get("iou_thr", 0.5)))
