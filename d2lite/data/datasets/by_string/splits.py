"""The splits that were found in a folder, and the one that an auto: string means."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from d2lite.utils.errors import ConfigError

SAME_SPLIT = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
"""Other names of splits."""

UNSPLIT = ("default", "all")
"""What tools call the one list of images that are not split."""

WHOLE = "(whole)"
"""Stands for the split of a folder whose files are not split."""


class Found(NamedTuple):
    """Where one split is: the kind of files, their path, and what follows the @."""

    kind: str
    path: Path
    part: str | None = None


Splits = dict[str, Found]


def choose_split(
    splits: Splits, split: str | None, *, has_fraction: bool, name: str
) -> tuple[Found, bool]:
    """Which files a split of an auto: string means.

    Args:
        splits: of the folder.
        split: what follows the @; None for the training split, or the only one.
        has_fraction: whether the string has val_fraction.
        name: the whole string, for messages.

    Returns:
        The files, and whether the split is a drawn share of them.

    Raises:
        ConfigError: if there is no such split and none can be drawn.
    """
    wanted = SAME_SPLIT.get(split, split) if split else None
    if wanted is None:
        wanted = "train" if "train" in splits or has_fraction else next(iter(splits))
        if wanted not in splits and len(splits) > 1:
            raise ConfigError(f"{name}: name one of the splits {', '.join(splits)} after an @.")
    base = splits.get("train") or splits.get("trainval") or splits.get(WHOLE)
    base = base or (next(iter(splits.values())) if len(splits) == 1 else None)
    if has_fraction and wanted in ("train", "val"):
        if "val" in splits:
            raise ConfigError(
                f"{name}: the data have a validation split of their own, so none is drawn. Leave "
                "val_fraction out."
            )
        if base is not None:
            return base, True
    if wanted in splits:
        return splits[wanted], False
    shown = ", ".join(s for s in splits if s != WHOLE) or "no splits"
    fix = (
        " A share of the training images can be held out: add ?val_fraction=0.2 to the string of "
        "both, @train and @val."
        if base is not None and wanted in ("train", "val")
        else ""
    )
    whole = " Without an @ the string means all images." if WHOLE in splits else ""
    raise ConfigError(f"{name}: there is no split {split!r}; the data have {shown}.{whole}{fix}")


def own_split(known: Sequence[str], split: str | None, name: str) -> str:
    """Which of a folder's own names of splits is meant.

    Args:
        known: the names; "" where the folder is one set.
        split: what follows the @; None for "trainval", "train" or the only one.
        name: of the string before the @, for messages.

    Raises:
        ConfigError: for an unknown split.
    """
    wanted = [split] if split else ["trainval", "train", *known[: len(known) == 1]]
    plain = {k: SAME_SPLIT.get(k.lower(), k.lower()) for k in (*known, *wanted)}
    same = [k for w in wanted for k in known if plain[k] == plain[w]]
    if not same:
        shown = ", ".join(filter(None, known))
        fix = f"name one as in {name}@{shown.split(',')[0]}" if shown else "leave the @ out"
        raise ConfigError(f"{name} has {shown or 'no splits'}; {fix}.")
    return same[0]
