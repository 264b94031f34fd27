"""Apple's Create ML: a JSON list of images with boxes given by their centre and size in pixels."""

from typing import Any

from d2lite.data.datasets.label_files import read_json
from d2lite.data.records.faults import FaultLog
from d2lite.utils.errors import DataError

from .entries import MALFORMED, Entry, FileSource, Shape

# RectLabel has an address.
_IMAGE_KEYS = {"image", "imagefilename", "imageURL"}


def is_createml_content(content: Any) -> bool:
    """Whether the content of a JSON file is Create ML's."""
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], dict)
        and bool(_IMAGE_KEYS & content[0].keys())
        and bool({"annotations", "annotation"} & content[0].keys())
    )


class CreateMLSource(FileSource):
    """One JSON file and the images beside it."""

    layout = "Create ML"

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images in the order of the file."""
        content = read_json(self.file)
        if not is_createml_content(content):
            raise DataError(
                f"{self.file} is not Create ML's: expected a list of objects with 'image' and "
                "'annotations'."
            )
        return self.read_each(content, self._item, faults)

    def _item(self, item: dict[str, Any]) -> Entry:
        names = [item[key] for key in sorted(_IMAGE_KEYS) if item.get(key)]
        entry = Entry(str(names[0]))
        for place, annotation in enumerate(item.get("annotations") or item.get("annotation") or ()):
            where = f"{self.file}: image {entry.name}, annotation {place}"
            entry.shapes.append(_shape(annotation, where))
        return entry


def _shape(annotation: Any, where: str) -> Shape:
    label = str(annotation.get("label") or "") if isinstance(annotation, dict) else ""
    try:
        if not label:
            raise ValueError("no label")
        place = annotation["coordinates"]
        x, y, w, h = (float(place[key]) for key in ("x", "y", "width", "height"))
    except MALFORMED:
        return Shape(label, where=where, fault="malformed")
    return Shape(label, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], where=where)
