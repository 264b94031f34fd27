"""Which keypoints a horizontal flip exchanges, by their names."""

import re
from collections.abc import Sequence

# The words of "left_eye", "l-eye", "LeftEye", "eye.R", and what is between them.
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^a-zA-Z]+")
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def flip_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pair the keypoints whose names differ in the side alone.

    Args:
        names: of the keypoints, such as "left_eye", "r-hip", "LeftEar".

    Returns:
        Pairs of names of which a flip makes one the other; names without a partner keep their
        place.
    """
    known = {name.lower(): name for name in names}
    pairs = []
    for name in names:
        words = [word.lower() for word in _WORDS.findall(name)]
        partner = known.get("".join(_OTHER.get(word, word) for word in words))
        if partner is not None and partner != name and (partner, name) not in pairs:
            pairs.append((name, partner))
    return pairs
