"""Label Studio's JSON and JSON-MIN: a list of tasks, with places in per cent of the image.

Rectangles and ellipses may be turned (in degrees, clockwise; a rectangle about its first corner),
masks come as brush strokes in a run-length code of their own, and a task may have the annotations
of several people, of which the newest that was not cancelled counts.
"""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from PIL import Image

from d2lite.data.datasets.geometry import ellipse, rotated
from d2lite.data.datasets.label_files import read_json
from d2lite.data.records.faults import FaultLog
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError

from .entries import MALFORMED, Entry, FileSource, Shape

_VIDEO_ENDINGS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_MAX_BRUSH_VALUES = 4 * 2**28
_KINDS = ("rectangle", "polygon", "ellipse", "brush", "bitmask")
# Types of regions that should have a label, in them or in a result of the same id.
_PLAIN_KINDS = {*_KINDS, *(f"{kind}labels" for kind in _KINDS)}


def is_label_studio_content(content: Any) -> bool:
    """Whether the content of a JSON file is Label Studio's."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    task = content[0]
    has_data = isinstance(task.get("data"), dict) and bool(
        {"annotations", "completions"} & task.keys()
    )
    return has_data or {"annotation_id", "annotator"} <= task.keys()


class LabelStudioSource(FileSource):
    """One JSON export and the images around it."""

    layout = "Label Studio JSON"
    image_folders = ("images", ".")

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The tasks in the order of the file; those that nobody annotated have no objects."""
        content = read_json(self.file)
        if not is_label_studio_content(content):
            raise DataError(
                f"{self.file} is not Label Studio's: expected a list of tasks with 'data' and "
                "'annotations' (JSON), or with 'annotation_id' and 'annotator' (JSON-MIN)."
            )
        # JSON-MIN has a line for each annotator of a task; the last one counts.
        tasks = {_task_key(task, place): task for place, task in enumerate(content)}
        entries = self.read_each(tasks.values(), lambda task: self._task(task, faults), faults)
        if entries and all(Path(entry.name).suffix.lower() in _VIDEO_ENDINGS for entry in entries):
            raise DataError(
                f"{self.file} labels videos, such as {entries[0].name}. Export the frames as "
                "images with labels, for instance as YOLO with images."
            )
        if not any(shape.label for entry in entries for shape in entry.shapes):
            raise DataError(f"{self.file}: {_why_nothing(content)}")
        return entries

    def _task(self, task: dict[str, Any], faults: FaultLog) -> Entry | None:
        name = _image_name(task["data"] if isinstance(task.get("data"), dict) else task)
        if not name:
            faults.add("incomplete_image", f"{self.file}: task {task.get('id')}")
            return None
        regions = list(_regions(task))
        labelled = {str(region.get("id")) for region in regions if _labels(region)}
        entry = Entry(name, size=_size(regions))
        shape_of: dict[str, Shape] = {}
        points = []
        for place, region in enumerate(regions):
            where = f"{self.file}: task {task.get('id')}, region {place}"
            if "keypointlabels" in region["value"] and region.get("parentID"):
                points.append((region, where))
                continue
            if region.get("type") in _PLAIN_KINDS and not _labels(region):
                # The label may be in a result of its own, of the same id.
                if str(region.get("id")) not in labelled:
                    entry.shapes.append(Shape("", where=f"{where}, no label", fault="malformed"))
                continue
            for shape in _shapes(region, where, faults):
                entry.shapes.append(shape)
                shape_of[str(region.get("id"))] = shape
        for region, where in points:
            if not _add_keypoint(shape_of.get(str(region["parentID"])), region):
                faults.add("no_area", f"{where}, a point of no region")
        return entry


def _add_keypoint(owner: Shape | None, region: dict[str, Any]) -> bool:
    """Make a point a keypoint of the region that it is in; False where that cannot be."""
    try:
        name, value = str(region["value"]["keypointlabels"][0]), region["value"]
        sizes = region["original_width"], region["original_height"]
        x, y = (float(value[k]) * float(size) / 100 for k, size in zip("xy", sizes, strict=True))
    except MALFORMED:
        return False
    if owner is None or name in owner.keypoints:
        return False
    owner.keypoints[name] = (x, y, 2)
    return True


def _task_key(task: Any, place: int) -> Any:
    """What the versions of one task have in common; the place of a task with all of them."""
    is_whole = not isinstance(task, dict) or isinstance(task.get("data"), dict)
    return place if is_whole else (task.get("id"), _image_name(task))


def _labels(region: dict[str, Any]) -> Any:
    """The labels of a region, which should be a list; None where it has none."""
    pairs = region["value"].items()
    return next((v for key, v in pairs if key.endswith("labels") and v), None)


def _image_name(data: dict[str, Any]) -> str:
    """The image of a task: a path or address under whatever key the project uses."""
    texts = [data.get("image"), *data.values()]
    for text in texts:
        if not isinstance(text, str):
            continue
        try:
            parts = urlsplit(text.replace("\\", "/"))
        except ValueError:
            continue  # a text with an open bracket after //
        # Local storage: /data/local-files/?d=folder/name.jpg
        path = parse_qs(parts.query).get("d", [parts.path])[0]
        if "." in Path(path).name:
            return unquote(path)
    return ""


def _regions(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The regions of one task, in the form of the full export."""
    versions = task.get("annotations") or task.get("completions")
    if isinstance(task.get("data"), dict):
        kept = [v for v in versions or () if not v.get("was_cancelled")]
        newest: dict[str, Any] = max(kept, key=_time, default={})
        yield from (region for region in newest.get("result") or () if "value" in region)
        return
    for value in task.values():
        for region in value if isinstance(value, list) else ():
            if isinstance(region, dict) and "original_width" in region:
                yield {**region, "value": region}


def _why_nothing(content: list[dict[str, Any]]) -> str:
    """Why tasks have no labelled objects, and what to do."""
    tasks = [task for task in content if isinstance(task, dict)]
    if not any(
        _image_name(data) for task in tasks if isinstance(data := task.get("data", task), dict)
    ):
        return "its tasks are not about images, or their names have no ending such as .jpg."
    regions = [region for task in tasks for region in _regions(task)]
    if regions:
        kinds = ", ".join(sorted({str(region.get("type")) for region in regions}))
        return (
            f"none of its results ({kinds}) is an object with a label. Choices "
            "and texts are about whole images, which detection has no use for; a region without a "
            "label gets one in Label Studio."
        )
    if any(task.get("predictions") for task in tasks):
        return (
            "its tasks have predictions alone. Turn them into annotations in Label Studio (Data "
            "Manager, Actions, Create Annotations From Predictions) and export again."
        )
    return "none of its tasks is annotated, so there are no classes."


def _time(version: dict[str, Any]) -> str:
    return str(version.get("updated_at") or version.get("created_at") or "")


def _size(regions: list[dict[str, Any]]) -> tuple[int, int] | None:
    for region in regions:
        if region.get("original_height") and region.get("original_width"):
            return int(region["original_height"]), int(region["original_width"])
    return None


def _shapes(region: dict[str, Any], where: str, faults: FaultLog) -> Iterator[Shape]:
    value, label = region["value"], ""
    try:
        if region.get("type") == "textarea":
            return
        labels = _labels(region)
        if not isinstance(labels, list):
            return  # a choice or a text about the whole image
        label = str(labels[0])
        width, height = float(region["original_width"]), float(region["original_height"])
        if float(region.get("image_rotation") or 0):
            yield Shape(
                label, where=f"{where} (the image was turned in the tool)", fault="malformed"
            )
            return
        sx, sy = width / 100, height / 100
        degrees = float(value.get("rotation") or 0)
        if "points" in value:
            yield Shape(
                label,
                polygons=[[v for x, y in value["points"] for v in (x * sx, y * sy)]],
                where=where,
            )
        elif "rle" in value:
            mask = brush_mask(value["rle"], int(height), int(width))
            yield Shape(label, mask=rle.encode(mask), where=where)
        elif "imageDataURL" in value:
            data = base64.b64decode(value["imageDataURL"].partition("base64,")[2])
            yield Shape(label, mask=rle.encode(_bitmap(data)), where=where)
        elif "radiusX" in value:
            x, y, rx, ry = (float(value[key]) for key in ("x", "y", "radiusX", "radiusY"))
            outline = ellipse(x * sx, y * sy, rx * sx, ry * sy, degrees)
            yield Shape(label, polygons=[outline], where=where)
        elif "height" in value:
            x, y, w, h = (float(value[key]) for key in ("x", "y", "width", "height"))
            x0, y0, x1, y1 = x * sx, y * sy, (x + w) * sx, (y + h) * sy
            if degrees:
                corners = rotated([x0, y0, x1, y0, x1, y1, x0, y1], degrees, (x0, y0))
                yield Shape(label, polygons=[corners], where=where)
            else:
                yield Shape(label, [x0, y0, x1, y1], where=where)
        else:
            faults.add("no_area", f"{where}, a {region.get('type')}")
    except (*MALFORMED, OSError, SyntaxError) as err:
        yield Shape(label, where=f"{where} ({err})", fault="malformed")


def _bitmap(data: bytes) -> np.ndarray:
    """The (H, W) bool mask of an image: what is not black, or not transparent."""
    with Image.open(io.BytesIO(data)) as image:
        has_alpha = "A" in image.getbands()
        return np.asarray(image.getchannel("A") if has_alpha else image.convert("L")) > 0


def brush_mask(packed: list[int], height: int, width: int) -> np.ndarray:
    """Decode a brush stroke: RGBA bytes, row by row, of which the last is the mask.

    The code is a stream of bits: the number of values (32 bits), the bits of a value less one (5),
    four sizes of counts less one (4 each); then, until all values are there, a bit that says
    whether one value repeats, two bits that choose the size of the count, the count less one, and
    the one value or that many values.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: if the code is not of this size, ends early, or has no bytes.
        TypeError: if it has other things than whole numbers.
    """
    # Not an array of the numbers: numpy 1 takes -1 for 255.
    bits = np.unpackbits(np.frombuffer(bytearray(iter(packed)), np.uint8))
    place = 0

    def take(count: int) -> int:
        nonlocal place
        if place + count > len(bits):
            raise ValueError("the brush stroke ends early")
        value = 0
        for bit in bits[place : place + count].tolist():
            value = value << 1 | bit
        place += count
        return value

    total = take(32)
    if total != 4 * height * width or total > _MAX_BRUSH_VALUES:
        raise ValueError(f"a brush stroke of {total} values, not 4 x {height} x {width}")
    word = take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint8)
    weights = 1 << np.arange(word - 1, -1, -1)
    done = 0
    while done < total:
        is_repeated = take(1)
        count = min(take(sizes[take(2)]) + 1, total - done)
        if is_repeated:
            values[done : done + count] = take(word) & 0xFF
        else:
            if place + count * word > len(bits):
                raise ValueError("the brush stroke ends early")
            words = bits[place : place + count * word].reshape(count, word)
            values[done : done + count] = (words @ weights) & 0xFF
            place += count * word
        done += count
    return values[3::4].reshape(height, width) > 0
