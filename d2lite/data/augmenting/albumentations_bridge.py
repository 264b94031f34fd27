"""Albumentations: its augmentations as one step, with boxes, masks, polygons and keypoints.

The package is optional. Its successor AlbumentationsX, whose licence is another one, is imported
by the same name and called in the same way.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from d2lite.data.annotations import bitmap, get_bbox
from d2lite.data.transforms.polygon_clip import clip_polygon
from d2lite.structures import BoxMode
from d2lite.utils.errors import ConfigError

from .labelled_image import LabelledImage
from .mixing import DrawPartner, WholeImageAugmentation

# Three points around the image's middle; they turn the other way round when it is mirrored.
_PROBE = np.array([[0.45, 0.45], [0.55, 0.45], [0.45, 0.55]])


def load_albumentations() -> ModuleType:
    """The package.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import albumentations  # optional: an extra of its own
    except ImportError as err:
        raise ConfigError(
            "INPUT.AUGMENTATIONS names Albumentations, which is not installed "
            f"({err}). Try: pip install 'd2lite[albumentations]'"
        ) from err
    module: ModuleType = albumentations
    return module


class Albumentations(WholeImageAugmentation):
    """Apply transforms of Albumentations to an image and all that is on it.

    Corners of polygons go through as keypoints and masks as masks; what falls outside is cut off.
    Resizing moves its keypoints, and so these corners, by up to half a pixel times the factor:
    use INPUT.MASK_FORMAT bitmask where that matters, or our own resizing.
    """

    def __init__(self, *transforms: Any, compose: Callable[..., dict[str, Any]] | None = None):
        """Store what is applied.

        Args:
            transforms: transforms of Albumentations, applied in order.
            compose: what to call instead, in Albumentations' way: it takes image, masks, mask,
                bboxes (pascal_voc, with the label field box_ids) and keypoints (xy, with the
                label field point_ids, invisible ones kept) by name and returns a dict of the same.

        Raises:
            ConfigError: if neither or both are given, or the package is not there.
        """
        if (compose is None) == (len(transforms) == 0):
            raise ConfigError(
                "Albumentations needs its transforms, as in Albumentations(RandomGamma(p=0.5)), "
                "or `compose`, not both."
            )
        self.transforms = transforms
        self.compose = _composed(transforms) if compose is None else compose

    def __call__(self, labelled: LabelledImage, draw_partner: DrawPartner) -> LabelledImage:
        """Apply them; no other image is asked for."""
        if hasattr(self.compose, "set_random_seed"):
            # Newer versions draw from generators of their own, which would not follow the stream.
            self.compose.set_random_seed(int(np.random.randint(2**31)))
        sent = _Sent(labelled)
        made = self.compose(**sent.arguments)
        return sent.received(made)

    def __repr__(self) -> str:
        """The name and the transforms."""
        inner = self.transforms or (self.compose,)
        return f"Albumentations({', '.join(map(repr, inner))})"


def _composed(transforms: Sequence[Any]) -> Callable[..., dict[str, Any]]:
    module = load_albumentations()
    box_params = module.BboxParams(format="pascal_voc", label_fields=["box_ids"])
    point_params = module.KeypointParams(
        format="xy", label_fields=["point_ids"], remove_invisible=False
    )
    with warnings.catch_warnings():
        # It warns that colours do not need boxes, which are always sent.
        warnings.filterwarnings("ignore", message="Got processor for")
        made: Callable[..., dict[str, Any]] = module.Compose(
            list(transforms), bbox_params=box_params, keypoint_params=point_params
        )
    return made


class _Sent:
    """An image on its way through, taken apart into what the package understands."""

    def __init__(self, labelled: LabelledImage) -> None:
        self.labelled = labelled
        height, width = labelled.size
        self.has_box = [i for i, a in enumerate(labelled.annotations) if "bbox" in a]
        boxes = np.array([get_bbox(labelled.annotations[i]) for i in self.has_box]).reshape(-1, 4)
        boxes = boxes.clip(0, [width, height, width, height])
        # It refuses boxes without area.
        full = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        self.box_ids = [i for i, keep in zip(self.has_box, full, strict=True) if keep]
        self.mask_ids: list[int] = []
        self.points: list[np.ndarray] = [_PROBE * (width, height)]
        masks = []
        for index, anno in enumerate(labelled.annotations):
            segmentation = anno.get("segmentation")
            if isinstance(segmentation, list):
                self.points += [np.asarray(p, dtype=float).reshape(-1, 2) for p in segmentation]
            elif segmentation is not None:
                self.mask_ids.append(index)
                masks.append(np.ascontiguousarray(bitmap(segmentation), dtype=np.uint8))
            if "keypoints" in anno:
                keypoints = np.asarray(anno["keypoints"], dtype=float).reshape(-1, 3)
                self.points.append(keypoints[:, :2])
        self.arguments: dict[str, Any] = {
            "image": np.ascontiguousarray(labelled.image),
            "bboxes": boxes[full],
            "box_ids": self.box_ids,
            # It counts from the middle of the first pixel, half a pixel from its corner.
            "keypoints": np.concatenate(self.points) - 0.5,
            "point_ids": list(range(sum(map(len, self.points)))),
        }
        if masks:
            self.arguments["masks"] = masks
        if labelled.sem_seg is not None:
            # 0 would come in from outside, which is a class; so 0 is sent for "none".
            labels = labelled.sem_seg.astype(np.int32) + 1
            labels[labelled.sem_seg == labelled.ignore_value] = 0
            self.arguments["mask"] = labels.astype(np.uint8 if labels.max() < 256 else np.int32)

    def received(self, made: dict[str, Any]) -> LabelledImage:
        """The image put together again from what came back."""
        # A few transforms lose points at the rim, so each has its number.
        points = np.full((sum(map(len, self.points)), 2), np.nan)
        kept = np.asarray(made["point_ids"], dtype=int)
        points[kept] = np.asarray(made["keypoints"], dtype=float).reshape(len(kept), 2) + 0.5
        ends = np.cumsum([len(part) for part in self.points])
        parts = iter(np.split(points, ends[:-1]))
        is_mirrored = _turn(next(parts)) * _turn(_PROBE) < 0
        rows = [np.asarray(row[:4], dtype=float) for row in made["bboxes"]]
        boxes = {int(i): row for i, row in zip(made["box_ids"], rows, strict=True)}
        masks = dict(zip(self.mask_ids, made.get("masks", ()), strict=True))
        size = made["image"].shape[:2]
        annotations = []
        for index, anno in enumerate(self.labelled.annotations):
            changed = dict(anno)
            # Each takes its points, in the order in which they were sent, also if it is dropped.
            if isinstance(anno.get("segmentation"), list):
                moved = [next(parts) for _ in anno["segmentation"]]
                changed["segmentation"] = _cut(moved, size)
            elif index in masks:
                changed["segmentation"] = np.asarray(masks[index])
            if "keypoints" in anno:
                changed["keypoints"] = self._keypoints(anno, next(parts), size, is_mirrored)
            if "bbox" in anno:
                if index not in boxes:
                    continue
                changed["bbox"], changed["bbox_mode"] = boxes[index], BoxMode.XYXY_ABS
            annotations.append(changed)
        labels = None
        if self.labelled.sem_seg is not None:
            labels = np.asarray(made["mask"]).astype(np.int32) - 1
            labels[labels < 0] = self.labelled.ignore_value
        return replace(self.labelled, image=made["image"], annotations=annotations, sem_seg=labels)

    def _keypoints(
        self, anno: dict[str, Any], moved: np.ndarray, size: tuple[int, int], is_mirrored: bool
    ) -> np.ndarray:
        """(K, 3) keypoints: outside ones unlabelled, left and right exchanged in a mirror."""
        visible = np.asarray(anno["keypoints"], dtype=float).reshape(-1, 3)[:, 2:]
        points = np.concatenate([moved, visible], axis=1)
        is_inside = ((moved >= 0) & (moved <= size[::-1])).all(axis=1)
        points[~is_inside | (points[:, 2] == 0)] = 0  # lost ones, NaN, are not inside
        if is_mirrored and self.labelled.hflip_indices is not None:
            points = points[np.asarray(self.labelled.hflip_indices)]
        return points


def _cut(polygons: list[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    """Flat polygons, without what is outside the image."""
    height, width = size
    known = [polygon[~np.isnan(polygon).any(axis=1)] for polygon in polygons]
    whole = [polygon for polygon in known if len(polygon) >= 3]
    parts = [part for polygon in whole for part in clip_polygon(polygon, 0, 0, width, height)]
    return [part.reshape(-1) for part in parts]


def _turn(triangle: np.ndarray) -> float:
    """Above 0 if the three points go one way round, below 0 if the other."""
    first, second = triangle[1] - triangle[0], triangle[2] - triangle[0]
    return float(first[0] * second[1] - first[1] * second[0])
