"""LabelledImage: an image, its objects and its map of classes, between two augmentations."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from d2lite.data import transforms as T
from d2lite.data.annotations import bitmap, get_bbox, transform_instance_annotations
from d2lite.data.transforms.labels import transform_labels
from d2lite.structures import BoxMode, polygons_to_bitmask


@dataclass
class LabelledImage:
    """What a step of augmentation that looks at more than pixels takes and returns.

    Attributes:
        image: (H, W) or (H, W, C).
        annotations: of the objects, in pixels of the image; no crowds.
        sem_seg: (H, W) integer class of each pixel, where the dataset has it.
        has_annotations: False where the dataset says nothing of objects, not even that there are
            none.
        ignore_value: the class of pixels that have none.
        hflip_indices: (K,) int, see `create_keypoint_hflip_indices`.
    """

    image: np.ndarray
    annotations: list[dict[str, Any]] = field(default_factory=list)
    sem_seg: np.ndarray | None = None
    has_annotations: bool = True
    ignore_value: int = 255
    hflip_indices: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.image.shape[:2]

    def augment(self, augmentation: T.Augmentation) -> T.Transform:
        """Draw, change image and classes in place, and return what is still to do to the objects.

        Args:
            augmentation: one, or a list of them.
        """
        boxes = None
        if self.has_annotations:
            known = [get_bbox(anno) for anno in self.annotations if "bbox" in anno]
            boxes = np.stack(known) if known else np.zeros((0, 4))
        aug_input = T.AugInput(
            self.image,
            boxes=boxes,
            sem_seg=self.sem_seg,
            ignore_value=self.ignore_value,
        )
        transforms = augmentation(aug_input)
        self.image, self.sem_seg = aug_input.image, aug_input.sem_seg
        return transforms

    def carry_objects(self, transforms: T.Transform, min_visible: float = 0.0) -> None:
        """Do to the objects what was done to the image, in place.

        Objects whose box is outside are dropped.

        Args:
            transforms: what was done.
            min_visible: objects are dropped too of whose box a smaller share is still inside.
        """
        carried = []
        for anno in self.annotations:
            changed = transform_instance_annotations(
                dict(anno), transforms, self.size, keypoint_hflip_indices=self.hflip_indices
            )
            if "bbox" in anno:
                left = _area(changed["bbox"])
                whole = _area(transforms.apply_box(get_bbox(anno)[None])[0])
                if left <= 0 or left < min_visible * whole:
                    continue
            carried.append(changed)
        self.annotations = carried

    def transformed(self, transforms: T.Transform, min_visible: float = 0.0) -> "LabelledImage":
        """A new image, after transforms.

        Args:
            transforms: of images as large as this one.
            min_visible: as in `carry_objects`.
        """
        labels = self.sem_seg
        if labels is not None:
            labels = transform_labels(transforms, labels, self.ignore_value)
        made = replace(self, image=transforms.apply_image(self.image), sem_seg=labels)
        made.carry_objects(transforms, min_visible)
        return made

    def blank(self, size: tuple[int, int], fill: float, *, with_labels: bool) -> "LabelledImage":
        """An image of one grey without objects, of this one's kind.

        Args:
            size: height and width.
            fill: grey level.
            with_labels: give it a map of classes, which says of no pixel what it is.
        """
        height, width = size
        image = np.full((height, width, *self.image.shape[2:]), fill, self.image.dtype)
        labels = None
        if with_labels:
            dtype = np.int32 if self.sem_seg is None else self.sem_seg.dtype
            labels = np.full((height, width), self.ignore_value, dtype)
        return replace(self, image=image, annotations=[], sem_seg=labels)

    def lay(self, part: "LabelledImage", x0: int, y0: int) -> None:
        """Lay a smaller image over this one, in place; objects below are not touched.

        Args:
            part: fits inside this one.
            x0: its left edge, pixels.
            y0: its upper edge.
        """
        (height, width), (h, w) = self.size, part.size
        window = (slice(y0, y0 + h), slice(x0, x0 + w))
        self.image[window] = part.image
        if self.sem_seg is not None:
            self.sem_seg[window] = self.ignore_value if part.sem_seg is None else part.sem_seg
        shift = T.PadTransform(x0, y0, width - x0 - w, height - y0 - h, orig_w=w, orig_h=h)
        moved = replace(self, annotations=part.annotations)
        moved.carry_objects(shift)
        self.annotations = self.annotations + moved.annotations

    def mask_of(self, annotation: dict[str, Any]) -> np.ndarray | None:
        """(H, W) bool mask of an object, or None if it has none.

        Args:
            annotation: one of this image's.
        """
        segmentation = annotation.get("segmentation")
        if segmentation is None:
            return None
        if isinstance(segmentation, list):
            outlines = [np.asarray(p, dtype=np.float64).reshape(-1) for p in segmentation]
            return polygons_to_bitmask([p for p in outlines if len(p) >= 6], *self.size)
        return bitmap(segmentation).astype(bool)


def box_of_bitmap(mask: np.ndarray) -> list[float]:
    """The xyxy box of a (H, W) bool mask that has a pixel, in pixels."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def with_mask(annotation: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """A copy of an annotation with another mask and the box around it.

    Args:
        annotation: of one object.
        mask: (H, W) bool, with a pixel at least.
    """
    shape = {"segmentation": mask.astype(np.uint8), "bbox": box_of_bitmap(mask)}
    return {**annotation, **shape, "bbox_mode": BoxMode.XYXY_ABS}


def _area(box: Sequence[float] | np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
