"""Images whose pixels name a class or an object: by numbers, a palette or colours.

H x W pixels.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PureWindowsPath

import numpy as np
from PIL import Image

from d2lite.data.datasets.image_finder import has_image_ending
from d2lite.data.datasets.label_files import read_json, read_lines, read_text
from d2lite.data.datasets.pascal_voc import CLASS_NAMES
from d2lite.data.images.channels import is_array_file
from d2lite.data.images.image_io import DECODING_ERRORS, read_image
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError

from .entries import MALFORMED

NO_CLASS = 255
"""The number of pixels at borders, and of those that nobody labelled."""

BACKGROUND = (
    "background",
    "_background_",
    "__ignore__",
    "unlabeled",
    "unlabelled",
    "void",
    "ignored",
)
"""What tools call the class of pixels without an object."""


@dataclass
class PixelClasses:
    """The classes of maps.

    Attributes:
        names: in the order of the numbers; the background is among them.
        colours: code of a colour, see `colour_code`, for some numbers; VOC's colours without it.
        file: where it is written; None for those of VOC.
    """

    names: list[str]
    colours: dict[int, int] = field(default_factory=dict)
    file: Path | None = None

    @property
    def objects(self) -> list[str]:
        """The names without that of the background."""
        return [name for name in self.names if name.lower() not in BACKGROUND]

    @cached_property
    def number_of(self) -> dict[int, int]:
        """Code of a colour -> number of the class."""
        unlabelled = {voc_colour(NO_CLASS): NO_CLASS, 0: NO_CLASS}
        return unlabelled | {
            self.colours.get(i, voc_colour(i)): i for i in reversed(range(len(self.names)))
        }

    def numbers(self, path: Path) -> np.ndarray:
        """(H, W) class numbers of a map; `NO_CLASS` where a pixel has none.

        Raises:
            DataError: if it has a number or a colour of no class.
        """
        pixels, is_colour = _pixels(path)
        rgb = read_image(str(path), "RGB")
        codes, is_grey = _colours(rgb), all((rgb[..., 0] == rgb[..., i]).all() for i in (1, 2))
        # Programs that make files smaller give a palette other numbers and keep its colours.
        if (is_colour or not is_grey) and (self._table[codes] >= 0).all():
            pixels, is_colour = codes, True
        elif is_grey and is_colour:  # numbers that were saved as three equal channels
            pixels, is_colour = rgb[:, :, 0], False
        table = self._table if is_colour else self.greys
        numbers: np.ndarray = table[pixels.clip(0, len(table) - 1)]
        is_known = (numbers >= 0) & (pixels < len(table))
        if not is_known.all():
            value = int(pixels[~is_known][0])
            what = f"the colour {_colour_text(value)}" if is_colour else f"{value}"
            raise DataError(
                f"{path} has pixels of {what}, which is not a class of "
                f"{self.file or 'Pascal VOC'}. Add labelmap.txt with a line "
                "'name:red,green,blue::' for each class."
            )
        return numbers

    @cached_property
    def greys(self) -> np.ndarray:
        """(256,) int16 of the numbers of the values of grey maps, -1 of those of no class.

        They are these values, unless the list has a shade of grey for each class.
        """
        levels = {c & 255: i for i, c in self.colours.items() if c == (c & 255) * 0x10101}
        if len(levels) < len(self.names):
            levels = {number: number for number in range(len(self.names))}
        # The numbers of 16-bit maps may be larger.
        table = np.full(max(NO_CLASS + 1, len(self.names)), -1, np.int16)
        table[NO_CLASS] = NO_CLASS
        table[list(levels)] = list(levels.values())
        return table

    @cached_property
    def _table(self) -> np.ndarray:
        """(2**24) int16 of the numbers of all colours, -1 of those of no class."""
        table = np.full(2**24, -1, np.int16)
        for code, number in self.number_of.items():
            table[code] = number
        return table


def pixel_classes(folders: Iterable[Path], *, has_default: bool = True) -> PixelClasses:
    """The classes that the first list in some folders has.

    Known are labelmap.txt of CVAT and Datumaro ("name:r,g,b:parts:actions"), label_colors.txt of
    CamVid and KITTI ("r g b name"), class_dict.csv (name,r,g,b) and Roboflow's _classes.csv
    (number, name), Datumaro's dataset_meta.json, Supervisely's obj_class_to_machine_color.json,
    classes.txt and LabelMe's class_names.txt, a name a line.

    Args:
        folders: nearest first.
        has_default: whether it is the twenty of VOC without a list, and not none.
    """
    for folder in folders:
        for name, read in _LISTS.items():
            if (folder / name).is_file():
                try:
                    rows = [(label.strip(), _code(colour)) for label, colour in read(folder / name)]
                except MALFORMED as err:
                    raise DataError(
                        f"{folder / name} has other content than such lists of classes have "
                        f"({type(err).__name__}: {err}). Export it again, or replace it by "
                        "labelmap.txt with a line 'name:red,green,blue::' for each class."
                    ) from err
                is_plain = all(code < 0 for _, code in rows) and name.startswith("label")
                if is_plain and all(label.lower() not in BACKGROUND for label, _ in rows):
                    rows.insert(0, (BACKGROUND[0], -1))  # it is implied by these tools
                colours = {i: code for i, (_, code) in enumerate(rows) if code >= 0}
                return PixelClasses([label for label, _ in rows], colours, folder / name)
    return PixelClasses(["background", *CLASS_NAMES] if has_default else [])


def read_labelmap(file: Path) -> list[tuple[str, list[str]]]:
    """The (name, colour as text) of each line of labelmap.txt."""
    rows = [line.split(":") for line in read_lines(file) if not line.startswith("#")]
    return [(row[0].strip(), "".join(row[1:2]).split(",")) for row in rows if row[0].strip()]


def read_label_colours(file: Path) -> list[tuple[str, list[str]]]:
    """The (name, colour as text) of each line of label_colors.txt."""
    rows = []
    for line in read_lines(file):
        words = line.split()
        has_colour = len(words) > 3 and all(word.isdecimal() for word in words[:3])
        rows.append((" ".join(words[3:] if has_colour else words), words[:3] * has_colour))
    return rows


def _read_table(file: Path) -> list[tuple[str, list[str]]]:
    """Either "name,r,g,b" or "number,name"."""
    rows = [row for row in csv.reader(io.StringIO(read_text(file))) if len(row) > 1]
    if rows and _code(rows[0][1:4]) < 0:
        del rows[0]  # the names of the columns
    if all(row[0].strip().isdecimal() for row in rows):
        return [(name, []) for name in _in_order({int(row[0]): row[1] for row in rows})]
    return [(row[0], row[1:4]) for row in rows]


def _in_order(names: dict[int, str]) -> list[str]:
    """The names of the numbers from 0; those that are left out have no objects."""
    if max(names, default=0) > 2**16:
        raise ValueError("a class of a large number")
    return [
        names.get(i, f"unused {i}" if i else BACKGROUND[0])
        for i in range(max(names, default=-1) + 1)
    ]


def _read_meta(file: Path) -> list[tuple[str, list[str]]]:
    content = read_json(file)
    names = content.get("label_map") or dict(enumerate(content.get("labels") or ()))
    colours = content.get("segmentation_colors")
    if not colours:
        return [(name, []) for name in _in_order({int(i): str(n) for i, n in names.items()})]
    texts = [list(map(str, colour)) for colour in colours]
    return list(zip(map(str, names.values()), texts, strict=True))


def _read_names(file: Path) -> list[tuple[str, list[str]]]:
    # LabelMe's example of a conversion gives the name __ignore__ the number -1.
    return [(name, []) for name in read_lines(file) if name != "__ignore__"]


def _read_machine_colours(file: Path) -> list[tuple[str, list[str]]]:
    rows = [(str(name), list(map(str, colour))) for name, colour in read_json(file).items()]
    return [(BACKGROUND[0], ["0", "0", "0"]), *rows]


_LISTS: dict[str, Callable[[Path], list[tuple[str, list[str]]]]] = {
    "labelmap.txt": read_labelmap,
    "label_colors.txt": read_label_colours,
    "class_dict.csv": _read_table,
    "_classes.csv": _read_table,
    "dataset_meta.json": _read_meta,
    "obj_class_to_machine_color.json": _read_machine_colours,
    "classes.txt": _read_names,
    "class_names.txt": _read_names,
}


def image_key(name: str) -> str:
    """The path of a file without the ending of an image, with slashes."""
    path = PureWindowsPath(name)
    return (path.with_suffix("") if has_image_ending(name) else path).as_posix()


def voc_colour(number: int) -> int:
    """The code of the colour that VOC's palette has for a number."""
    # Bits 0, 3, 6 of the number are the upper bits of red; 1, 4, 7 of green; 2, 5 of blue.
    red, green, blue = (
        sum((number >> 3 * bit + channel & 1) << 7 - bit for bit in range(3))
        for channel in range(3)
    )
    return red << 16 | green << 8 | blue


def _code(colour: list[str]) -> int:
    """One number for a colour as text; -1 where it is none."""
    try:
        red, green, blue = (int(part) for part in colour)
    except ValueError:
        return -1
    return red << 16 | green << 8 | blue


def _colour_text(code: int) -> str:
    return f"{code >> 16},{code >> 8 & 255},{code & 255}"


def _colours(pixels: np.ndarray) -> np.ndarray:
    codes = pixels[:, :, 0].astype(np.int32)
    for channel in (1, 2):
        codes = codes << 8 | pixels[:, :, channel]
    return codes


def _pixels(path: Path) -> tuple[np.ndarray, bool]:
    """(H, W) int64 numbers, or codes of colours, and whether it is these."""
    pixels = read_image(str(path))
    if pixels.ndim == 3 and pixels.shape[2] > 2:
        return _colours(pixels), True
    return (pixels if pixels.ndim == 2 else pixels[:, :, 0]).astype(np.int64), False


def is_of_numbers(path: Path, classes: PixelClasses) -> bool:
    """Whether the pixels of an image are numbers as they are; only its head is read.

    Raises:
        DataError: if it cannot be read as an image, or is a JPEG.
    """
    if is_array_file(path.name):
        return True
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise DataError(f"{path} is a JPEG, which alters the numbers of classes; save it as PNG.")
    try:
        with Image.open(path) as image:
            if image.mode != "P":
                is_same = classes.greys[: len(classes.names)] == np.arange(len(classes.names))
                return image.mode in ("L", "I", "I;16") and bool(is_same.all())
            palette = np.array(image.getpalette("RGB") or []).reshape(-1, 1, 3)
            codes = _colours(palette).reshape(-1).tolist()[: len(classes.names)]
            return all(classes.number_of.get(code) == i for i, code in enumerate(codes))
    except (*DECODING_ERRORS, Image.DecompressionBombError) as err:
        raise DataError(f"{path} is not an image that can be read: {err}.") from err


def read_numbers(path: Path) -> np.ndarray:
    """(H, W) int64 of a map of numbers, up to 16 bits.

    Raises:
        DataError: if it is a picture in colours.
    """
    numbers, is_colour = _pixels(path)
    if is_colour:
        raise DataError(f"{path} is in colours, where numbers of 8 or 16 bits are expected.")
    return numbers


def object_masks(path: Path) -> Iterator[np.ndarray]:
    """A (H, W) bool mask for each number, or colour, of a map of objects; borders are left out."""
    values, is_colour = _pixels(path)
    no_object = (0, voc_colour(NO_CLASS) if is_colour else NO_CLASS)
    # One after the other: many masks of a large image do not fit the memory.
    return (values == value for value in np.unique(values).tolist() if value not in no_object)


def scaled_mask(path: Path, size: tuple[int, int]) -> rle.RLE:
    """The mask of one object in an image of its own, whatever is not black.

    Args:
        path: of the image, which may have another size, as those of Open Images have.
        size: (height, width) of the mask.
    """
    pixels = read_image(str(path), "L")[:, :, 0] > 0
    rows, columns = (
        ((np.arange(side) + 0.5) * own / side).astype(np.int64)
        for side, own in zip(size, pixels.shape, strict=True)
    )
    return rle.encode(pixels[rows][:, columns])
