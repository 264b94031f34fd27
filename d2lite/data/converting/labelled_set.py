"""LabelledSet: a dataset of any format in memory, joined, selected from and split."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from d2lite.data.catalog import MetadataCatalog
from d2lite.data.classes import create_keypoint_hflip_indices, select_classes
from d2lite.data.classes.keypoints import flip_pairs
from d2lite.data.records.faults import collecting_faults
from d2lite.data.records.object_checks import drop_invalid
from d2lite.data.records.plain_records import load_records
from d2lite.utils.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledSet:
    """Images, their objects, and the classes of these.

    Attributes:
        classes: names in the order of their numbers.
        records: dataset dicts whose category ids count `classes`.
        category_ids: the number of each class in a COCO file.
        keypoint_names: of the objects' keypoints, in their order; empty where they have none.
        keypoint_flips: for each keypoint the one that takes its place in a mirrored image; empty
            where that is not known.
    """

    classes: list[str]
    records: list[dict[str, Any]]
    category_ids: list[int]
    keypoint_names: list[str] = field(default_factory=list)
    keypoint_flips: list[int] = field(default_factory=list)

    @property
    def num_unnamed_flips(self) -> int:
        """Pairs of keypoints that a flip exchanges, though their names do not say it."""
        place = {name: number for number, name in enumerate(self.keypoint_names)}
        named = {frozenset(map(place.__getitem__, p)) for p in flip_pairs(self.keypoint_names)}
        stated = {frozenset(pair) for pair in enumerate(self.keypoint_flips)}
        return sum(len(pair) == 2 for pair in stated - named)

    @property
    def num_objects(self) -> int:
        """Objects of all images."""
        return sum(len(record.get("annotations", ())) for record in self.records)


def load_labelled_set(name: str) -> LabelledSet:
    """Load a dataset by its string or registered name; what cannot be used is logged and left out.

    Raises:
        DataError: if it has no classes.
    """
    with collecting_faults(name) as faults:
        # Boxes are not cut to their images: a conversion changes no number.
        records = drop_invalid(load_records(name), faults, cut=False)
    metadata = MetadataCatalog.get(name)
    classes = metadata.get("thing_classes")
    if classes is None:
        raise DataError(f"{name} has no classes, so there is nothing to convert.")
    mapping = metadata.get("thing_dataset_id_to_contiguous_id") or {}
    id_of = {index: number for number, index in mapping.items()}
    # COCO's own ids begin at 1, and some tools take 0 for the background.
    ids = [id_of.get(index, index + 1) for index in range(len(classes))]
    return LabelledSet(list(classes), records, ids, *_keypoints(name, records))


def _keypoints(name: str, records: Sequence[dict[str, Any]]) -> tuple[list[str], list[int]]:
    """The names of the keypoints that objects have, and what a flip exchanges where it is known."""
    objects = (obj for record in records for obj in record.get("annotations", ()))
    counts = {np.size(obj["keypoints"]) // 3 for obj in objects if "keypoints" in obj}
    if not counts:
        return [], []
    metadata = MetadataCatalog.get(name)
    names = list(metadata.get("keypoint_names") or ())
    if counts != {len(names)}:
        if names or len(counts) > 1:
            listed = ", ".join(map(str, sorted(counts)))
            raise DataError(f"{name} has objects of {listed} keypoints, and {len(names)} names.")
        return [f"point {number}" for number in range(counts.pop())], []
    flips = create_keypoint_hflip_indices(name)
    is_known = metadata.get("keypoint_flip_map") is not None or flips != list(range(len(names)))
    return names, flips if is_known else []


def merge(sets: Sequence[LabelledSet]) -> LabelledSet:
    """One set of all images; classes are joined by name, in the order in which they come up.

    Raises:
        DataError: if two sets have different keypoints.
    """
    if len(sets) == 1:
        return sets[0]
    points = [one.keypoint_names for one in sets if one.keypoint_names]
    if any(names != points[0] for names in points):
        listed = "; ".join(", ".join(names) for names in points)
        raise DataError(f"Sets of different keypoints cannot be merged: {listed}.")
    classes = list(dict.fromkeys(label for one in sets for label in one.classes))
    number = {label: index for index, label in enumerate(classes)}
    records = []
    for one in sets:
        for record in one.records:
            objects = [
                {**obj, "category_id": number[one.classes[obj["category_id"]]]}
                for obj in record.get("annotations", ())
            ]
            records.append({**record, "annotations": objects})
    is_same = all(
        (one.classes, one.category_ids) == (classes, sets[0].category_ids) for one in sets
    )
    ids = sets[0].category_ids if is_same else list(range(1, len(classes) + 1))
    flips = next((one.keypoint_flips for one in sets if one.keypoint_flips), [])
    return LabelledSet(classes, records, ids, points[0] if points else [], flips)


def separate(data: LabelledSet, sets: Sequence[LabelledSet]) -> Iterator[LabelledSet]:
    """The parts of what `merge` made of some sets, each with all classes."""
    end = 0
    for one in sets:
        start, end = end, end + len(one.records)
        yield replace(data, records=data.records[start:end])


def select(data: LabelledSet, classes: Sequence[str]) -> LabelledSet:
    """Only some classes, in a new order; images stay.

    Raises:
        ConfigError: if the set lacks one of them.
    """
    unknown = [label for label in classes if label not in data.classes]
    if unknown:
        raise ConfigError(
            f"--classes: the data have no {', '.join(map(repr, unknown))}. They have "
            f"{', '.join(data.classes)}."
        )
    records = select_classes(data.records, data.classes, classes)
    id_of = dict(zip(data.classes, data.category_ids, strict=True))
    ids = [id_of[label] for label in classes]
    return replace(data, classes=list(classes), records=records, category_ids=ids)


def split(data: LabelledSet, shares: dict[str, float], seed: int) -> dict[str, LabelledSet]:
    """Draw parts of the images.

    The draw goes by file name and seed alone, not by the order of the images or their ids.

    Args:
        data: the whole.
        shares: name of a part -> its share; they add up to 1 at most.
        seed: draws another split.

    Returns:
        The parts, in the order of `shares`; images in the order that they had.

    Raises:
        ConfigError: if the shares are no shares, or a part would be empty.
    """
    total = sum(shares.values())
    if not shares or min(shares.values()) <= 0 or total > 1 + 1e-9:
        raise ConfigError(
            f"--split has the shares {', '.join(f'{k}={v:g}' for k, v in shares.items())}; each "
            "must be above 0, and together at most 1, as in train=0.8,val=0.2."
        )
    order = sorted(range(len(data.records)), key=lambda i: str(data.records[i]["file_name"]))
    drawn = [order[i] for i in np.random.default_rng(seed).permutation(len(order))]
    ends = [math.floor(len(order) * end + 0.5) for end in np.cumsum(list(shares.values()))]
    parts = {}
    for name, start, end in zip(shares, [0, *ends[:-1]], ends, strict=True):
        places = sorted(drawn[start:end])
        if not places:
            raise ConfigError(
                f"--split: {len(order)} images are too few for the share {name}={shares[name]:g}."
            )
        parts[name] = replace(data, records=[data.records[i] for i in places])
    return parts
