"""Some of a dataset's images: a drawn share of them, or those that a file lists."""

import logging
from pathlib import Path

import numpy as np

from d2lite.data.datasets.label_files import read_lines
from d2lite.utils.errors import DataError

from .source import Records, find_path
from .spec_string import DatasetSpec

logger = logging.getLogger(__name__)


def choose_images(records: Records, spec: DatasetSpec) -> Records:
    """The images that a dataset string asks for, in the order that they had.

    Args:
        records: all of them.
        spec: with "images", "fraction" or both; the share is drawn from what is listed.

    Returns:
        Dataset dicts whose image_id is a whole number, as evaluation needs it.

    Raises:
        DataError: if a listed image is not there, or nothing is left.
    """
    kept = list(range(len(records)))
    if spec.images is not None:
        kept = _listed(records, spec.images, spec.name)
    if spec.fraction is not None:
        # By name, so that the draw does not depend on ids or on the order of the file.
        order = sorted(kept, key=lambda i: str(records[i]["file_name"]))
        drawn = np.random.default_rng(spec.seed).permutation(len(order))
        kept = sorted(order[i] for i in drawn[: max(1, round(len(order) * spec.fraction))])
    if not kept:
        raise DataError(f"{spec.name}: none of its {len(records)} images is listed.")
    logger.info("%s: %d of %d images are used", spec.name, len(kept), len(records))
    return [
        records[i]
        if isinstance(records[i].get("image_id"), int)
        else {**records[i], "image_id": i + 1}
        for i in kept
    ]


def _listed(records: Records, path: str, name: str) -> list[int]:
    """Places of the images that a text file names, one a line."""
    wanted = read_lines(find_path(path))
    places: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        file = Path(str(record["file_name"]))
        for key in {str(file), file.name, file.stem}:
            places.setdefault(key, []).append(place)
    found: set[int] = set()
    missing, ambiguous = [], []
    for line in wanted:
        # A path that begins in some folder above the image: its end decides.
        hits = places.get(line) or [
            place
            for place in places.get(Path(line).name, ())
            if Path(str(records[place]["file_name"])).as_posix().endswith(f"/{line}")
        ]
        found.update(hits)
        if not hits:
            missing.append(line)
        elif len(hits) > 1:
            ambiguous.append(line)
    for lines, what in ((missing, "which the dataset lacks"), (ambiguous, "which fit several")):
        if lines:
            raise DataError(
                f"{name}: {path} lists {len(lines)} images {what}, for instance "
                f"{', '.join(lines[:3])}. Give a line for each image: its path, name, or name "
                "without ending."
            )
    return sorted(found)
