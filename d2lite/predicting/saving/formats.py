"""OutputWriter: results in all the formats of --save-as."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from d2lite.data.converting.object_kinds import BOXES
from d2lite.utils.errors import ConfigError

from ..drawing import write_picture
from ..result import Result
from .image_files import drawing_name, save_crops, save_in_dataset, save_label_map
from .one_file import ONE_FILE

__all__ = ["FORMATS", "OutputWriter", "parse_formats"]

# Of each image, in a folder of the format's name; see also ONE_FILE.
_DATASETS = ("yolo", "labelme", "masks")
FORMATS = ("drawing", "json", "coco", "yolo", "labelme", "cvat", "csv", "crops", "masks")
# Those that also hold the frames of a video, which are not files.
OF_FRAMES = ("drawing", "json", "csv", "crops")


def parse_formats(text: str) -> list[str]:
    """The formats of a list with commas.

    Raises:
        ConfigError: for an unknown format.
    """
    formats = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(
            f"--save-as {text}: {', '.join(unknown) or 'nothing'} is not a format; choose from "
            f"{', '.join(FORMATS)}."
        )
    return formats


class OutputWriter:
    """Writes the files of each image at once, and those of all images at the end.

    Attributes:
        lost: what formats could not hold, with counts, but for boxes beside their masks.
        strings: the dataset strings that read what was written.
    """

    def __init__(self, folder: Path, formats: Sequence[str], *, image_mode: str = "link") -> None:
        """Remember what is wanted.

        Args:
            folder: of all outputs.
            formats: of FORMATS.
            image_mode: how datasets get their images: "link" or "copy".
        """
        self.folder, self.formats, self._image_mode = folder, list(formats), image_mode
        self.lost: Counter[str] = Counter()
        self.strings: dict[str, str] = {}
        self._num_seen = 0

    @property
    def needs_entries(self) -> bool:
        """Whether a file of all images is among the formats."""
        return any(name in ONE_FILE for name in self.formats)

    def write(self, result: Result, stem: str) -> list[Path]:
        """Write the files of one image.

        Args:
            result: with its image.
            stem: of the files, different for each image.

        Returns:
            Its drawing, if there is one.
        """
        drawn = []
        if "drawing" in self.formats:
            path = self.folder / drawing_name(stem, result.path)
            write_picture(result.plot(), path)
            drawn.append(path)
        if "crops" in self.formats:
            save_crops(result, self.folder / "crops", stem)
        self._num_seen = max([self._num_seen, *(result.classes + 1).tolist()])
        names = result.class_names or _numbered(self._num_seen)
        maps = result.segment_map if result.segment_map is not None else result.semantic
        for kind in _DATASETS:
            if kind not in self.formats:
                continue
            if kind == "masks" and maps is not None:
                save_label_map(maps, self.folder / kind / f"{stem}.png")
                continue
            home = self.folder / kind
            self.strings[kind] = save_in_dataset(
                kind, result, names, home, stem, self._image_mode, self.lost
            )
        del self.lost[BOXES]  # A model's box is never quite the box around its mask.
        return drawn

    def finish(
        self, entries: Iterable[dict[str, Any]], class_names: Sequence[str]
    ) -> dict[str, Path]:
        """Write the files of all images.

        Args:
            entries: of each image, "name" and what `Result.to_dict` gives; read several times.
            class_names: of the model; empty where they are not known.

        Returns:
            Format -> its file.
        """
        written = {}
        if not class_names:
            seen = (found["class_id"] + 1 for entry in entries for found in entry["objects"])
            class_names = _numbered(max(seen, default=0))
        for kind, (name, write) in ONE_FILE.items():
            if kind in self.formats:
                written[kind] = self.folder / name
                write(entries, written[kind], class_names)
        return written


def _numbered(count: int) -> list[str]:
    """Names of classes whose names are not known, as in `Result.names`."""
    return [f"class {number}" for number in range(count)]
