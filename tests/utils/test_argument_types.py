"""Arguments of other types than the annotations name are refused, and only those."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d2lite.utils.argument_types import check_types
from d2lite.utils.errors import InputTypeError


def example(
    anything: Any,
    size: int,
    names: Sequence[str],
    *,
    path: str | Path | None = None,
    share: float = 0.5,
    table: Mapping[str, int] | None = None,
    is_on: bool = True,
    then: Callable[[int], None] | None = None,
    **others: Any,
) -> None:
    check_types(example, locals())


def test_what_fits_is_taken():
    example(object(), np.int64(3), ("a",), path=Path("b"), share=1, table={}, then=print, more=5)
    example(None, 3, ["a"], path="b", share=np.float32(0.5), is_on=False)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"size": 3.5}, r"example\(\): size is 3.5 \(float\), expected a whole number"),
        ({"size": None}, "size is None"),
        ({"names": "cat"}, r"names is 'cat' \(str\), expected a list"),
        ({"path": 5}, "expected a text or a path or None"),
        ({"share": "half"}, "expected a number"),
        ({"table": ["a"]}, "expected a dict or None"),
        ({"is_on": "yes"}, "expected True or False"),
        ({"then": 5}, "expected a function or None"),
    ],
)
def test_what_does_not_fit_is_refused(given, why):
    with pytest.raises(InputTypeError, match=why):
        example(**{"anything": 0, "size": 1, "names": [], **given})
