"""Values as files and people's own functions give them, brought into one form.

Ids and numbers may be text or scalars of numpy, boxes arrays, polygons flat lists or pairs of
coordinates, masks arrays or run-length codes. What is in the usual form already is returned as it
is, without a copy.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
# Larger than any image that can be decoded, in pixels.
_LONGEST_SIDE = 10**6
# Of arrays of integers; larger ones have no type.
_LARGEST_INT = 2**63 - 1
_MASK_VALUES = {0, 1, 255}
# Keys of boxes that are dicts.
_SIDES = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
_CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
)
_FLAGS = {"": 0, "0": 0, "false": 0, "no": 0, "none": 0, "1": 1, "true": 1, "yes": 1}


def as_id(value: Any) -> int | str | None:
    """An id of an image, category or annotation: a whole number, also from text, or a text.

    Args:
        value: "12", 12.0 and numpy's 12 are the number 12; "007" and "a" are texts.

    Returns:
        None for what cannot be an id.
    """
    if type(value) is int:
        return value
    if isinstance(value, str):
        text = value.strip()
        return int(text) if _WHOLE_NUMBER.fullmatch(text) else value or None
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return int(value) if value == int(value) else None
    except (TypeError, ValueError, OverflowError):
        return None


def as_side(value: Any) -> int | None:
    """A number of pixels; None for what cannot be one."""
    if type(value) is not int:
        try:
            number = as_number(value)
            value = int(number) if number == int(number) else 0
        except (TypeError, ValueError, OverflowError):
            return None
    return value if 0 < value <= _LONGEST_SIDE else None


def as_number(value: Any) -> float:
    """A number, also from text.

    Raises:
        TypeError, ValueError: if it is something else.
    """
    if isinstance(value, bool):
        raise TypeError("a truth value, not a number")
    if type(value) is int and not -_LARGEST_INT <= value <= _LARGEST_INT:
        raise ValueError("a number of too many digits")
    return value if type(value) in (int, float) else float(value)


def as_numbers(values: Any) -> list[float]:
    """A flat list of numbers, from a list, tuple, array or tensor of numbers or text.

    Raises:
        TypeError, ValueError: if something in it is not a number.
    """
    if type(values) is list and _is_all_numbers(values):
        return values
    if isinstance(values, str | bytes | Mapping):
        raise TypeError(f"{type(values).__name__} in place of a list of numbers")
    return [as_number(value) for value in values]


def as_box(value: Any) -> list[float]:
    """A box of COCO as x, y, width and height, or of five numbers where it is rotated.

    Args:
        value: a flat list, alone or in a list; text such as "[2, 2, 10, 8]"; or a dict of x, y, w
            and h, or of two corners.

    Raises:
        TypeError, ValueError: if something in it is not a number, or it is another dict.
    """
    if type(value) is list and len(value) > 1:
        return as_numbers(value)
    if isinstance(value, Mapping):
        plain = {str(key).lower().replace("_", ""): number for key, number in value.items()}
        names = next((keys for keys in (*_SIDES, *_CORNERS) if plain.keys() >= set(keys)), ())
        a, b, c, d = as_numbers([plain[name] for name in names])
        return [a, b, c - a, d - b] if names in _CORNERS else [a, b, c, d]
    if isinstance(value, str):
        return as_numbers(number_texts(value))
    if isinstance(value, list | tuple) and len(value) == 1:
        return as_box(value[0])
    return as_numbers(value)


def number_texts(text: str) -> list[str]:
    """The parts of a text such as "[2.0, 2.0, 10.0, 8.0]"."""
    return re.split(r"[\s,;]+", text.strip("[](){} "))


def _is_all_numbers(values: list[Any]) -> bool:
    try:
        # The fastest question. Sums of numpy's numbers are of its types.
        total = sum(values)
        if type(total) is int:
            return min(values) >= -_LARGEST_INT and max(values) <= _LARGEST_INT
        return type(total) is float
    except (TypeError, ValueError, OverflowError):
        return False


def as_flag(value: Any) -> int:
    """0 or 1, from a number, a truth value, text or None.

    Raises:
        ValueError, TypeError: if it is something else.
    """
    if value is None:
        return 0
    if isinstance(value, str):
        flag = _FLAGS.get(value.strip().lower())
        if flag is None:
            raise ValueError(f"{value!r} is neither 0 nor 1")
        return flag
    if value in (math.inf, -math.inf):
        raise ValueError(f"{value!r} is neither 0 nor 1")
    return int(bool(as_number(int(value))))


def as_mask(value: Any) -> Any:
    """A segmentation as lists of polygons, a run-length code or an array.

    Args:
        value: polygons as flat lists, one flat list, points as pairs or as {"x", "y"}; a code with
            "counts" and "size", alone or in a list; an (H, W) array or tensor, or the lists of its
            rows; or JSON of one of these as text.

    Returns:
        A list of flat lists x0, y0, x1, y1, ... (or of flat arrays), a dict, a 2-D array, or None
        where there is no mask. Polygons may still have too few points.

    Raises:
        TypeError, ValueError: if it is none of these.
    """
    if type(value) is list and len(value) > 1 and _is_bitmap(value):
        return np.array(value, dtype=np.uint8)
    if type(value) is list and all(map(_is_flat, value)):
        return value or None
    if value is None or isinstance(value, np.ndarray):
        return _as_bitmap(value)
    if isinstance(value, Mapping):
        return _as_code(value) if value else None
    if hasattr(value, "detach"):
        return _as_bitmap(value.detach().cpu().numpy())
    if isinstance(value, str):  # as tables and databases keep it
        try:
            return as_mask(json.loads(value)) if value else None
        except json.JSONDecodeError as err:
            raise TypeError("neither polygons nor RLE") from err
    if not isinstance(value, Sequence):
        raise TypeError("neither polygons nor RLE")
    parts = [part for part in value if not (isinstance(part, Sequence) and len(part) == 0)]
    if not parts:
        return None
    first = parts[0]
    if isinstance(first, Mapping):
        if "counts" in first:
            if len(parts) > 1:
                raise ValueError("several RLEs in place of one")
            return _as_code(first)
        return [_points(parts)]
    if isinstance(first, str | int | float | np.generic):
        return [as_numbers(parts)]
    if len(parts) > 2 and all(len(part) == 2 and not _has_parts(part) for part in parts):
        return [_points(parts)]
    polygons = [_polygon(part) for part in parts]
    return value if _is_same(polygons, value) else polygons


def _is_flat(part: Any) -> bool:
    """Whether this is a flat list of numbers, as most polygons are."""
    is_list = type(part) is list and len(part) >= 6 and type(part[0]) in (int, float)
    return is_list and _is_all_numbers(part)


def _is_bitmap(rows: list[Any]) -> bool:
    """Whether lists are the rows of a mask of 0 and 1 (or 255), and not polygons."""
    first = rows[0]
    if not isinstance(first, list) or not first or isinstance(first[0], list | dict | str):
        return False
    is_like = len(set(map(len, rows))) == 1 and set(first) <= _MASK_VALUES
    return is_like and all(set(row) <= _MASK_VALUES for row in rows)


def _is_same(new: Sequence[Any], old: Sequence[Any]) -> bool:
    return type(old) is list and len(new) == len(old) and all(map(lambda a, b: a is b, new, old))


def _has_parts(part: Any) -> bool:
    return (
        len(part) > 0
        and isinstance(part[0], Sequence | Mapping | np.ndarray)
        and not isinstance(part[0], str)
    )


def _polygon(part: Any) -> Any:
    if isinstance(part, np.ndarray):
        return part if part.ndim == 1 else part.reshape(-1)
    return _points(part) if _has_parts(part) else as_numbers(part)


def _points(points: Iterable[Any]) -> list[float]:
    """Pairs, or {"x", "y"}, as one flat list."""
    pairs = [(p["x"], p["y"]) if isinstance(p, Mapping) else p for p in points]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("points that are not pairs of coordinates")
    return [as_number(value) for pair in pairs for value in pair]


def _as_code(code: Mapping[str, Any]) -> Any:
    if not {"counts", "size"} <= code.keys():
        raise TypeError("neither polygons nor RLE")
    counts, size = code["counts"], code["size"]
    if not isinstance(counts, str | bytes):
        counts = [int(as_number(run)) for run in as_numbers(counts)]
    whole = [int(as_number(side)) for side in size]
    if len(whole) != 2:
        raise ValueError("a size that is not height and width")
    return code if whole == size and counts == code["counts"] else {"size": whole, "counts": counts}


def _as_bitmap(value: Any) -> Any:
    """An (H, W) array; an array of points is a polygon."""
    if value is None or value.size == 0:
        return None
    if value.ndim == 3 and 1 in (value.shape[0], value.shape[2]):
        value = value.squeeze(2 if value.shape[2] == 1 else 0)
    if value.ndim == 2 and value.dtype.kind == "f" and value.shape[1] == 2:
        return [value.reshape(-1)]
    if value.ndim == 1:
        return [value]
    if value.ndim != 2 or value.dtype.kind not in "biuf":
        raise ValueError(f"an array of shape {value.shape} in place of a mask")
    return value
