"""The text of a dataset string: its parts, its options, and the messages about malformed ones."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from d2lite.utils.errors import ConfigError

_SUBSET = ("fraction", "images", "seed")


@dataclass(frozen=True)
class Kind:
    """What a kind of string looks like.

    Attributes:
        form: for messages.
        options: what may follow the question mark.
        has_part: whether an @ may follow the path.
    """

    form: str
    options: tuple[str, ...] = ("classes", *_SUBSET)
    has_part: bool = True

    @property
    def has_folder(self) -> bool:
        """Whether the part after the @ is a folder of images, and not a split."""
        return self.form.endswith("@IMAGES_DIR")


KINDS = {
    "coco": Kind("coco:ANNOTATIONS.json@IMAGES_DIR"),
    "panoptic": Kind("panoptic:ANNOTATIONS.json@IMAGES_DIR"),
    "voc": Kind("voc:ROOT@SPLIT", options=("classes", "year", *_SUBSET)),
    "yolo": Kind("yolo:DATA.yaml@SPLIT"),
    "labelme": Kind("labelme:DIR", has_part=False),
    "masks": Kind("masks:DIR@SPLIT"),
    "semantic": Kind("semantic:DIR@SPLIT", options=_SUBSET),
    "cvat": Kind("cvat:ANNOTATIONS.xml@IMAGES_DIR"),
    "via": Kind("via:FILE.json@IMAGES_DIR"),
    "csv": Kind("csv:TABLE.csv@IMAGES_DIR", options=("classes", "columns", *_SUBSET)),
    "createml": Kind("createml:FILE.json@IMAGES_DIR"),
    "datumaro": Kind("datumaro:FILE.json@IMAGES_DIR"),
    "labelstudio": Kind("labelstudio:FILE.json@IMAGES_DIR"),
    "supervisely": Kind("supervisely:DIR@DATASET"),
    "dota": Kind("dota:DIR@SPLIT"),
    "kitti": Kind("kitti:DIR@SPLIT"),
    "visdrone": Kind("visdrone:DIR@SPLIT"),
    "widerface": Kind("widerface:DIR@SPLIT"),
    "hf": Kind("hf:DIR@SPLIT", options=("classes", "boxes", *_SUBSET)),
    "wds": Kind("wds:SHARDS.tar", has_part=False),
    "images": Kind("images:DIR", options=_SUBSET, has_part=False),
    "auto": Kind("auto:DIR@SPLIT", options=("classes", "year", "val_fraction", *_SUBSET)),
}

_FILE_AND_FOLDER = re.compile(r"(.+\.(?:json|xml|csv|tsv))@(.+)", re.IGNORECASE)

_EXAMPLES = {
    "classes": "cat,dog",
    "columns": "image:FILE,label:KIND",
    "boxes": "xyxy",
    "year": "2007",
    "val_fraction": "0.2",
    "fraction": "0.1",
    "images": "list.txt",
    "seed": "1",
}

# VOC's metric since 2010, and the one for new data.
_DEFAULT_YEAR = 2012


@dataclass(frozen=True)
class DatasetSpec:
    """The parts of a dataset string.

    Attributes:
        name: the whole string.
        kind: "coco", "voc" ...
        path: as written, relative or absolute.
        part: what follows the last @: an image folder or a split; None if left out.
        classes: names to keep, in this order; None for all.
        columns: what a column of a table holds -> its name; None for names that are known.
        boxes: "xywh" or "xyxy", what the numbers of a box of `hf:` are.
        year: 2007 or 2012, the metric of VOC.
        val_fraction: the share of images that validation gets, of data without such a split.
        fraction: the share of images to use; None for all.
        images: a text file of the names of the images to use; None for all.
        seed: draws both shares.
    """

    name: str
    kind: str
    path: str
    part: str | None = None
    classes: list[str] | None = None
    columns: dict[str, str] | None = None
    boxes: str = "xywh"
    year: int = _DEFAULT_YEAR
    val_fraction: float | None = None
    fraction: float | None = None
    images: str | None = None
    seed: int = 0

    def whole_path(self) -> str:
        """The path where its @ is not a separator but belongs to the name of a folder."""
        return self.path if self.part is None else f"{self.path}@{self.part}"

    @property
    def is_subset(self) -> bool:
        """Whether only some of the images are meant."""
        return self.fraction is not None or self.images is not None


def parse_spec(name: str) -> DatasetSpec:
    """Read a dataset string; the disk is not looked at.

    Raises:
        ConfigError: if it is malformed, with the right form.
    """
    prefix, _, rest = name.partition(":")
    kind = KINDS.get(prefix)
    if kind is None:
        forms = ", ".join(k.form for k in KINDS.values())
        raise ConfigError(
            f"The dataset string {name!r} does not begin with a known kind; use {forms}."
        )
    # Only a question mark before an option ends the path: file names may have one too.
    body, *options = re.split(r"\?(?=\w+=)", rest, maxsplit=1)
    path, at, part = body.rpartition("@") if "@" in body else (body, "", "")
    if kind.has_folder and (match := _FILE_AND_FOLDER.fullmatch(body)):
        path, part = match.groups()  # either may have an @ in it
    if "/" in part and not kind.has_folder:
        path, at, part = body, "", ""  # a folder of the path has an @
    if not path.strip() or (at and not part.strip()):
        raise _malformed(name, kind, "a part of it is empty")
    if at and not kind.has_part:
        raise _malformed(name, kind, f"it has '@{part}'")
    given = _parse_options(options[0], name, kind) if options else {}
    return DatasetSpec(name=name, kind=prefix, path=path, part=part or None, **given)


def _malformed(name: str, kind: Kind, why: str) -> ConfigError:
    options = "&".join(f"{option}={_EXAMPLES[option]}" for option in kind.options)
    return ConfigError(
        f"The dataset string {name!r} is malformed: {why}. The form is {kind.form}"
        f"{', where the part from the @ on may be left out' if kind.has_part else ''}"
        f"{f'; options stand at the end, as in ?{options}' if options else ''}."
    )


def _parse_options(text: str, name: str, kind: Kind) -> dict[str, Any]:
    # A class name may have an ampersand, so only one before an option separates.
    pairs = dict(
        pair.split("=", maxsplit=1) for pair in re.split(r"&(?=\w+=)", text) if "=" in pair
    )
    unknown = [key for key in pairs if key not in kind.options]
    if unknown:
        raise _malformed(name, kind, f"it has the option {unknown[0]!r}")
    found: dict[str, Any] = {}
    for key, value in pairs.items():
        try:
            found[key] = _READ_OPTION[key](value)
        except ValueError as err:
            raise _malformed(name, kind, f"{key}={value!r} is not {err}") from err
    if "seed" in found and not found.keys() & {"val_fraction", "fraction"}:
        why = "seed draws the share of fraction"
        why += " or val_fraction" if "val_fraction" in kind.options else ""
        raise _malformed(name, kind, f"{why}, which is not given")
    return found


def _class_list(text: str) -> list[str]:
    names = [label.strip() for label in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError("a list of different class names with commas between them")
    return names


def _columns(text: str) -> dict[str, str]:
    pairs = [pair.partition(":") for pair in text.split(",")]
    if not all(what.strip() and name.strip() for what, _, name in pairs):
        raise ValueError("a list such as image:FILE,label:KIND,x0:LEFT")
    return {what.strip(): name.strip() for what, _, name in pairs}


def _boxes(text: str) -> str:
    if text not in ("xywh", "xyxy"):
        raise ValueError("xywh (left, top, width, height) or xyxy (two corners)")
    return text


def _year(text: str) -> int:
    if text not in ("2007", "2012"):
        raise ValueError("2007 (11 points) or 2012 (area), the metrics of VOC")
    return int(text)


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise ValueError("a number between 0 and 1")
    return value


def _path(text: str) -> str:
    if not text.strip():
        raise ValueError("a text file of image names")
    return text


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("a whole number from 0")
    return int(text)


_READ_OPTION: dict[str, Callable[[str], Any]] = {
    "classes": _class_list,
    "columns": _columns,
    "boxes": _boxes,
    "year": _year,
    "val_fraction": _fraction,
    "fraction": _fraction,
    "images": _path,
    "seed": _whole_number,
}
