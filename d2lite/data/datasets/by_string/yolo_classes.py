"""The class names of a YOLO dataset: number as the label files have it -> name, unique."""

from pathlib import Path
from typing import Any

import yaml

from d2lite.data.datasets.label_files import read_text
from d2lite.utils.errors import DataError


def names_of_yaml(text: str, path: Path) -> dict[str, str]:
    """The names of a data.yaml that is known to be valid and to have some.

    Raises:
        DataError: if a name is not a text.
    """
    # As they are written: YAML takes no, on and 007 for other things than names.
    root: Any = yaml.compose(text, yaml.BaseLoader)
    names = [value for key, value in root.value if key.value == "names"][-1:]
    # Numbers may have gaps; only the label files count by them.
    pairs: list[tuple[Any, Any]] = []
    for node in names:
        if isinstance(node, yaml.MappingNode):
            pairs = sorted(((key.value, value) for key, value in node.value), key=_by_number)
        else:
            pairs = list(enumerate(node.value))
    found = {}
    for number, item in pairs:
        if not isinstance(item, yaml.ScalarNode):
            raise DataError(
                f"{path}: the class {number} of 'names' is a list or a mapping, not one name."
            )
        # An empty value is not a name; an empty text in quotes is.
        found[str(number)] = item.value or ("" if item.style else str(number))
    if not found:
        raise DataError(f"{path}: 'names' has to be written out, a name for each class.")
    return _unique(found)


def names_of_list(path: Path) -> dict[str, str]:
    """The names of a text file, whose lines are numbered from 0.

    Raises:
        DataError: if a line between others is empty.
    """
    names = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if "" in names:
        raise DataError(
            f"{path}: line {names.index('') + 1} is empty, and label files number the classes by "
            "the line. Write the name of that class there, or take the line out."
        )
    return _unique({str(number): name for number, name in enumerate(names)})


def _by_number(pair: tuple[Any, Any]) -> tuple[int, str]:
    text = str(pair[0])
    return (int(text) if text.lstrip("-").isdecimal() else 0, text)


def _unique(names: dict[str, str]) -> dict[str, str]:
    """Class names that differ: a second "stop" is kept apart as "stop (2)"."""
    seen: dict[str, int] = {}
    result = {}
    for number, name in names.items():
        seen[name] = seen.get(name, 0) + 1
        result[number] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return result
