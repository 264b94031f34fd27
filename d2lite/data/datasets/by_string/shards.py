"""Shards of WebDataset: tar archives that hold each image beside a JSON file of the same name.

The archives are indexed once, and an image is then read from its place in the archive. So images
come in the order of the sampler, as those of any other dataset, and a run resumes exactly.
"""

import io
import json
import logging
import re
import tarfile
from collections.abc import Iterator
from itertools import islice
from os.path import commonprefix
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from d2lite.data.datasets.image_finder import has_image_ending
from d2lite.data.records.faults import FaultLog
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager
from d2lite.utils.tar_members import member_address

from .entries import MALFORMED, Entry, EntrySource, Shape
from .file_kinds import visible
from .named_splits import split_named
from .source import find_path
from .splits import WHOLE

logger = logging.getLogger(__name__)

# So many members of an archive show what it holds.
_NUM_PROBES = 20
# shard-{0000..0127}.tar, as WebDataset writes it.
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class ShardSource(EntrySource):
    """Images with the objects that the JSON file beside each lists.

    A JSON file has "width", "height" and "annotations", each with "category" (the name), "bbox"
    (x, y, width, height in pixels) and, where there are, "segmentation" (polygons or a run-length
    code) and "iscrowd".
    """

    layout = "shards of WebDataset"

    def __init__(self, path: str) -> None:
        """Find the archives.

        Args:
            path: one archive, a folder of them, names with a range, as in
                train-{0000..0127}.tar, or a pattern, as in train-*.tar; archives may be at
                addresses, except for folders and patterns.
        """
        self._shards = _expanded(path)
        first = self._shards[0]
        super().__init__(Path(first.rpartition("://")[2] if "://" in first else first), [])

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images in the order of the archives and of their members."""
        return [entry for shard in self._shards for entry in self._read_shard(shard, faults)]

    def _read_shard(self, shard: str, faults: FaultLog) -> Iterator[Entry]:
        local = PathManager.get_local_path(shard)
        images: dict[str, tarfile.TarInfo] = {}
        labels: dict[str, Any] = {}
        try:
            # Uncompressed: a member of a compressed archive has no place that can be gone to.
            with tarfile.open(local, "r:") as archive:
                for member in archive:
                    stem, _, ending = member.name.rpartition(".")
                    if not member.isfile():
                        continue
                    if ending == "json":
                        labels[stem] = _read_labels(archive, member)
                    elif has_image_ending(member.name):
                        images[stem] = member
                for stem, member in images.items():
                    entry = self._entry(shard, archive, member, labels.get(stem))
                    if isinstance(entry, Entry):
                        yield entry
                    else:
                        faults.add("unreadable_annotations", entry)
        except (tarfile.TarError, EOFError) as err:
            raise DataError(
                f"{shard} is not a whole, uncompressed tar archive: {err}. Fetch it again, or "
                "unpack a .tar.gz with gunzip."
            ) from err

    def _entry(
        self, shard: str, archive: tarfile.TarFile, member: tarfile.TarInfo, labels: Any
    ) -> Entry | str:
        """The entry of an image, or what is wrong with its labels."""
        where = f"{shard}: {member.name}"
        if not isinstance(labels, dict):
            return f"{where} ({labels or 'there is no JSON file of its name with an object'})"
        try:
            shapes = [_shape(a, where) for a in labels.get("annotations") or ()]
            size = (int(labels["height"]), int(labels["width"])) if "height" in labels else None
            size = size or _size_of(archive, member)
        except (*MALFORMED, UnidentifiedImageError, OSError) as err:
            return f"{where} ({type(err).__name__}: {err})"
        place = member_address(shard, member.offset_data, member.size, member.name)
        return Entry(member.name, shapes, place, size)


def is_shard(file: Path) -> bool:
    """Whether a file is a tar archive that begins with images and JSON files."""
    try:
        with tarfile.open(file, "r:") as archive:
            names = [member.name for member in islice(archive, _NUM_PROBES)]
    except (tarfile.TarError, OSError, EOFError):
        return False
    return any(n.endswith(".json") for n in names) and any(map(has_image_ending, names))


def shard_patterns(folder: Path) -> dict[str, Path]:
    """Pattern of each split's shards in a folder; one of all where their names say no split."""
    groups: dict[str, list[Path]] = {}
    for file in filter(is_shard, visible(folder, "*.tar")):
        groups.setdefault(split_named(file.stem), []).append(file)
    if WHOLE in groups:
        return {WHOLE: folder}
    found = {}
    for split, files in groups.items():
        begin = commonprefix([file.stem for file in files])  # noqa: RUF071 (names, not paths)
        if split_named(begin) == split:
            found[split] = files[0] if len(files) == 1 else folder / f"{begin}*.tar"
    return found


def _expanded(path: str) -> list[str]:
    found = _RANGE.search(path)
    if found is not None:
        first, last = found.groups()
        numbers = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
        names = [path[: found.start()] + number + path[found.end() :] for number in numbers]
        return [one for name in names for one in _expanded(name)]
    if "://" in path:
        return [path]
    folder, _, pattern = path.rpartition("/")
    place = find_path(folder or ".") if "*" in pattern else find_path(path)
    if place.is_file():
        return [str(place)]
    shards = sorted(map(str, place.glob(pattern if "*" in pattern else "*.tar")))
    if not shards:
        raise MissingFileError(f"{place} has no .tar file; wds: reads shards of WebDataset.")
    return shards


def _read_labels(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    stream = archive.extractfile(member)
    assert stream is not None  # it is a file
    try:
        return json.loads(stream.read())
    except ValueError as err:
        return f"{member.name} is not JSON: {err}"


def _size_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[int, int]:
    stream = archive.extractfile(member)
    assert stream is not None
    with Image.open(io.BytesIO(stream.read())) as image:
        return image.height, image.width


def _shape(annotation: dict[str, Any], where: str) -> Shape:
    label = str(annotation["category"])
    x, y, w, h = (float(value) for value in annotation["bbox"])
    shape = Shape(label, [x, y, x + w, y + h], where=where)
    outline = annotation.get("segmentation")
    if isinstance(outline, dict):
        shape.mask = outline
    elif outline:
        shape.polygons = [[float(value) for value in part] for part in outline]
    shape.is_crowd = bool(annotation.get("iscrowd", 0))
    return shape
