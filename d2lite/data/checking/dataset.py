"""A whole dataset checked: its objects, its image files, its classes, and what it shares."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2lite.data.catalog import MetadataCatalog
from d2lite.data.converting import LabelledSet, coco_content, coco_object
from d2lite.data.datasets.coco_file import coco_categories, coco_images, read_coco_json
from d2lite.data.datasets.coco_reading import read_coco_objects
from d2lite.data.normal_forms import as_id
from d2lite.data.records.faults import FAULTS, FaultLog, collecting_faults
from d2lite.data.records.object_checks import drop_invalid, place_of
from d2lite.data.records.plain_records import load_records
from d2lite.data.records.set_checks import count_set_faults
from d2lite.data.rotated_boxes import fill_of_corners
from d2lite.utils.errors import DataError, MissingFileError

from .class_maps import map_fault
from .image_files import check_images

Record = dict[str, Any]

# Of more classes than twice this, so many of both ends are listed.
_ENDS = 6


@dataclass
class CheckedSet:
    """A dataset and what was found about it.

    Attributes:
        name: dataset string or registered name.
        classes: names.
        records: dataset dicts of the images that can be read, with valid objects.
        faults: found faults.
        digests: of the pixels -> file name.
    """

    name: str
    classes: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    faults: FaultLog = field(default_factory=FaultLog)
    digests: dict[str, str] = field(default_factory=dict)


def check_dataset(
    name: str,
    *,
    num_threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    mask_format: str | None = None,
) -> CheckedSet:
    """Check one dataset thoroughly; every image is decoded.

    Args:
        name: dataset string or registered name.
        num_threads: images that are read at a time.
        progress: called with how many images are done, and of how many.
        mask_format: INPUT.MASK_FORMAT of the model with masks that is to be trained; None for a
            model without, or where it is not known.

    Raises:
        ConfigError: if the name is malformed or says what the data do not have.
        MissingFileError: if the dataset is not there.
    """
    result = CheckedSet(name)
    with collecting_faults() as faults:
        result.faults = faults
        try:
            records = load_records(name)
            result.classes = list(MetadataCatalog.get(name).get("thing_classes") or ())
        except DataError as err:
            faults.add("unusable", str(err))
            return result
        records = drop_invalid(records, faults)
        count_set_faults(records, faults, mask_format)
        files = Counter(r.get("file_name") for r in records if "annotations" in r)
        for path, count in files.items():
            if path is not None and count > 1:
                faults.add("shared_file", f"{path}: {count} entries")
        _count_keypoints(result, records)
    for done, (record, found) in enumerate(
        zip(records, check_images(records, num_threads), strict=True), start=1
    ):
        if progress:
            progress(done, len(records))
        if found.digest:
            result.digests.setdefault(found.digest, str(record["file_name"]))
        if found.fault:
            faults.add(found.fault, found.text)
        if found.fault is None or FAULTS[found.fault].subject != "image":
            result.records.append(record)
    _check_maps(result)
    if any("annotations" in record for record in records):
        _note_empty_classes(result)
    return result


def _count_keypoints(checked: CheckedSet, records: list[Record]) -> None:
    names = MetadataCatalog.get(checked.name).get("keypoint_names")
    for record in records if names else ():
        for obj in record.get("annotations", ()):
            count = len(obj.get("keypoints") or ()) // 3
            if count not in (0, len(names)):
                what = f"{count} keypoints, and {len(names)} names"
                checked.faults.add("keypoints_differ", f"{place_of(obj, record)}: {what}")


def _check_maps(checked: CheckedSet) -> None:
    metadata = MetadataCatalog.get(checked.name)
    classes, ignored = metadata.get("stuff_classes"), metadata.get("ignore_label", 255)
    for record in checked.records if classes else ():
        name = record.get("sem_seg_file_name")
        if name is None:
            continue
        try:
            why = map_fault(name, len(classes), ignored)
        except (DataError, MissingFileError) as err:
            why = str(err)
        if why is not None:
            checked.faults.add("class_map", f"{name} {why}")


def _note_empty_classes(checked: CheckedSet) -> None:
    used = Counter(o["category_id"] for r in checked.records for o in r.get("annotations", ()))
    for number in sorted(used.keys() - set(range(len(checked.classes)))):
        # Only a function of somebody's own can give such numbers; no reader does.
        known = f"{len(checked.classes)} classes are numbered from 0"
        for _ in range(used[number]):
            checked.faults.add("unknown_category", f"category id {number}, and {known}")
    for number, label in enumerate(checked.classes):
        if not used[number]:
            checked.faults.add("empty_class", repr(label))


def compare_sets(sets: list[CheckedSet]) -> None:
    """Write into the later sets' logs what they share with earlier ones, and must not.

    Args:
        sets: training first, then test; what is used together.
    """
    for place, later in enumerate(sets):
        for earlier in sets[:place]:
            for digest in later.digests.keys() & earlier.digests.keys():
                both = f"{later.digests[digest]} is {earlier.digests[digest]} of {earlier.name}"
                later.faults.add("shared_image", both)
            if later.classes and earlier.classes:
                for label in sorted(set(later.classes) ^ set(earlier.classes)):
                    only = later if label in later.classes else earlier
                    later.faults.add("classes_differ", f"{label!r} is only in {only.name}")


def fault_table(checked: CheckedSet, *, action: str = "in_training") -> str:
    """One table of all that was found.

    Args:
        checked: the dataset.
        action: which of a `Fault`'s actions to show, "in_training" or "in_copy".
    """
    num_objects = sum(len(record.get("annotations", ())) for record in checked.records)
    # Always in the plural: scripts look for these words.
    head = (
        f"{checked.name}: {len(checked.records)} usable images, {num_objects} usable objects, "
        f"{len(checked.classes)} classes"
    )
    if num_objects:
        head += f"\n  objects: {_contents(checked)}"
    kinds = [kind for kind in FAULTS if kind in checked.faults.counts]
    if not kinds:
        return f"{head}\n  no faults"
    column = "in training" if action == "in_training" else "in the copy"
    rows = [("count", "fault", column)]
    rows += [
        (
            str(checked.faults.counts[kind]),
            f"{'(note) ' if FAULTS[kind].is_note else ''}{FAULTS[kind].what}",
            getattr(FAULTS[kind], action),
        )
        for kind in kinds
    ]
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [head]
    for kind, (count, what, done) in zip([None, *kinds], rows, strict=True):
        lines.append(f"  {count:>{first}}  {what:<{second}}  {done}")
        examples = checked.faults.examples[kind] if kind else []
        lines += [f"  {'':>{first}}    {example}" for example in examples]
    return "\n".join(lines)


def _contents(checked: CheckedSet) -> str:
    """The objects of each class, of many the most and least frequent, and what they have."""
    objects = [obj for record in checked.records for obj in record.get("annotations", ())]
    marked = [obj["keypoints"] for obj in objects if obj.get("keypoints") is not None]
    names = dict(enumerate(checked.classes))
    counts = Counter(names.get(obj["category_id"], obj["category_id"]) for obj in objects)
    shown = [f"{count} {name}" for name, count in counts.most_common()]
    if len(shown) > 2 * _ENDS:
        shown = [*shown[:_ENDS], "...", *shown[-_ENDS:]]
    have = {
        "masks": sum(obj.get("segmentation") is not None for obj in objects),
        "masks of four corners": sum(fill_of_corners(obj) is not None for obj in objects),
        "keypoints": sum(len(points) > 0 for points in marked),
        "rotated boxes": sum(len(obj["bbox"]) == 5 for obj in objects),
    }
    rest = "".join(f"; {count} with {what}" for what, count in have.items() if count)
    return f"{', '.join(shown)}{rest}"


def cleaned_coco(checked: CheckedSet) -> tuple[dict[str, Any], str]:
    """The content of a COCO file without the faults, and the folder that its names start from.

    The copy of a COCO file keeps the ids of images and categories and all keys that d2lite does
    not know; annotations get new ids where one occurs twice.

    Raises:
        DataError: if the dataset cannot be loaded.
    """
    if "unusable" in checked.faults.counts:
        raise DataError(f"{checked.name}: {checked.faults.examples['unusable'][0]}")
    metadata = MetadataCatalog.get(checked.name)
    json_file = metadata.get("json_file")
    if json_file:
        return _cleaned_file(checked, json_file), str(metadata.image_root)
    files = [os.path.abspath(str(record["file_name"])) for record in checked.records]
    root = os.path.commonpath([os.path.dirname(file) for file in files]) if files else "."
    data = LabelledSet(checked.classes, checked.records, list(range(1, len(checked.classes) + 1)))
    return coco_content(
        data, [Path(f).relative_to(root).as_posix() for f in files], Counter()
    ), root


# What of an annotation is written from what was read.
_OWN_KEYS = {"id", "image_id", "category_id", "bbox", "segmentation", "iscrowd", "keypoints"}


def _cleaned_file(checked: CheckedSet, json_file: str) -> dict[str, Any]:
    content = read_coco_json(json_file)
    categories = coco_categories(content, json_file)
    ids = list(categories)
    numbers = {category: index for index, category in enumerate(ids)}
    raw = [a for a in content.get("annotations", ()) if isinstance(a, dict)]
    extra = {key for annotation in raw for key in annotation} - (_OWN_KEYS - {"id"})
    records = {record["image_id"]: record for record in checked.records}
    with collecting_faults() as faults:
        images = coco_images(content, json_file, faults)
        kept = [image for number, image in images.items() if number in records]
        for image in kept:
            image.update({key: records[image["id"]][key] for key in ("height", "width")})
        content["images"] = kept
        read = read_coco_objects(content, numbers, json_file, "", sorted(extra))
        read = drop_invalid(read, faults)
    annotations: list[Record] = []
    used: set[Any] = set()
    free = 1 + max((n for a in raw if isinstance(n := a.get("id"), int)), default=0)
    for record in read:
        for obj in record["annotations"]:
            number = as_id(obj.get("id"))
            if number is None or number in used:
                number, free = free, free + 1
            used.add(number)
            entry = coco_object(obj, record)
            others = {key: obj[key] for key in extra & obj.keys()}
            place = {"image_id": record["image_id"], "category_id": ids[obj["category_id"]]}
            annotations.append({**entry, **others, "id": number, **place})
    return {
        **content,
        "images": kept,
        "annotations": annotations,
        "categories": [
            {**c, "id": as_id(c["id"])}
            for c in content["categories"]
            if as_id(c["id"]) in categories
        ],
    }
