"""COCO's panoptic format: a JSON of segments and a folder of PNGs; its things are the objects."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2lite.data.datasets.coco_file import coco_categories
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids
from d2lite.data.datasets.image_finder import ImageFinder
from d2lite.data.datasets.panoptic_file import read_panoptic_json
from d2lite.data.images.image_io import read_image
from d2lite.data.normal_forms import as_id
from d2lite.data.records.faults import FaultLog
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError, UserError

from .coco import folders_around
from .entries import MALFORMED, Entry, EntrySource, Shape
from .source import find_path

logger = logging.getLogger(__name__)


class PanopticSource(EntrySource):
    """One JSON, the PNGs in a folder of its name, and the images around it."""

    layout = "COCO panoptic"

    def __init__(self, path: str, image_root: str | None) -> None:
        """Find the file.

        Args:
            path: of the JSON.
            image_root: folder of the images; None looks around the file.
        """
        file = find_path(path, suits=Path.is_file)
        named = [find_path(image_root, beside=file.parent)] if image_root else []
        # Not the PNGs of segments, whose names are those of the images.
        segments = {home / file.stem for home in (file.parent, file.parent.parent)}
        around = [folder for folder in folders_around(file) if folder not in segments]
        super().__init__(file, [*named, *around], is_deep=False)
        self._segments = ImageFinder([*sorted(segments), file.parent], is_deep=False)
        self._things: list[str] = []

    def class_names(self) -> Sequence[str]:
        """The categories that are things; all where none is one, or nothing says it."""
        return self._things

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images of the annotations, in their order."""
        content = read_panoptic_json(self.file)
        known = coco_categories(content, self.file)
        entries = {as_id(c["id"]): c for c in content["categories"]}
        things = {n: name for n, name in known.items() if entries[n].get("isthing", 1)}
        if not things:  # Datumaro marks all of them as stuff
            logger.info("%s marks no category as a thing; all are taken for things.", self.file)
            things = known
        self._things = list(things.values())
        images = {as_id(image.get("id")): image for image in content.get("images", ())}

        def read(annotation: dict[str, Any]) -> Entry:
            image = images.get(as_id(annotation["image_id"]), {})
            name = str(image.get("file_name") or annotation["file_name"])
            entry = Entry(name)
            wanted = [s for s in annotation["segments_info"] if as_id(s["category_id"]) in things]
            where = f"{self.file}: image {name}"
            path = self._segments.find(str(annotation["file_name"]))
            try:
                if path is None:
                    raise DataError(f"the PNG {annotation['file_name']} is not there")
                ids = rgb_to_segment_ids(read_image(str(path), "RGB"))
            except UserError as err:
                faults.add("unreadable_annotations", f"{where}: {err}")
                return entry
            entry.size = ids.shape
            for segment in wanted:
                entry.shapes.append(_shape(segment, ids, things, where))
            return entry

        return self.read_each(content["annotations"], read, faults)


def _shape(
    segment: dict[str, Any], ids: np.ndarray, things: dict[int | str, str], where: str
) -> Shape:
    label = things[as_id(segment["category_id"]) or 0]
    where = f"{where}, segment {segment.get('id')}"
    try:
        mask = ids == int(segment["id"])
    except MALFORMED as err:
        return Shape(label, where=f"{where} ({err})", fault="malformed")
    if not mask.any():
        return Shape(label, where=where, fault="bad_mask")
    is_crowd = bool(segment.get("iscrowd"))
    return Shape(label, mask=rle.encode(mask), is_crowd=is_crowd, where=where)
