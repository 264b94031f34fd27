"""shapes_train and shapes_val: pictures drawn from their number, with nothing on the disk.

Filled figures of six classes lie over each other on textured ground. Each has a box, polygons of
what can be seen of it, and five keypoints: its centre and the ends of its own axes.
"""

import pickle
from functools import lru_cache, partial
from typing import Any

import numpy as np

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.shapes_paint import paint
from d2lite.data.datasets.shapes_scene import CLASSES, KEYPOINTS, SPLITS, Figure, lay_out
from d2lite.data.image_io import register_image_source
from d2lite.structures import BoxMode
from d2lite.utils.errors import MissingFileError

__all__ = ["load_shapes", "read_shapes_image", "register_shapes"]

_SCHEME = "shapes"

_COLOURS = ("4287F5", "F07828", "3CB45A", "EBC832", "AA5ADC", "E13C5A")

_CONNECTIONS = [
    ("top", "centre", (255, 255, 255)),
    ("centre", "bottom", (180, 180, 180)),
    ("left", "centre", (90, 170, 255)),
    ("centre", "right", (255, 140, 90)),
]


def load_shapes(split: str) -> list[dict[str, Any]]:
    """The dataset dicts of a split.

    Args:
        split: "train" or "val".
    """
    return pickle.loads(_pickled_dicts(split))


@lru_cache(maxsize=len(SPLITS))
def _pickled_dicts(split: str) -> bytes:
    """Kept as bytes, so that a caller who changes his dicts does not change the next one's."""
    return pickle.dumps([_dataset_dict(split, index) for index in range(SPLITS[split])])


def _dataset_dict(split: str, index: int) -> dict[str, Any]:
    scene = lay_out(split, index)
    return {
        "file_name": f"{_SCHEME}://{split}/{index}",
        "image_id": index,
        "height": scene.height,
        "width": scene.width,
        "annotations": [_annotation(figure) for figure in scene.figures],
    }


def _annotation(figure: Figure) -> dict[str, Any]:
    corners = np.concatenate(figure.polygons)
    return {
        "category_id": figure.label,
        "bbox": [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()],
        "bbox_mode": BoxMode.XYXY_ABS,
        "iscrowd": 0,
        "segmentation": [polygon.reshape(-1).tolist() for polygon in figure.polygons],
        "keypoints": figure.keypoints.reshape(-1).round(3).tolist(),
    }


def read_shapes_image(name: str) -> np.ndarray:
    """Draw the picture of a name like "shapes://train/17".

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        MissingFileError: if there is no such picture.
    """
    split, _, number = name.removeprefix(f"{_SCHEME}://").partition("/")
    if split not in SPLITS or not number.isdecimal() or int(number) >= SPLITS[split]:
        known = ", ".join(f"{_SCHEME}://{s}/0 to {n - 1}" for s, n in SPLITS.items())
        raise MissingFileError(f"There is no built-in picture {name!r}; there are {known}.")
    return paint(split, int(number))


def register_shapes() -> None:
    """Register the pictures' address and the two datasets."""
    register_image_source(_SCHEME, read_shapes_image)
    for split in SPLITS:
        name = f"shapes_{split}"
        DatasetCatalog.register(name, partial(load_shapes, split))
        MetadataCatalog.get(name).set(
            thing_classes=list(CLASSES),
            thing_colors=[list(bytes.fromhex(colour)) for colour in _COLOURS],
            keypoint_names=KEYPOINTS,
            keypoint_flip_map=(("left", "right"),),
            keypoint_connection_rules=_CONNECTIONS,
            evaluator_type="coco",
        )
