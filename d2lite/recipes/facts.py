"""Facts: what the rules of a recipe look at; gather_facts reads them from data and machine."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from d2lite.data import MetadataCatalog, get_detection_dataset_dicts
from d2lite.data.records.image_sizes import image_size
from d2lite.data.rotated_boxes import fill_of_corners
from d2lite.structures import BoxMode
from d2lite.utils.cores import usable_cores
from d2lite.utils.errors import DataError

# Outlines are rotated boxes where nearly all of them have four corners and fill a rectangle.
_ALL = 0.95
_RECTANGLE = 0.9
# A rectangle that fills less of the upright one around it has an angle.
_UPRIGHT = 0.9


class Memory(NamedTuple):
    """GiB that a training takes on a GPU.

    Attributes:
        fixed: of the model, its gradients and its optimizer.
        image: of each image of a batch.
    """

    fixed: float
    image: float


@dataclass(frozen=True)
class Facts:
    """Numbers about training data and machine.

    Attributes:
        image_sizes: (N, 2) height and width in pixels, of each image.
        box_sizes: (M, 2) width and height in pixels, of each object that is not a crowd.
        box_image: (M,) number of the image of each object.
        classes: their names.
        images_of_class: for each class, the images with an object of it.
        with_masks: share of the objects that have a mask.
        with_bitmaps: share of the objects whose mask is not of polygons.
        with_keypoints: share of the objects that have keypoints.
        num_keypoints: keypoints of an object; 0 without any.
        rotated: share of the objects whose box has an angle; boxes may be given by four corners.
        has_test: whether there are images to evaluate on.
        cores: that loader processes may use.
        processes: of the training on this machine.
        gpu_memory: GiB of the smallest GPU; 0 without one.
        heaviest: dataset dicts of the largest image, and of the one with the most objects.
        measure_memory: config, such dicts and names of classes -> the memory of a training.
    """

    image_sizes: np.ndarray
    box_sizes: np.ndarray
    box_image: np.ndarray
    classes: Sequence[str] = ()
    images_of_class: Sequence[int] = ()
    with_masks: float = 0.0
    with_bitmaps: float = 0.0
    with_keypoints: float = 0.0
    num_keypoints: int = 0
    rotated: float = 0.0
    has_test: bool = True
    cores: int = 2
    processes: int = 1
    gpu_memory: float = 0.0
    heaviest: Sequence[dict[str, Any]] = ()
    measure_memory: Callable[..., Memory] | None = None

    @property
    def num_images(self) -> int:
        """Images to train on."""
        return len(self.image_sizes)

    @property
    def short_side(self) -> float:
        """The median of the images' shorter sides, in pixels."""
        return float(np.median(self.image_sizes.min(axis=1)))

    def relative_sizes(self) -> np.ndarray:
        """(M,) square roots of the boxes' areas, as shares of the image's shorter side."""
        sides = self.image_sizes.min(axis=1)[self.box_image]
        relative: np.ndarray = np.sqrt(self.box_sizes.prod(axis=1)) / sides
        return relative


def gather_facts(
    names: Sequence[str],
    *,
    has_test: bool,
    processes: int = 1,
    measure_memory: Callable[..., Memory] | None = None,
) -> Facts:
    """Read the training data once.

    Args:
        names: of DATASETS.TRAIN.
        has_test: whether DATASETS.TEST names anything.
        processes: of the training on this machine.
        measure_memory: see `Facts`.

    Raises:
        DataError: if there is no object with a box.
    """
    records = get_detection_dataset_dicts(list(names), filter_empty=False, max_bad_share=1.0)
    if not isinstance(records, list):
        raise DataError(f"{', '.join(names)} is not a list of dataset dicts; name a --config-file.")
    sizes = np.array([_size(record) for record in records], dtype=float).reshape(-1, 2)
    classes = MetadataCatalog.get(names[0]).get("thing_classes") or ()
    objects = [
        (number, obj)
        for number, record in enumerate(records)
        for obj in record.get("annotations", ())
        if not obj.get("iscrowd", 0)
    ]
    if not objects:
        fix = ""
        if any("sem_seg_file_name" in record for record in records):
            fix = (
                " It has maps of classes: name a model for them, as in --config-file "
                "configs/Misc/semantic_R_50_FPN_1x.yaml."
            )
        raise DataError(f"{', '.join(names)} has no object with a box, so there is no recipe.{fix}")
    owners = np.array([number for number, _ in objects])
    images_of = Counter(label for _, label in {(i, obj["category_id"]) for i, obj in objects})
    masks = [obj.get("segmentation") for _, obj in objects]
    # A map of pixels is an array, which has no truth value.
    is_bitmap = [mask is not None and not isinstance(mask, list) for mask in masks]
    points = [obj.get("keypoints") or () for _, obj in objects]
    is_rotated = [len(obj["bbox"]) == 5 for _, obj in objects]
    return Facts(
        sizes,
        np.maximum(np.array([_box_size(obj) for _, obj in objects], dtype=float), 1e-3),
        owners,
        tuple(classes),
        tuple(images_of[index] for index in range(len(classes))),
        with_masks=_share([bitmap or bool(m) for m, bitmap in zip(masks, is_bitmap, strict=True)]),
        with_bitmaps=_share(is_bitmap),
        with_keypoints=_share([bool(of_object) for of_object in points]),
        num_keypoints=max(len(of_object) // 3 for of_object in points),
        rotated=_share(is_rotated) or _turned([fill_of_corners(obj) for _, obj in objects]),
        has_test=has_test,
        cores=usable_cores(),
        processes=processes,
        gpu_memory=_gpu_memory(),
        heaviest=[
            records[int(sizes.prod(axis=1).argmax())],
            records[int(np.bincount(owners).argmax())],
        ],
        measure_memory=measure_memory,
    )


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


def _turned(fills: Sequence[tuple[float, float] | None]) -> float:
    """Share of the objects that are turned rectangles; 0 where the outlines are not rectangles."""
    rectangles = [fill for fill in fills if fill is not None]
    if len(rectangles) < _ALL * len(fills):
        return 0.0
    of_own, of_upright = np.array(rectangles).T
    if np.mean(of_own >= _RECTANGLE) < _ALL:
        return 0.0
    return float(np.mean(of_upright < _UPRIGHT))


def _size(record: dict[str, Any]) -> tuple[int, int]:
    if record.get("height") and record.get("width"):
        return record["height"], record["width"]
    return image_size(Path(str(record["file_name"])))


def _box_size(obj: dict[str, Any]) -> tuple[float, float]:
    if len(obj["bbox"]) == 5:
        return obj["bbox"][2], obj["bbox"][3]
    x0, y0, x1, y1 = BoxMode.convert(list(obj["bbox"]), obj["bbox_mode"], BoxMode.XYXY_ABS)
    return x1 - x0, y1 - y0


def _gpu_memory() -> float:
    if not torch.cuda.is_available():
        return 0.0
    sizes = [
        torch.cuda.get_device_properties(index).total_memory
        for index in range(torch.cuda.device_count())
    ]
    return min(sizes) / 2**30
