"""Maps of classes whose pixels are not class numbers."""

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from d2lite.data.images.class_map_files import read_class_map
from d2lite.utils.errors import DataError, MissingFileError

# So many maps are looked at before a training begins; `d2lite data check` reads all.
_NUM_SAMPLES = 10


def map_fault(file_name: str, num_classes: int, ignore_value: int) -> str | None:
    """What is wrong with the pixels of a map of classes, in words.

    Args:
        file_name: of the map.
        num_classes: pixels are 0 to num_classes - 1.
        ignore_value: of pixels without a class.

    Returns:
        None if nothing is wrong.

    Raises:
        MissingFileError, DataError: if it cannot be read.
    """
    values = np.unique(read_class_map(file_name))
    if num_classes > 1 and ignore_value == 255 and values.tolist() == [0, 255]:
        return (
            "has only the values 0 and 255, as black-and-white masks have; 255 is not learnt "
            "from. Write class numbers (0 and 1)"
        )
    beyond = values[(values != ignore_value) & ((values < 0) | (values >= num_classes))]
    if not len(beyond):
        return None
    listed = ", ".join(map(str, beyond[:5].tolist()))
    return f"has the values {listed}, but classes are 0 to {num_classes - 1} ({ignore_value}: none)"


def check_class_maps(
    records: Iterable[dict[str, Any]], num_classes: int, ignore_value: int
) -> None:
    """The short check before a training: the first maps of classes.

    Raises:
        DataError: if a map has values that no class has, or all are black and white.
    """
    names = (r["sem_seg_file_name"] for r in records if r.get("sem_seg_file_name"))
    found = []
    for name in islice(names, _NUM_SAMPLES):
        # One that is missing or broken costs its image, as in the loader.
        with suppress(DataError, MissingFileError):
            found.append((name, map_fault(name, num_classes, ignore_value)))
    bad = [f"{name} {why}" for name, why in found if why is not None]
    is_beyond = any("but classes are" in text for text in bad)
    if bad and (is_beyond or len(bad) == len(found)):
        raise DataError(
            f"{len(bad)} of the first {len(found)} maps of classes cannot be learnt from: "
            f"{bad[0]}. The number of classes is MODEL.SEM_SEG_HEAD.NUM_CLASSES."
        )
