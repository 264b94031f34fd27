"""ADE20K, as the scene parsing benchmark of 150 classes has it."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2lite.utils.errors import MissingFileError
from d2lite.utils.file_io import atomic_write

from .coco import load_sem_seg
from .location import missing_file

logger = logging.getLogger(__name__)


def load_ade20k_sem_seg(
    sem_seg_root: str | os.PathLike[str], image_root: str | os.PathLike[str]
) -> list[dict[str, Any]]:
    """Pair the images of a split with their converted maps.

    Args:
        sem_seg_root: such as ADEChallengeData2016/annotations_detectron2/training.
        image_root: such as ADEChallengeData2016/images/training.

    Raises:
        MissingFileError: if a folder is missing; the message says how the maps are made.
    """
    if os.path.isdir(image_root) and not os.path.isdir(sem_seg_root):
        raise MissingFileError(
            f"{missing_file('converted ADE20K maps', sem_seg_root)} They are made of the "
            "downloaded ones, ADEChallengeData2016/annotations, by "
            "d2lite.data.datasets.ade20k.convert_ade20k_maps(from_folder, to_folder)."
        )
    return load_sem_seg(sem_seg_root, image_root)


def convert_ade20k_maps(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Renumber the benchmark's maps, in which 0 is void and classes count from 1.

    Args:
        source: folder with the downloaded PNGs; folders in it are kept.
        target: where PNGs go whose classes count from 0 and whose void is 255.
    """
    root = Path(source)
    paths = sorted(root.rglob("*.png"))
    if not paths:
        raise missing_file("ADE20K maps", root / "*.png")
    for path in paths:
        with Image.open(path) as opened:
            labels = np.asarray(opened, dtype=np.uint8)
        with atomic_write(Path(target) / path.relative_to(root), "wb") as stream:
            # Unsigned numbers wrap: 0 becomes 255.
            Image.fromarray(labels - np.uint8(1)).save(stream, format="PNG")
    logger.info("Converted %d maps of %s into %s", len(paths), source, target)
