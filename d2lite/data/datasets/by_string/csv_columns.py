"""What the columns of a table hold, by their names, or by what is in them."""

import math
import re
from collections.abc import Mapping

from d2lite.data.datasets.image_finder import has_image_ending

# What a column holds -> the names that tools give it, in lower case without _ and blanks.
_NAMES = {
    "image": (
        "filename",
        "image",
        "imagename",
        "imagepath",
        "path",
        "file",
        "imageid",
        "img",
        "imgname",
        "imgpath",
        "imgid",
        "filepath",
        "imagefile",
        "imagefilename",
        "fname",
        "frame",
    ),
    "label": (
        "class",
        "label",
        "labelname",
        "classname",
        "category",
        "name",
        "classlabel",
        "classid",
        "categoryid",
        "labelid",
        "categoryname",
        "objectname",
        "tag",
    ),
    "x0": (
        *("xmin", "x0", "x1", "left", "bboxxmin", "xtl", "roix1", "minx", "bboxx1", "xstart"),
        "topleftx",
    ),
    "y0": (
        *("ymin", "y0", "y1", "top", "bboxymin", "ytl", "roiy1", "miny", "bboxy1", "ystart"),
        "toplefty",
    ),
    "x1": (
        *("xmax", "x2", "right", "bboxxmax", "xbr", "roix2", "maxx", "bboxx2", "xend", "x1"),
        "bottomrightx",
    ),
    "y1": (
        *("ymax", "y2", "bottom", "bboxymax", "ybr", "roiy2", "maxy", "bboxy2", "yend", "y1"),
        "bottomrighty",
    ),
    "x2": ("x3",),
    "y2": ("y3",),
    "x3": ("x4",),
    "y3": ("y4",),
    "x": ("x", "bboxx"),
    "y": ("y", "bboxy"),
    "cx": ("xcenter", "xcentre", "cx", "centerx", "xc", "bboxxcenter"),
    "cy": ("ycenter", "ycentre", "cy", "centery", "yc", "bboxycenter"),
    "box": ("bbox", "box", "boundingbox"),
    "rle": ("encodedpixels", "rle"),
    "mask": ("maskpath",),
    "w": ("w", "boxwidth", "bboxwidth", "bboxw"),
    "h": ("h", "boxheight", "bboxheight", "bboxh"),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
    "group": ("isgroupof", "iscrowd"),
    "split": ("split", "set", "subset", "dataset", "partition", "usage", "mlusage", "datasplit"),
}
_CORNER_KEYS = ("x0", "y0", "x1", "y1", "x2", "y2", "x3", "y3")
# The columns of four corners, one after the other.
_CORNERS = (
    _CORNER_KEYS,
    ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"),
    (
        *("topleftx", "toplefty", "toprightx", "toprighty"),
        *("bottomrightx", "bottomrighty", "bottomleftx", "bottomlefty"),
    ),
)
# Tables without a line of names: RetinaNet (also of Roboflow), SKU-110K, makesense, AutoML.
_NAMELESS = (
    ("image", "x0", "y0", "x1", "y1", "label"),
    ("image", "x0", "y0", "x1", "y1", "label", "width", "height"),
    ("label", "x", "y", "w", "h", "image", "width", "height"),
    ("split", "image", "label", "x0", "y0", "", "", "x1", "y1", "", ""),
)
_NUMBERS = frozenset(["x0", "y0", "x1", "y1", "x", "y", "w", "h", "width", "height"])
# Columns of which a place is made; the first that a table has count.
KEYS = (
    *(("x0", "y0", "x1", "y1"), ("cx", "cy", "w", "h"), ("x", "y", "w", "h")),
    *(("box",), ("rle",), ("mask",)),
)


def table_columns(header: list[str], renamed: Mapping[str, str] | None = None) -> dict[str, int]:
    """What each column of a table holds.

    Args:
        header: the first line.
        renamed: what a column holds -> its name, where it is none of those known.

    Returns:
        "image", "label", "x0" ... -> number of the column; empty if these are other columns.
    """
    plain = [_plain(name) for name in header]
    found = {}
    for what, names in _NAMES.items():
        wanted = [_plain((renamed or {}).get(what, "")), *names]
        places = [plain.index(name) for name in wanted if name and name in plain]
        if places:
            found[what] = places[0]
    for first, last in (("x0", "x1"), ("y0", "y1")):
        if first in found and found[first] == found.get(last):
            del found[last]  # x1 is the left edge, unless there is x0
    corners = next((keys for keys in _CORNERS if set(keys) <= set(plain)), None)
    if corners:
        found |= {key: plain.index(name) for key, name in zip(_CORNER_KEYS, corners, strict=True)}
    is_cornered = {"x", "y"} <= found.keys() or {"cx", "cy"} <= found.keys()
    if is_cornered and {"width", "height"} <= found.keys() and not {"x0", "w"} & found.keys():
        # x, y, width, height: the last two are the box's.
        found["w"], found["h"] = found.pop("width"), found.pop("height")
    if "label" not in found:  # of all classes at once, whose numbers nothing here names
        found.pop("mask", None)
    return found if "image" in found and any(found.keys() >= {*box} for box in KEYS) else {}


def without_separator_line(text: str) -> str:
    """A table with an empty line in place of "sep=;", which tells Excel what is between cells."""
    return re.sub(r"\A\ufeff?sep=.[,;\t]*\r?\n", "\n", text)


def missing_column(header: list[str], renamed: Mapping[str, str]) -> str | None:
    """The first of some names that no column has; blanks, _ and letter case do not count."""
    plain = {_plain(name) for name in header}
    return next((name for name in renamed.values() if _plain(name) not in plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[\s_.#\ufeff-]", "", name).lower()


def nameless_columns(row: list[str]) -> dict[str, int]:
    """What each column of a table without a line of names holds; empty if it is not known."""
    cells = [cell.strip() for cell in row]
    for columns in _NAMELESS:
        place = {what: i for i, what in enumerate(columns) if what}
        if len(cells) != len(columns) or not has_image_ending(cells[place["image"]]):
            continue
        numbers = [cells[i] for what, i in place.items() if what in _NUMBERS]
        # An image without objects has only a path.
        if not any(numbers) or all(map(_is_number, numbers)):
            return place
    return {}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
