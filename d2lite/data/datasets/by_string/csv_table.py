"""Tables of boxes in CSV, one box a line: Roboflow, TensorFlow's tutorials, VoTT, Open Images ...

Columns are known by their names, whatever their order; a table without names is read as
path, x1, y1, x2, y2, class. Boxes are corners in pixels, or in shares of the image where no
number is above 1 and the columns are those of Open Images or AutoML.
"""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

from d2lite.data.datasets.image_finder import ImageFinder
from d2lite.data.datasets.label_files import read_text
from d2lite.data.faults import FaultLog
from d2lite.data.image_sizes import size_or_record_fault
from d2lite.utils.errors import DataError

from .entries import Entry, EntrySource, Shape
from .source import find_path

# What a column holds -> the names that tools give it, in lower case without _ and blanks.
_NAMES = {
    "image": ("filename", "image", "imagename", "imagepath", "path", "file", "imageid", "img"),
    "label": ("class", "label", "labelname", "classname", "category", "name", "classlabel"),
    "x0": ("xmin", "x1", "left", "bboxxmin", "xtl"),
    "y0": ("ymin", "y1", "top", "bboxymin", "ytl"),
    "x1": ("xmax", "x2", "right", "bboxxmax", "xbr"),
    "y1": ("ymax", "y2", "bottom", "bboxymax", "ybr"),
    "x": ("x", "bboxx"),
    "y": ("y", "bboxy"),
    "w": ("w", "boxwidth", "bboxwidth", "bboxw"),
    "h": ("h", "boxheight", "bboxheight", "bboxh"),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
    "group": ("isgroupof", "iscrowd"),
}
_PLAIN = ("image", "x0", "y0", "x1", "y1", "label")


def table_columns(header: list[str], renamed: Mapping[str, str] | None = None) -> dict[str, int]:
    """What each column of a table holds.

    Args:
        header: the first line.
        renamed: what a column holds -> its name, where it is none of those known.

    Returns:
        "image", "label", "x0" ... -> number of the column; empty if these are other columns.
    """
    plain = [
        name.strip().lstrip("\ufeff#").lower().replace("_", "").replace(" ", "") for name in header
    ]
    found = {}
    for what, names in _NAMES.items():
        wanted = [_plain((renamed or {}).get(what, "")), *names]
        places = [plain.index(name) for name in wanted if name and name in plain]
        if places:
            found[what] = places[0]
    if {"x", "y", "width", "height"} <= found.keys() and not {"x0", "w"} & found.keys():
        # x, y, width, height: the last two are the box's.
        found["w"], found["h"] = found.pop("width"), found.pop("height")
    has_box = {"x0", "y0", "x1", "y1"} <= found.keys() or {"x", "y", "w", "h"} <= found.keys()
    return found if "image" in found and has_box else {}


def _plain(name: str) -> str:
    return name.strip().lstrip("#").lower().replace("_", "").replace(" ", "")


class CsvSource(EntrySource):
    """One CSV file; boxes without a column for the class are of the class "object"."""

    layout = "CSV table"

    def __init__(
        self, path: str, image_root: str | None, columns: Mapping[str, str] | None = None
    ) -> None:
        """Find the file.

        Args:
            path: of the table.
            image_root: folder of the images; None looks around the file.
            columns: names of columns that are not known by themselves.
        """
        file = find_path(path, suits=Path.is_file)
        home = file.parent
        folders = [find_path(image_root, beside=home)] if image_root else []
        split = re.split(r"[_-](?:labels|annotations)", file.stem)[0]
        tops = [home, home.parent] if home.name == "annotations" else [home]
        around = [top / name for top in tops for name in (f"images/{split}", "images", split, ".")]
        super().__init__(file, [*folders, *around])
        self._renamed = columns
        # Open Images writes classes as /m/01g317 and their names into a file of their own.
        self._name_of = _names_of_classes(home)

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images in the order in which they first occur."""
        rows = self._rows()
        columns = table_columns(rows[0][1], self._renamed) if rows else {}
        if columns:
            rows = rows[1:]
        elif rows and _is_plain(rows[0][1]):
            columns = {what: place for place, what in enumerate(_PLAIN)}
        else:
            head = ", ".join(rows[0][1][:10]) if rows else "nothing"
            raise DataError(
                f"{self.file} is not a table of boxes that is known: its first line is {head}. "
                "Expected columns such as filename, class, xmin, ymin, xmax, ymax; name others "
                "by ?columns=image:FILE,x0:LEFT,y0:TOP,x1:RIGHT,y1:BOTTOM,label:KIND."
            )
        entries: dict[str, Entry] = {}
        is_share = True
        for line, row in rows:
            cells = {what: row[i].strip() for what, i in columns.items() if i < len(row)}
            name = cells.get("image", "")
            if not name:
                faults.add("malformed", f"{self.file}, line {line}: no name of an image")
                continue
            entry = entries.setdefault(name, Entry(name, size=_size(cells)))
            shape = _shape(cells, f"{self.file}, line {line}")
            if shape is not None:
                shape.label = self._name_of.get(shape.label, shape.label)
                entry.shapes.append(shape)
                is_share &= shape.box is None or max(shape.box) <= 1.0
        found = list(entries.values())
        if is_share and any(shape.box for entry in found for shape in entry.shapes):
            self._to_pixels(found, faults)
        return found

    def _rows(self) -> list[tuple[int, list[str]]]:
        text = read_text(self.file)
        sample = text.partition("\n")[0]
        delimiter = ";" if sample.count(";") > sample.count(",") else ","
        delimiter = "\t" if sample.count("\t") > sample.count(delimiter) else delimiter
        try:
            rows = list(enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), start=1))
        except csv.Error as err:
            raise DataError(f"{self.file} is not a CSV file: {err}.") from err
        return [(line, row) for line, row in rows if any(cell.strip() for cell in row)]

    def _to_pixels(self, entries: list[Entry], faults: FaultLog) -> None:
        """Turn shares of the image into pixels."""
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


def _names_of_classes(folder: Path) -> dict[str, str]:
    """Open Images' names of classes, from a list "/m/01g317,Person" beside the table."""
    files = sorted(folder.glob("*class-descriptions*.csv"))
    if not files:
        return {}
    rows = csv.reader(io.StringIO(read_text(files[0])))
    return {row[0]: row[1] for row in rows if len(row) == 2}


def _is_plain(row: list[str]) -> bool:
    """Whether a line is path, x1, y1, x2, y2, class; an image without objects has only a path."""
    numbers = [cell.strip().lstrip("-").replace(".", "", 1) for cell in row[1:5]]
    return len(row) == len(_PLAIN) and (not any(numbers) or all(map(str.isdecimal, numbers)))


def _size(cells: Mapping[str, str]) -> tuple[int, int] | None:
    try:
        return int(float(cells["height"])), int(float(cells["width"]))
    except (KeyError, ValueError, OverflowError):
        return None


def _shape(cells: Mapping[str, str], where: str) -> Shape | None:
    """The object of a line; None for an image that is listed without one."""
    keys = ("x0", "y0", "x1", "y1") if "x0" in cells else ("x", "y", "w", "h")
    texts = [cells.get(key, "") for key in keys]
    label = cells.get("label") or "object"
    if not any(texts):
        return None
    try:
        a, b, c, d = (float(text) for text in texts)
    except ValueError:
        return Shape(label, where=where, fault="malformed")
    box = [a, b, c, d] if keys[0] == "x0" else [a, b, a + c, b + d]
    return Shape(label, box, is_crowd=cells.get("group") == "1", where=where)
