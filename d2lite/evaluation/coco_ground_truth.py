"""The ground truth of any dataset as a COCO dict."""

import json
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2lite.data.catalog import DatasetCatalog, dataset_file_stem
from d2lite.data.datasets.coco_export import convert_to_coco_dict
from d2lite.utils.file_io import atomic_write

logger = logging.getLogger(__name__)


def coco_ground_truth(
    dataset_name: str, output_dir: Path | None, *, allow_cached: bool = True
) -> dict[str, Any]:
    """Turn the dataset dicts of a dataset into a COCO dict.

    Args:
        dataset_name: a registered dataset.
        output_dir: where <dataset_name>_coco_format.json is kept for the next evaluation; None
            for nowhere.
        allow_cached: take the kept file, if it was made of the same data.
    """
    records = DatasetCatalog.get(dataset_name)
    if output_dir is None or not any("annotations" in record for record in records):
        made = convert_to_coco_dict(dataset_name)
        if not any("annotations" in record for record in records):
            # Images to predict on: nothing can be scored, which is not the same as AP 0.
            del made["annotations"]
        return made
    path = output_dir / f"{dataset_file_stem(dataset_name)}_coco_format.json"
    # A file made of other data would give wrong numbers in silence, so it names its data.
    fingerprint = _fingerprint(records)
    if allow_cached and path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("info", {}).get("fingerprint") == fingerprint:
            return kept
    made = convert_to_coco_dict(dataset_name)
    made["info"] = {**made.get("info", {}), "fingerprint": fingerprint}
    with atomic_write(path) as stream:
        json.dump(made, stream)
    logger.info("Saved the annotations of '%s' in COCO's format to %s", dataset_name, path)
    return made


def _fingerprint(dataset_dicts: Sequence[dict[str, Any]]) -> int:
    """A number that changes when images, boxes or classes of the data change."""
    crc = 0
    for record in dataset_dicts:
        objects = [
            (
                a.get("bbox"),
                a.get("category_id"),
                a.get("iscrowd"),
                len(a.get("segmentation") or ()),
            )
            for a in record.get("annotations", ())
        ]
        what = (record.get("image_id"), record.get("height"), record.get("width"), objects)
        crc = zlib.crc32(repr(what).encode(), crc)
    return crc
