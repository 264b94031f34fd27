"""The panoptic truth of a dataset: from COCO's files, or from its dataset dicts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2lite.data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids
from d2lite.data.datasets.panoptic_file import read_whole_panoptic_json
from d2lite.data.images.image_io import read_image
from d2lite.utils.errors import ConfigError, DataError


@dataclass(frozen=True)
class PanopticGroundTruth:
    """Segments and maps of a dataset, in its own ids.

    Attributes:
        categories: "id", "name" and "isthing" of each.
        segments: image id -> dicts with "id" and "category_id".
        id_of_thing: class number of a thing -> category id.
        id_of_stuff: class number of stuff -> category id.
        json_content: the annotation file, if there is one.
    """

    categories: list[dict[str, Any]]
    segments: Mapping[Any, list[dict[str, Any]]]
    id_of_thing: Mapping[int, int]
    id_of_stuff: Mapping[int, int]
    json_content: Mapping[str, Any]
    _map_files: Mapping[Any, str]

    def segment_ids(self, image_id: Any) -> np.ndarray:
        """(H, W) int64 map of an image's segments; 0 is void."""
        return rgb_to_segment_ids(read_image(self._map_files[image_id], format="RGB"))


def panoptic_ground_truth(dataset_name: str) -> PanopticGroundTruth:
    """Find the truth of a dataset.

    Args:
        dataset_name: a registered dataset, with panoptic_json and panoptic_root in its metadata,
            or with "pan_seg_file_name" and "segments_info" in its dicts.

    Raises:
        ConfigError: if it has neither.
        MissingFileError: if its annotation file is not there.
    """
    metadata = MetadataCatalog.get(dataset_name)
    json_file = metadata.get("panoptic_json")
    return _from_dicts(dataset_name, metadata) if json_file is None else _from_file(metadata)


def _from_file(metadata: Metadata) -> PanopticGroundTruth:
    content = read_whole_panoptic_json(metadata.panoptic_json)
    if "categories" not in content:
        raise DataError(f"{metadata.panoptic_json} has no 'categories'; evaluation needs them.")
    annotations = content["annotations"]
    return PanopticGroundTruth(
        categories=content["categories"],
        segments={a["image_id"]: a["segments_info"] for a in annotations},
        id_of_thing=_inverse(metadata.thing_dataset_id_to_contiguous_id),
        id_of_stuff=_inverse(metadata.stuff_dataset_id_to_contiguous_id),
        json_content=content,
        _map_files={
            a["image_id"]: os.path.join(metadata.panoptic_root, a["file_name"]) for a in annotations
        },
    )


def _inverse(mapping: Mapping[int, int]) -> dict[int, int]:
    return {number: dataset_id for dataset_id, number in mapping.items()}


def _from_dicts(dataset_name: str, metadata: Metadata) -> PanopticGroundTruth:
    """Things get the ids 1, 2, ... and stuff those after them."""
    records = DatasetCatalog.get(dataset_name)
    if any({"pan_seg_file_name", "segments_info"} - set(record) for record in records):
        raise ConfigError(
            f"dataset '{dataset_name}' has no panoptic truth: neither panoptic_json and "
            "panoptic_root in its metadata nor pan_seg_file_name and segments_info in each of its "
            "dicts. Register it with register_coco_panoptic or register_coco_panoptic_separated."
        )
    things, stuff = metadata.thing_classes, metadata.stuff_classes
    id_of_thing = {number: number + 1 for number in range(len(things))}
    id_of_stuff = {number: number + 1 + len(things) for number in range(len(stuff))}
    categories = [
        {"id": ids[number], "name": name, "isthing": is_thing}
        for names, ids, is_thing in ((things, id_of_thing, 1), (stuff, id_of_stuff, 0))
        for number, name in enumerate(names)
    ]

    def with_id(segment: dict[str, Any]) -> dict[str, Any]:
        ids = id_of_thing if segment["isthing"] else id_of_stuff
        return {**segment, "category_id": ids[segment["category_id"]]}

    return PanopticGroundTruth(
        categories=categories,
        segments={r["image_id"]: [with_id(s) for s in r["segments_info"]] for r in records},
        id_of_thing=id_of_thing,
        id_of_stuff=id_of_stuff,
        json_content={"categories": categories},
        _map_files={r["image_id"]: r["pan_seg_file_name"] for r in records},
    )
