"""Numbers of command lines, refused outside of their range while the words are read."""

import argparse
import math
from collections.abc import Callable


def whole_number(least: int) -> Callable[[str], int]:
    """The `type` of an argument that counts something.

    Args:
        least: the smallest number that is accepted.
    """

    def read(word: str) -> int:
        try:
            value = int(word)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{word} is not a whole number of {least} or more")
        return value

    return read


def positive_number(word: str) -> float:
    """The `type` of an argument that measures something: a finite number above 0."""
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{word} is not a number above 0")
    return value
