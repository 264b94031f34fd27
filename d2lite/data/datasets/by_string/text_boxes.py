"""Layouts with boxes of pixels in text files: KITTI, DOTA, VisDrone, WIDER FACE."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from d2lite.data.datasets.image_finder import IMAGE_ENDINGS
from d2lite.data.datasets.label_files import MAX_IMAGE_LABELS, read_text
from d2lite.data.records.faults import FaultLog
from d2lite.utils.errors import DataError

from .entries import Entry, EntrySource, Shape
from .file_kinds import labels_below, visible
from .source import find_path, no_such_path

_IMAGE_FOLDERS = ("images", "image_2", "img", "JPEGImages")
# Folder of the labels of each layout, as tools name it.
LABEL_FOLDERS = {
    "kitti": ("label_2", "labels", "label"),
    "dota": ("labelTxt", "labelTxt-v1.0", "labelTxt-v1.5", "labels", "annfiles"),
    "visdrone": ("annotations",),
}
# KITTI marks regions that nobody has looked at.
_IGNORED = "DontCare"
_FACE = "face"  # the class of WIDER FACE


def label_folder(folder: Path, kind: str) -> Path | None:
    """The folder of the text files of a layout, if its first line is of this layout."""
    for name in (*LABEL_FOLDERS[kind], "."):
        files = (path for path in visible(folder / name, "*.txt") if not is_icdar(path))
        for file in islice(files, 20):
            lines = [words for line in _lines(file) if (words := _words(line))]
            lines = [words for words in lines if ":" not in words[0]]
            if lines:
                if _FITS[kind](lines[0]):
                    return folder / name
                break
    return None


def _lines(file: Path) -> list[str]:
    return read_text(file, MAX_IMAGE_LABELS).splitlines()


def _words(line: str) -> list[str]:
    """The parts of a line; some tools write commas between them."""
    return (line.replace(",", " ") if line.count(",") > 6 else line).split()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_icdar(file: Path) -> bool:
    """Whether a name is that of ICDAR's lists, whose lines end in a text and not in a class."""
    return file.stem.startswith(("gt_", "res_"))


def _fits_kitti(words: list[str]) -> bool:
    return len(words) in (15, 16) and not _is_number(words[0]) and all(map(_is_number, words[1:]))


def fits_dota(words: list[str]) -> bool:
    """Whether a line has the corners of a box in pixels and the name of a class, as DOTA has."""
    return len(words) >= 9 and all(map(_is_number, words[:8])) and not _is_number(words[8])


def _fits_visdrone(words: list[str]) -> bool:
    is_whole = len(words) == 8 and all(word.lstrip("-").isdecimal() for word in words)
    return is_whole and words[4] in ("0", "1") and int(words[5]) in range(12)


_FITS = {"kitti": _fits_kitti, "dota": fits_dota, "visdrone": _fits_visdrone}


class _TextSource(EntrySource):
    """A folder of label files and one of images."""

    kind = ""
    read_line: Callable[..., Shape]

    def __init__(self, path: str, split: str | None) -> None:
        """Find the folders.

        Args:
            path: the folder of both.
            split: the name of a folder in it; None for itself.
        """
        inside = f"{path}/{split}" if split else path
        root = find_path(inside, suits=lambda place: label_folder(place, self.kind) is not None)
        found = label_folder(root, self.kind)
        if found is None:
            places = [root / name for name in LABEL_FOLDERS[self.kind]]
            raise no_such_path(f"A folder of {self.layout} labels below {inside}", places)
        # Other folders below that of the images are not of labels.
        is_deep = found != root
        # KITTI has maps of classes under the same names in other folders.
        images = [root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()]
        images = images or [found, root]
        self._files = (
            labels_below(found, ".txt", images) if is_deep else list(visible(found, "*.txt"))
        )
        super().__init__(found, images)

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """One image a label file, by name."""
        entries = []
        for file in self._files:
            entry = Entry(file.relative_to(self.file).with_suffix("").as_posix())
            for number, line in enumerate(_lines(file), start=1):
                words = _words(line)
                if not words or ":" in words[0]:
                    continue  # imagesource:GoogleEarth, gsd:0.1
                where = f"{file}, line {number}"
                try:
                    shape = self.read_line(words)
                except (ValueError, IndexError) as err:
                    shape = Shape("", where=f"{where} ({err})", fault="malformed")
                shape.where = shape.where or where
                entry.shapes.append(shape)
            entries.append(entry)
        return entries


class KittiSource(_TextSource):
    """label_2/NAME.txt and image_2/NAME.png; DontCare regions are left out."""

    kind, layout = "kitti", "KITTI"

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """Without the regions that nobody labelled."""
        entries = super().read_entries(faults)
        for entry in entries:
            entry.shapes = [shape for shape in entry.shapes if shape.label != _IGNORED]
        return entries

    @staticmethod
    def read_line(words: list[str]) -> Shape:
        """Read "class truncated occluded alpha left top right bottom ..."."""
        x0, y0, x1, y1 = (float(word) for word in words[4:8])
        return Shape(words[0], [x0, y0, x1, y1])


class DotaSource(_TextSource):
    """labelTxt/NAME.txt and images/NAME.png: four corners, class, difficulty."""

    kind, layout = "dota", "DOTA"

    @staticmethod
    def read_line(words: list[str]) -> Shape:
        """Read "x1 y1 x2 y2 x3 y3 x4 y4 class difficult"."""
        if len(words) < 9:
            raise ValueError(f"{len(words)} values, not 8 and a class")
        # A name may have blanks.
        label = words[8:-1] if len(words) > 9 and _is_number(words[-1]) else words[8:]
        return Shape(" ".join(label), polygons=[[float(word) for word in words[:8]]])


class VisDroneSource(_TextSource):
    """annotations/NAME.txt and images/NAME.jpg; what the challenge does not count is left out."""

    kind, layout = "visdrone", "VisDrone"
    # By their numbers; the first and the last are the regions and objects that do not count.
    names = (
        *("", "pedestrian", "people", "bicycle", "car", "van", "truck"),
        *("tricycle", "awning-tricycle", "bus", "motor", ""),
    )

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """Without what does not count."""
        entries = super().read_entries(faults)
        for entry in entries:
            entry.shapes = [shape for shape in entry.shapes if shape.label or shape.fault]
        return entries

    def class_names(self) -> list[str]:
        """Those of the challenge, in the order of their numbers."""
        return [name for name in self.names if name]

    @classmethod
    def read_line(cls, words: list[str]) -> Shape:
        """Read "left,top,width,height,counts,class,truncation,occlusion"."""
        x, y, w, h = (float(word) for word in words[:4])
        name = cls.names[int(words[5])]
        return Shape(name if words[4] == "1" else "", [x, y, x + w, y + h])


def widerface_files(folder: Path) -> dict[str, Path]:
    """Split -> list of boxes, of WIDER FACE's folder or of its wider_face_split."""
    found = {}
    for home in (folder, folder / "wider_face_split"):
        for path in sorted(home.glob("wider_face_*_bbx_gt.txt")):
            found[path.name.split("_")[2]] = path
    return found


class WiderFaceSource(EntrySource):
    """One list of boxes, wider_face_SPLIT_bbx_gt.txt, and WIDER_SPLIT/images."""

    layout = "WIDER FACE"

    def __init__(self, path: str, split: str | None) -> None:
        """Find the list.

        Args:
            path: the folder, or the list itself.
            split: "train" where None.
        """
        place = find_path(path, suits=lambda p: p.is_file() or bool(widerface_files(p)))
        split = split or "train"
        file = place if place.is_file() else widerface_files(place).get(split)
        if file is None:
            name = f"wider_face_{split}_bbx_gt.txt"
            raise no_such_path(name, [place / name, place / "wider_face_split" / name])
        homes = [file.parent, file.parent.parent]
        images = [h / d for h in homes for d in (f"WIDER_{split}/images", "images")]
        super().__init__(file, images)

    def class_names(self) -> list[str]:
        """One class, unless the lines name their own."""
        return sorted(self.labels()) or [_FACE]

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images in the order of the list; boxes marked invalid are left out."""
        every = [(i, line.strip()) for i, line in enumerate(_lines(self.file), 1) if line.strip()]
        entries = []
        every.reverse()
        while every:
            number, name = every.pop()
            if set(name.split()) == {"0"}:
                continue  # what an image without a face has in place of a box, or has not
            entry = Entry(name)
            try:
                # Datumaro writes no number for an image without a box.
                is_empty = not every or every[-1][1].lower().endswith(IMAGE_ENDINGS)
                for _ in range(0 if is_empty else int(every.pop()[1])):
                    number, line = every.pop()
                    entry.shapes += _face(line, f"{self.file}, line {number}")
            except (IndexError, ValueError) as err:
                raise DataError(
                    f"{self.file}, line {number}: not a list of WIDER FACE: expected the name of "
                    f"an image, the number of boxes, and a line 'x y w h ...' for each ({err})."
                ) from err
            entries.append(entry)
        return entries


def _face(line: str, where: str) -> list[Shape]:
    """The box of "x y w h blur expression illumination invalid ..."; none where it is invalid.

    Datumaro writes the name of a class after the size, or behind marks such as "- False".
    """
    words = line.split()
    x, y, w, h = (float(word) for word in words[:4])
    marks = ("-", "True", "False")
    label = [word for word in words[4:] if not _is_number(word) and word not in marks]
    facts = [float(word) for word in words[4:] if _is_number(word)]
    is_invalid = len(facts) > 3 and facts[3] == 1
    shape = Shape(" ".join(label) or _FACE, [x, y, x + w, y + h], where=where)
    return [] if is_invalid else [shape]
