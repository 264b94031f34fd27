"""shapes_train and shapes_val: images drawn from their number, with nothing on the disk.

Filled figures of five classes lie over each other on textured ground. Each has a box, polygons of
what can be seen of it, and five keypoints: its centre and the ends of its own axes.
shapes_train_panoptic and shapes_val_panoptic add maps of every pixel, which have addresses of
their own below that of the image: shapes://val/3/sem_seg and shapes://val/3/panoptic.
In ..._panoptic_joint and ..._sem_seg the ground is the class after those of figures; the map of
these classes is shapes://val/3/classes.
"""

import pickle
from functools import lru_cache, partial
from typing import Any

import numpy as np

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.coco_panoptic import segment_ids_to_rgb
from d2lite.data.images.image_io import register_image_source
from d2lite.structures import BoxMode
from d2lite.utils.errors import MissingFileError

from .labels import draw_segment_ids, has_ground
from .paint import paint
from .scene import CLASSES, KEYPOINTS, SPLITS, Figure, lay_out

_SCHEME = "shapes"

_COLOURS = ("4287F5", "F07828", "3CB45A", "EBC832", "AA5ADC", "E13C5A")

# As in COCO's separated form: the first class of pixels stands for every figure.
_STUFF_CLASSES = ["things", "ground"]
_STUFF_COLOURS = ("521282", "8C8C82")
_JOINT_CLASSES = [*CLASSES, "ground"]

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


def load_shapes_panoptic(split: str) -> list[dict[str, Any]]:
    """The dataset dicts of a split, with the addresses of its maps and with its segments."""
    records = load_shapes(split)
    for index, record in enumerate(records):
        figures = record["annotations"]
        segments = [
            {"id": number, "category_id": obj["category_id"], "isthing": True, "iscrowd": 0}
            for number, obj in enumerate(figures, start=1)
        ]
        if has_ground(split, index):
            ground = {"category_id": _STUFF_CLASSES.index("ground"), "isthing": False}
            segments.append({"id": len(figures) + 1, **ground, "iscrowd": 0})
        record["sem_seg_file_name"] = f"{record['file_name']}/sem_seg"
        record["pan_seg_file_name"] = f"{record['file_name']}/panoptic"
        record["segments_info"] = segments
    return records


def load_shapes_joint(split: str) -> list[dict[str, Any]]:
    """As `load_shapes_panoptic`, with one row of class numbers for figures and ground."""
    records = load_shapes_panoptic(split)
    for record in records:
        record["sem_seg_file_name"] = f"{record['file_name']}/classes"
        for segment in record["segments_info"]:
            if not segment["isthing"]:
                segment["category_id"] = _JOINT_CLASSES.index("ground")
    return records


def load_shapes_sem_seg(split: str) -> list[dict[str, Any]]:
    """The dataset dicts of a split with nothing but the class of each pixel."""
    kept = ("file_name", "image_id", "height", "width", "sem_seg_file_name")
    return [{key: record[key] for key in kept} for record in load_shapes_joint(split)]


def read_shapes_image(name: str) -> np.ndarray:
    """Draw the image of a name like "shapes://train/17", or one of its maps.

    Returns:
        (H, W, 3) uint8 RGB for an image and for a map of segments, whose colours are numbers as
        in COCO's panoptic PNGs; (H, W) uint8 for a map of classes.

    Raises:
        MissingFileError: if there is no such image.
    """
    split, _, rest = name.removeprefix(f"{_SCHEME}://").partition("/")
    number, _, kind = rest.partition("/")
    is_known = split in SPLITS and number.isdecimal() and int(number) < SPLITS[split]
    if not is_known or kind not in ("", "sem_seg", "panoptic", "classes"):
        known = ", ".join(f"{_SCHEME}://{s}/0 to {n - 1}" for s, n in SPLITS.items())
        raise MissingFileError(f"There is no built-in image {name!r}; there are {known}.")
    if not kind:
        return paint(split, int(number))
    segment_ids = draw_segment_ids(split, int(number))
    if kind == "panoptic":
        return segment_ids_to_rgb(segment_ids)
    labels = [figure.label for figure in lay_out(split, int(number)).figures]
    if kind == "classes":
        return np.array([255, *labels, _JOINT_CLASSES.index("ground")], dtype=np.uint8)[segment_ids]
    num_figures = len(labels)
    return (segment_ids > num_figures).astype(np.uint8)  # things are 0, the ground is 1


def register_shapes() -> None:
    """Register the images' address and the datasets."""
    register_image_source(_SCHEME, read_shapes_image)
    for split in SPLITS:
        common = {
            "thing_classes": list(CLASSES),
            "thing_colors": [list(bytes.fromhex(colour)) for colour in _COLOURS],
            "keypoint_names": KEYPOINTS,
            "keypoint_flip_map": (("left", "right"),),
            "keypoint_connection_rules": _CONNECTIONS,
        }
        name = f"shapes_{split}"
        DatasetCatalog.register(name, partial(load_shapes, split))
        MetadataCatalog.get(name).set(evaluator_type="coco", **common)
        DatasetCatalog.register(f"{name}_panoptic", partial(load_shapes_panoptic, split))
        MetadataCatalog.get(f"{name}_panoptic").set(
            evaluator_type="coco_panoptic_seg",
            stuff_classes=list(_STUFF_CLASSES),
            stuff_colors=[list(bytes.fromhex(colour)) for colour in _STUFF_COLOURS],
            ignore_label=255,
            **common,
        )
        joint = {
            "stuff_classes": list(_JOINT_CLASSES),
            "stuff_colors": [list(bytes.fromhex(c)) for c in _COLOURS[: len(CLASSES)]]
            + [list(bytes.fromhex(_STUFF_COLOURS[1]))],
            "ignore_label": 255,
        }
        DatasetCatalog.register(f"{name}_panoptic_joint", partial(load_shapes_joint, split))
        MetadataCatalog.get(f"{name}_panoptic_joint").set(
            evaluator_type="coco_panoptic_seg",
            thing_dataset_id_to_contiguous_id={number: number for number in range(len(CLASSES))},
            stuff_dataset_id_to_contiguous_id={len(CLASSES): len(CLASSES)},
            label_divisor=1000,
            **joint,
            **common,
        )
        DatasetCatalog.register(f"{name}_sem_seg", partial(load_shapes_sem_seg, split))
        MetadataCatalog.get(f"{name}_sem_seg").set(evaluator_type="sem_seg", **joint)
