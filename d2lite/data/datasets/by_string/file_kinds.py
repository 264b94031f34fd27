"""Which tool wrote a label file, by what is in it; large files are searched and not parsed."""

import mmap
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from d2lite.data.datasets.image_finder import files_below, has_image, is_leftover

from .csv_columns import nameless_columns, table_columns, without_separator_line

# XML has its root near the beginning, and JSON the keys by which one tool's list is known.
_HEAD_BYTES = 2**16


def json_kind(path: Path) -> str:
    """The kind of dataset string that reads a JSON file; "" if none does.

    Files of COCO may be hundreds of megabytes with any order of keys, so that the whole of it is
    searched for the names of keys.
    """
    if not path.is_file() or path.stat().st_size < 2:
        return ""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        encoding = _encoding(text[:4])

        def has(key: str) -> bool:
            return text.find(f'"{key}"'.encode(encoding), 0) >= 0

        begin = text[:_HEAD_BYTES].decode(encoding, errors="ignore").lstrip("\ufeff \t\r\n")[:1]
        if begin == "[":
            if has("coordinates") and any(map(has, ("image", "imagefilename", "imageURL"))):
                return "createml"
            is_task = has("data") and (has("annotations") or has("completions"))
            return "labelstudio" if is_task or has("annotation_id") else ""
        if begin != "{":
            return ""
        if has("_via_img_metadata") or has("region_attributes") or has("fid_list"):
            return "via"
        if has("shapes") and not has("categories"):
            return "labelme"
        if has("segments_info") and has("categories"):
            return "panoptic"
        if has("items") and has("categories") and not has("images"):
            return "datumaro"
        return "coco" if has("images") and (has("annotations") or has("categories")) else ""


def _encoding(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16-le" if head[0] == 0xFF else "utf-16-be"
    return "utf-8"


def xml_kind(path: Path) -> str:
    """The kind of an XML file: "voc" for Pascal VOC's, "cvat" for CVAT's own, "" for others."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES).replace(b"\0", b"")
    found = re.search(rb"<(?:\w+:)?(annotations?)[\s>]", head, re.IGNORECASE)
    return {b"annotation": "voc", b"annotations": "cvat"}[found[1].lower()] if found else ""


def csv_kind(path: Path) -> str:
    """The kind of a CSV file: "csv" for a table of boxes, "via" for VIA's, "" for others."""
    cells = first_cells(path) if path.is_file() else []
    if "region_shape_attributes" in cells:
        return "via"
    return "csv" if table_columns(cells) or nameless_columns(cells) else ""


def first_cells(path: Path) -> list[str]:
    """The first line of a table, of which no more is read."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    text = without_separator_line(head.decode(_encoding(head), "replace")).lstrip("\ufeff\r\n ")
    line = next(iter(text.splitlines()), "")
    return [cell.strip().strip('"') for cell in re.split(r"[,;\t]", line)]


def visible(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Files and folders right in a folder, sorted, without the files that systems add.

    Args:
        folder: nothing is in it if it is none, or may not be read.
        pattern: of their names, as "*.json", which also fits A.JSON of Windows.
    """
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if fnmatchcase(path.name.lower(), pattern) and not is_leftover(path):
                yield path


def visible_below(folder: Path, ending: str) -> list[Path]:
    """Files of an ending, whatever its case, in a folder and all below, sorted, likewise."""
    found = (path for path in files_below(folder) if path.suffix.lower() == ending)
    return sorted(path for path in found if not is_leftover(path))


def labels_below(folder: Path, ending: str, images: Iterable[Path]) -> list[Path]:
    """As `visible_below`, without the folders below that have no images of their own, as copies.

    Args:
        folder: of the labels.
        ending: of their names.
        images: the folders whose folders below are called as those of the labels.
    """
    homes, known = list(images), {folder: True}
    files = visible_below(folder, ending)
    for place in {path.parent for path in files} - {folder}:
        inside = (home / place.relative_to(folder) for home in homes)
        known[place] = any(path.is_dir() and has_image(path) for path in inside)
    return [path for path in files if known[path.parent]]
