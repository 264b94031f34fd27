"""Thresholds: the lowest scores that count, for all classes or for each."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2lite.utils.errors import ConfigError, MissingFileError
from d2lite.utils.file_io import read_json_file

Thresholds = float | Mapping[str, float] | None

DEFAULT_THRESHOLD = 0.5


def threshold_array(
    threshold: Thresholds, class_names: Sequence[str], *, default: float = DEFAULT_THRESHOLD
) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """A function from class numbers to the lowest score of each.

    Args:
        threshold: of all classes; or by name, where classes without one get `default`; None is
            `default` for all.
        class_names: of the model.
        default: in [0, 1].

    Raises:
        ConfigError: if a class is unknown, or a threshold is not in [0, 1].
    """
    overall, by_name = _checked(threshold, default)
    for name in by_name:
        if name not in class_names:
            raise ConfigError(
                f"A threshold is given for {name!r}, which is not a class of the model. It has: "
                f"{', '.join(class_names) or 'no known classes'}."
            )
    table = np.array([by_name.get(name, overall) for name in class_names], dtype=np.float64)

    def lowest(classes: NDArray[Any]) -> NDArray[np.float64]:
        known = classes < len(table)
        out = np.full(len(classes), float(overall))
        out[known] = table[classes[known]]
        return out

    return lowest


def lowest_of(threshold: Thresholds) -> float:
    """The lowest score that counts for any class.

    Raises:
        ConfigError: if a threshold is not in [0, 1].
    """
    overall, by_name = _checked(threshold, DEFAULT_THRESHOLD)
    return min([overall, *by_name.values()])


def _checked(threshold: Thresholds, default: float) -> tuple[float, dict[str, float]]:
    """The threshold of all classes, and those by name."""
    by_name = dict(threshold) if isinstance(threshold, Mapping) else {}
    overall = default if threshold is None or isinstance(threshold, Mapping) else threshold
    for of, value in [("", overall), *((f" of {name!r}", by_name[name]) for name in by_name)]:
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
            raise ConfigError(f"The threshold{of} is {value!r}; it must be a number from 0 to 1.")
    return overall, by_name


def read_thresholds(path: str | Path) -> dict[str, float]:
    """The thresholds of the classes that a report found best, see docs/report.md.

    Args:
        path: of report.json, or of a JSON file {class: threshold}.

    Returns:
        Class name -> threshold with the best F1; classes without one are left out. Of several
        tasks the last one counts, such as masks after boxes.

    Raises:
        MissingFileError: if there is no such file.
        ConfigError: if it does not hold thresholds.
    """
    try:
        content = read_json_file(path)
    except FileNotFoundError as error:
        raise MissingFileError(f"There is no file of thresholds {path}.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from error
    found = content
    if isinstance(content, Mapping) and isinstance(content.get("tasks"), Mapping):
        analyses = list(content["tasks"].values())
        found = analyses[-1].get("thresholds") if analyses else {}
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"{path} does not hold thresholds; give the report.json of a run, or "
            '{"class": threshold}.'
        )
    return {str(name): value for name, value in found.items() if value is not None}
