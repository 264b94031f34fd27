"""What a training cannot use of a set, though each object by itself is valid."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from d2lite.utils.errors import ConfigError, DataError

from .faults import FaultLog
from .object_checks import place_of

logger = logging.getLogger(__name__)

Record = dict[str, Any]


def count_set_faults(
    records: Sequence[Record], faults: FaultLog, mask_format: str | None = None
) -> None:
    """Count images of crowd regions alone, and objects that a model with masks cannot use.

    Args:
        records: dataset dicts.
        faults: what is found is written into it.
        mask_format: INPUT.MASK_FORMAT of the model with masks to check for; None if there is
            none: objects without a mask are then noted where others of the set have one.
    """
    found = [r for r in records if r.get("annotations")]
    crowds = [r for r in found if all(obj.get("iscrowd") for obj in r["annotations"])]
    for record in crowds:
        faults.add("crowd_only", str(record.get("file_name")))
    if found and len(crowds) == len(found):
        faults.add(
            "no_objects", f"all {len(found)} images with annotations have crowd regions only"
        )
    objects = list(_objects(records))
    if mask_format is not None or any("segmentation" in obj for _, obj in objects):
        kind = "partly_masked" if mask_format is None else "no_mask"
        for record, obj in objects:
            if "segmentation" not in obj:
                faults.add(kind, place_of(obj, record), is_lost=False)
    if mask_format == "polygon":
        for record, obj in objects:
            if not isinstance(obj.get("segmentation", []), list):
                faults.add("not_polygons", place_of(obj, record), is_lost=False)


def keep_maskable(
    datasets: list[list[Record]], names: Sequence[str], mask_format: str
) -> list[list[Record]]:
    """The sets without the objects that a model with masks cannot use, which are counted.

    Args:
        datasets: dataset dicts of each set.
        names: of the sets, for messages.
        mask_format: INPUT.MASK_FORMAT.

    Raises:
        DataError: if no object has a mask.
        ConfigError: if masks are not polygons, but have to be.
    """
    faults = FaultLog()
    for records in datasets:
        count_set_faults(records, faults, mask_format)
    total = sum(1 for records in datasets for _ in _objects(records))
    sets, lacking = ", ".join(names), faults.counts["no_mask"]
    if total and lacking == total:
        raise DataError(
            f"None of the {total} objects of {sets} has a mask ('segmentation'), and MODEL.MASK_ON "
            "is True. Set MODEL.MASK_ON False to train on boxes alone, or add the masks."
        )
    if faults.counts["not_polygons"]:
        raise ConfigError(
            f"{faults.counts['not_polygons']} of {total} objects of {sets} have bitmaps or RLE as "
            "masks, which INPUT.MASK_FORMAT polygon cannot hold. Set INPUT.MASK_FORMAT bitmask."
        )
    if not lacking:
        return datasets
    logger.warning(
        "%s: %d of %d objects are without a mask, for instance %s. A model with masks cannot use "
        "them; they are left out. Set MODEL.MASK_ON False to train on the boxes of all.",
        sets,
        lacking,
        total,
        faults.examples["no_mask"][0],
    )
    return [[_with_masks(record) for record in records] for records in datasets]


def _with_masks(record: Record) -> Record:
    objects = record.get("annotations", ())
    kept = [obj for obj in objects if "segmentation" in obj or obj.get("iscrowd")]
    return record if len(kept) == len(objects) else {**record, "annotations": kept}


def _objects(records: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Objects with their images; without crowd regions, which nothing is learnt from."""
    for record in records:
        for obj in record.get("annotations", ()):
            if not obj.get("iscrowd"):
                yield record, obj


def check_keypoints(
    records: Sequence[dict[str, Any]], names: Sequence[str], count: int | None = None
) -> None:
    """Check that a model can learn keypoints from a dataset.

    Args:
        records: dataset dicts.
        names: of the sets that they come from.
        count: keypoints of an object that the model has; None leaves the number unchecked.

    Raises:
        DataError: if no object has a labelled keypoint.
        ConfigError: if objects have another number of keypoints than the model.
    """
    objects = [obj for record in records for obj in record.get("annotations", ())]
    # A keypoint is x, y and visibility, 0 where it is not labelled.
    labelled = [obj["keypoints"] for obj in objects if any((obj.get("keypoints") or ())[2::3])]
    if not labelled:
        raise DataError(
            f"None of the {len(objects)} objects of {', '.join(names)} has labelled keypoints, and "
            "MODEL.KEYPOINT_ON is True. Name a set with keypoints in DATASETS.TRAIN (of COCO, "
            "person_keypoints_*.json), or set MODEL.KEYPOINT_ON False to learn without them."
        )
    lengths = Counter(len(points) // 3 for points in labelled)
    if count is not None and set(lengths) != {count}:
        found = ", ".join(f"{length} ({times} objects)" for length, times in lengths.most_common())
        raise ConfigError(
            f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is {count}, but objects of {', '.join(names)} "
            f"have other numbers of keypoints: {found}. Set it to {lengths.most_common(1)[0][0]}."
        )
