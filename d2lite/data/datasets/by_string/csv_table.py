"""Tables of boxes or masks in CSV, one a line: Roboflow, VoTT, Kaggle, Open Images ...

Columns are known by their names, whatever their order; a few tables without names, such as path,
x1, y1, x2, y2, class, by what is in their first line. Boxes are in pixels, or in shares of the
image where no number is above 1.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from d2lite.data.datasets.image_finder import ImageFinder
from d2lite.data.datasets.label_files import read_text
from d2lite.data.normal_forms import number_texts
from d2lite.data.records.faults import FaultLog
from d2lite.data.records.image_sizes import size_or_record_fault
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError

from .csv_columns import (
    KEYS,
    missing_column,
    nameless_columns,
    table_columns,
    without_separator_line,
)
from .entries import Entry, EntrySource, Shape
from .file_kinds import first_cells
from .pixel_maps import scaled_mask
from .source import find_path
from .splits import SAME_SPLIT, WHOLE, Found, Splits

# What is between cells -> a cell that is a number with a decimal comma. Tables with tabs are saved
# in countries with a decimal point too, where 1,234 is a thousand and more.
_DECIMAL_COMMA = {
    ";": re.compile(r"^(\s*-?\d+),(\d+\s*)$"),
    "\t": re.compile(r"^(?!\s*-?[1-9]\d{0,2},\d{3}\s*$)(\s*-?\d+),(\d+\s*)$"),
}
# What a column of splits may say; Vertex AI has the last.
_SPLITS = {"train", "val", "test", "trainval", "unassigned"}


class CsvSource(EntrySource):
    """One CSV file; boxes without a column for the class are of the class "object"."""

    layout = "CSV table"

    def __init__(
        self, path: str, image_root: str | None, columns: Mapping[str, str] | None = None
    ) -> None:
        """Find the file.

        Args:
            path: of the table.
            image_root: a split that a column of the table names, or the folder of the images; None
                takes all rows and looks around the file.
            columns: names of columns that are not known by themselves.
        """
        file = find_path(path, suits=Path.is_file)
        home = file.parent
        self._split: str | None = None
        folders = []
        if image_root:
            wanted = SAME_SPLIT.get(image_root.lower(), image_root.lower())
            if wanted in _stated_splits(file, columns):
                self._split = wanted
            else:
                folders = [find_path(image_root, beside=home)]
        split = self._split or re.split(r"[_-](?:labels|annotations)", file.stem)[0]
        tops = [home, home.parent] if home.name in ("annotations", "labels") else [home]
        names = (f"images/{split}", "images", split, "data", ".")
        around = [top / name for top in tops for name in names]
        super().__init__(file, [*folders, *around])
        self._renamed, self._labels = columns, set[str]()
        self._masks = ImageFinder([*(top / "masks" for top in tops), home])
        # Open Images writes classes as /m/01g317 and their names into a file of their own.
        self._name_of = _names_of_classes(home)

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images in the order in which they first occur."""
        columns, rows = _read_table(self.file, self._renamed)
        splits = _row_splits(columns, rows)
        entries: dict[str, Entry] = {}
        self._labels = set()
        is_share = True
        for number, (line, row) in enumerate(rows):
            cells = {what: row[i].strip() for what, i in columns.items() if i < len(row)}
            name = cells.get("image", "")
            if not name:
                faults.add("malformed", f"{self.file}, line {line}: no name of an image")
                continue
            shape = _shape(cells, f"{self.file}, line {line}")
            if shape is not None:
                shape.label = self._name_of.get(shape.label, shape.label)
                self._labels.add(shape.label)
                is_share &= max(shape.box or next(iter(shape.polygons), [0.0])) <= 1.0
            if self._split is None or splits[number] == self._split:
                entry = entries.setdefault(name, Entry(name, size=_size(cells)))
                entry.shapes += [shape] if shape is not None else []
        found = list(entries.values())
        shapes = [shape for entry in found for shape in entry.shapes]
        if any(shape.mask for shape in shapes) or (
            is_share and any(shape.box or shape.polygons for shape in shapes)
        ):
            self._fit_to_images(found, faults)
        return found

    def class_names(self) -> Sequence[str]:
        """The labels of all rows, sorted, so that splits of one table have the same."""
        return sorted(self._labels)

    def _fit_to_images(self, entries: list[Entry], faults: FaultLog) -> None:
        """Turn shares of the image into pixels, and give masks the size of the image."""
        finder = ImageFinder(self.folders)
        for entry in entries:
            entry.path = finder.find(entry.name)
            if entry.size is None and entry.path is not None:
                entry.size = size_or_record_fault(entry.path, faults)
            height, width = entry.size or (0, 0)
            for shape in entry.shapes:
                if shape.box is not None:
                    x0, y0, x1, y1 = shape.box
                    shape.box = [x0 * width, y0 * height, x1 * width, y1 * height]
                elif shape.polygons:
                    sides = width, height
                    corners = shape.polygons[0]
                    shape.polygons = [[v * sides[i % 2] for i, v in enumerate(corners)]]
                elif shape.mask is not None and "path" in shape.mask:
                    self._read_mask(shape, entry, (height, width))
                elif shape.mask is not None:
                    counts = shape.mask["counts"]
                    rest = height * width - sum(counts)
                    shape.fault = "bad_mask" if rest < 0 else ""
                    code = {"size": [height, width], "counts": [*counts, max(rest, 0)]}
                    shape.mask = rle.compressed(code)

    def _read_mask(self, shape: Shape, entry: Entry, size: tuple[int, int]) -> None:
        """Put the mask of an image file in place of its name."""
        name = str((shape.mask or {})["path"])
        path = self._masks.find(name)
        try:
            if path is None or path == entry.path:  # the image may have the same name
                raise DataError(f"the mask {name} is not there")
            shape.mask = scaled_mask(path, size)
        except DataError as err:
            shape.where, shape.fault = f"{shape.where}: {err}", "bad_mask"


def table_parts(path: Path) -> Splits:
    """The splits that a column of a table names, or the whole table."""
    names = dict.fromkeys(_stated_splits(path, None))
    return {name: Found("csv", path, name) for name in names} or {WHOLE: Found("csv", path)}


def _stated_splits(path: Path, renamed: Mapping[str, str] | None) -> list[str]:
    """The split of each row of a table; [] where no column names them."""
    cells = first_cells(path)
    # A table without such a column may be large, and is not read for this.
    if "split" not in (table_columns(cells, renamed) or nameless_columns(cells)):
        return []
    return _row_splits(*_read_table(path, renamed))


def _row_splits(columns: Mapping[str, int], rows: list[tuple[int, list[str]]]) -> list[str]:
    """The split of each row; [] where no column names them."""
    if "split" not in columns:
        return []
    place = columns["split"]
    texts = [row[place].strip().lower() if place < len(row) else "" for _, row in rows]
    splits = [SAME_SPLIT.get(text, text) or "unassigned" for text in texts]
    # A column "dataset" may say anything else.
    return splits if {"unassigned"} < {*splits, "unassigned"} <= _SPLITS else []


def _read_table(
    path: Path, renamed: Mapping[str, str] | None
) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    """What each column holds, and the rows below the names of the columns with their numbers.

    Raises:
        DataError: if it is not a table of boxes or masks, or lacks a column that is named.
    """
    text = without_separator_line(read_text(path))
    rows = _rows(text, path)
    head = rows[0][1] if rows else []
    if renamed and (missing := missing_column(head, renamed)):
        raise DataError(
            f"{path} has no column {missing!r}, which ?columns= names; its first line is "
            f"{', '.join(head[:10]) or 'nothing'}."
        )
    if columns := table_columns(head, renamed):
        # Tables that were joined repeat the names.
        return columns, [(line, row) for line, row in rows if row != head]
    if columns := nameless_columns(head):
        return columns, rows
    raise DataError(
        f"{path} is not a table of boxes that is known: its first line is "
        f"{', '.join(head[:10]) or 'nothing'}. Expected columns such as filename, class, xmin, "
        "ymin, xmax, ymax; name others by "
        "?columns=image:FILE,x0:LEFT,y0:TOP,x1:RIGHT,y1:BOTTOM,label:KIND."
    )


def _rows(text: str, path: Path) -> list[tuple[int, list[str]]]:
    sample = next(filter(str.strip, text.splitlines()), "")
    delimiter = ";" if sample.count(";") > sample.count(",") else ","
    delimiter = "\t" if sample.count("\t") > sample.count(delimiter) else delimiter
    limit = csv.field_size_limit(len(text) + 1)  # a mask may be longer than csv allows
    try:
        rows = list(
            enumerate(csv.reader(io.StringIO(text, newline=None), delimiter=delimiter), start=1)
        )
    except csv.Error as err:
        raise DataError(f"{path} is not a CSV file: {err}.") from err
    finally:
        csv.field_size_limit(limit)
    if number := _DECIMAL_COMMA.get(delimiter):
        rows = [(line, [number.sub(r"\1.\2", cell) for cell in row]) for line, row in rows]
    return [(line, row) for line, row in rows if any(cell.strip() for cell in row)]


def _names_of_classes(folder: Path) -> dict[str, str]:
    """Open Images' names of classes, from a list "/m/01g317,Person" beside the table."""
    files = sorted(folder.glob("*class-descriptions*.csv"))
    files += [path for path in [folder.parent / "metadata/classes.csv"] if path.is_file()]
    if not files:
        return {}
    rows = csv.reader(io.StringIO(read_text(files[0])))
    return {row[0]: row[1] for row in rows if len(row) == 2}


def _size(cells: Mapping[str, str]) -> tuple[int, int] | None:
    try:
        return int(float(cells["height"])), int(float(cells["width"]))
    except (KeyError, ValueError, OverflowError):
        return None


def _shape(cells: Mapping[str, str], where: str) -> Shape | None:
    """The object of a line; None for an image that is listed without one."""
    label = cells.get("label") or "object"
    keys = next((keys for keys in KEYS if keys[0] in cells), None)
    if keys is None:  # a line that is cut off
        return Shape(label, where=where, fault="malformed")
    texts = [cells.get(key, "") for key in keys]
    if keys == ("box",):  # "[2.0, 2.0, 10.0, 8.0]" of Kaggle
        texts = number_texts(texts[0])
    if all(text.lower() in ("", "nan") for text in texts):
        return None
    if keys == ("mask",):
        return Shape(label, mask={"path": texts[0]}, where=where)
    try:
        if keys == ("rle",):
            counts = _counts(texts[0])
            return Shape(label, mask={"counts": counts}, where=where) if counts else None
        a, b, c, d = (float(text) for text in texts)
    except ValueError:
        return Shape(label, where=where, fault="malformed")
    if "x2" in cells:
        # Four corners, of a rotated box.
        try:
            others = [float(cells[key]) for key in ("x2", "y2", "x3", "y3")]
        except (KeyError, ValueError):
            return Shape(label, where=where, fault="malformed")
        return Shape(label, polygons=[[a, b, c, d, *others]], where=where)
    box = [a, b, a + c, b + d]
    if keys[0] == "x0":
        box = [a, b, c, d]
    elif keys[0] == "cx":
        box = [a - c / 2, b - d / 2, a + c / 2, b + d / 2]
    return Shape(label, box, is_crowd=cells.get("group", "").lower() in ("1", "true"), where=where)


def _counts(text: str) -> list[int]:
    """The lengths of runs of 0 and 1 of a mask as Kaggle has it, column after column.

    Args:
        text: "start length start length ...", where the first pixel is 1; "-1" for no mask.

    Raises:
        ValueError: if it is not that.
    """
    numbers = [int(part) for part in number_texts(text)]
    if numbers == [-1]:
        return []
    counts: list[int] = []
    end = 0
    for start, length in zip(numbers[0::2], numbers[1::2], strict=True):
        counts += [start - 1 - end, length]
        end = start - 1 + length
    if min(counts) < 0:
        raise ValueError("runs that overlap")
    return counts
