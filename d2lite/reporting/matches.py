"""Matches: which detection found which object, as COCO's scorer decided it.

Every number of a report is counted from this one table.
T IoU thresholds, D detections, G objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

NONE = -1


class ImageOverlaps(NamedTuple):
    """How much the detections of an image overlap with its objects, whatever their classes.

    Attributes:
        detections: (d,) int, their numbers in the table, the best score first.
        objects: (g,) int, their numbers in the table.
        iou: (d, g) float in [0, 1]; for a crowd the share of the detection that is inside it.
    """

    detections: np.ndarray
    objects: np.ndarray
    iou: np.ndarray


@dataclass(frozen=True)
class Matches:
    """All detections that count and all objects of a set, and their matches.

    Detections are in the scorer's order: by class, then by image, then by falling score.

    Attributes:
        task: "bbox", "segm" or "keypoints".
        image_ids: of the images that were scored.
        category_ids: of the classes that were scored.
        class_names: of the same.
        iou_thresholds: T numbers, ascending.
        dt_image: (D,) int, position in `image_ids`.
        dt_class: (D,) int, position in `category_ids`.
        dt_score: (D,) float.
        dt_box: (D, 4) float, xywh; (D, 5) for rotated boxes.
        dt_match: (T, D) int, number of the object; -1 for none.
        dt_ignored: (T, D) bool, neither right nor wrong, because it matches a crowd.
        gt_image: (G,) int.
        gt_class: (G,) int.
        gt_box: (G, 4) float, xywh; (G, 5) for rotated boxes.
        gt_area: (G,) float, square pixels, as COCO counts them.
        gt_ignored: (G,) bool, a crowd or an object without what the task compares.
        overlaps: of each image.
        dt_shape: D masks as run-length codes or D lists of keypoints; D times None for boxes.
        gt_shape: the same of the objects.
    """

    task: str
    image_ids: list[Any]
    category_ids: list[Any]
    class_names: list[str]
    iou_thresholds: list[float]
    dt_image: np.ndarray
    dt_class: np.ndarray
    dt_score: np.ndarray
    dt_box: np.ndarray
    dt_match: np.ndarray
    dt_ignored: np.ndarray
    gt_image: np.ndarray
    gt_class: np.ndarray
    gt_box: np.ndarray
    gt_area: np.ndarray
    gt_ignored: np.ndarray
    overlaps: list[ImageOverlaps]
    dt_shape: list[Any]
    gt_shape: list[Any]

    def at(self, iou: float) -> int:
        """Position of an IoU threshold.

        Raises:
            ValueError: if the scorer did not use it.
        """
        near = np.flatnonzero(np.isclose(self.iou_thresholds, iou))
        if not len(near):
            raise ValueError(f"IoU {iou} was not scored; known: {self.iou_thresholds}.")
        return int(near[0])

    def is_right(self, iou: float) -> np.ndarray:
        """Whether each detection found an object of its class, (D,) bool."""
        t = self.at(iou)
        return np.asarray((self.dt_match[t] != NONE) & ~self.dt_ignored[t])

    def is_wrong(self, iou: float) -> np.ndarray:
        """Whether each detection is a false alarm, (D,) bool."""
        t = self.at(iou)
        return np.asarray((self.dt_match[t] == NONE) & ~self.dt_ignored[t])

    def is_missed(self, iou: float, min_score: float = -np.inf) -> np.ndarray:
        """Whether no detection of at least a score found each object that counts, (G,) bool."""
        return np.asarray((self.found_by(iou, min_score) == NONE) & ~self.gt_ignored)

    def num_objects(self) -> np.ndarray:
        """Objects of each class that can be found, (K,) int."""
        return np.bincount(self.gt_class[~self.gt_ignored], minlength=len(self.category_ids))

    def found_by(self, iou: float, min_score: float = -np.inf) -> np.ndarray:
        """The detection that found each object, (G,) int; -1 for none.

        Args:
            iou: threshold of a match.
            min_score: detections below it are left out. What the others match stays the same,
                since the scorer takes them in the order of their scores.
        """
        match = self.dt_match[self.at(iou)]
        found = np.full(len(self.gt_class), NONE)
        chosen = np.flatnonzero((match != NONE) & (self.dt_score >= min_score))
        # Reversed: where several match a crowd, the best one is noted last.
        found[match[chosen[::-1]]] = chosen[::-1]
        return found


def match_table(evaluation: Any, class_names: Mapping[Any, str]) -> Matches:
    """Read the matches of a finished evaluation.

    Args:
        evaluation: of pycocotools' COCOeval or a subclass that fills `evalImgs`, as
            `d2lite.evaluation.coco_scoring.score_coco` returns it.
        class_names: category id to name.
    """
    params = evaluation.params
    num_images, num_areas = len(params.imgIds), len(params.areaRngLbl)
    all_sizes = list(params.areaRngLbl).index("all")
    detections, objects = _Rows(), _Rows()
    number_of_object: dict[int, int] = {}
    matched, ignored = [], []
    for k in range(len(params.catIds)):
        for i in range(num_images):
            found = evaluation.evalImgs[(k * num_areas + all_sizes) * num_images + i]
            if found is None:
                continue
            for name, is_ignored in zip(found["gtIds"], found["gtIgnore"], strict=True):
                number_of_object[name] = len(objects.image)
                objects.add(i, k, evaluation.cocoGt.anns[name], bool(is_ignored))
            for name in found["dtIds"]:
                detections.add(i, k, evaluation.cocoDt.anns[name])
            matched.append(np.asarray(found["dtMatches"], dtype=np.int64))
            ignored.append(np.asarray(found["dtIgnore"], dtype=bool))
    empty = np.zeros((len(params.iouThrs), 0))
    # The scorer writes 0 where nothing matches; the ids of objects begin with 1.
    match = np.concatenate([empty.astype(np.int64), *matched], axis=1)
    to_number = np.full(max(number_of_object, default=0) + 1, NONE)
    to_number[list(number_of_object)] = list(number_of_object.values())
    return Matches(
        task=str(params.iouType),
        image_ids=[_plain(i) for i in params.imgIds],
        category_ids=[_plain(c) for c in params.catIds],
        class_names=[class_names.get(c, str(c)) for c in params.catIds],
        iou_thresholds=[float(t) for t in params.iouThrs],
        dt_image=np.array(detections.image, dtype=np.int64),
        dt_class=np.array(detections.label, dtype=np.int64),
        dt_score=np.array([e["score"] for e in detections.entries], dtype=np.float64),
        dt_box=detections.boxes(),
        dt_match=to_number[match],
        dt_ignored=np.concatenate([empty.astype(bool), *ignored], axis=1),
        gt_image=np.array(objects.image, dtype=np.int64),
        gt_class=np.array(objects.label, dtype=np.int64),
        gt_box=objects.boxes(),
        gt_area=np.array([e["area"] for e in objects.entries], dtype=np.float64),
        gt_ignored=np.array(objects.ignored, dtype=bool),
        overlaps=_overlaps(evaluation, detections, objects, num_images),
        dt_shape=detections.shapes(params.iouType),
        gt_shape=objects.shapes(params.iouType),
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


class _Rows:
    """The rows of one side of the table while it grows."""

    def __init__(self) -> None:
        self.image: list[int] = []
        self.label: list[int] = []
        self.entries: list[dict[str, Any]] = []
        self.ignored: list[bool] = []

    def add(self, image: int, label: int, entry: dict[str, Any], ignored: bool = False) -> None:
        self.image.append(image)
        self.label.append(label)
        self.entries.append(entry)
        self.ignored.append(ignored)

    def boxes(self) -> np.ndarray:
        boxes = [entry["bbox"] for entry in self.entries]
        return np.array(boxes, dtype=np.float64).reshape(len(boxes), -1 if boxes else 4)

    def shapes(self, task: str) -> list[Any]:
        key = {"segm": "segmentation", "keypoints": "keypoints"}.get(task)
        return [entry.get(key) if key else None for entry in self.entries]


def _overlaps(
    evaluation: Any, detections: _Rows, objects: _Rows, num_images: int
) -> list[ImageOverlaps]:
    """Let the scorer compare all detections of each image with all objects of it."""
    params = evaluation.params
    compare = evaluation.computeOks if params.iouType == "keypoints" else evaluation.computeIoU
    dt_of, gt_of = (_by_image(rows.image, num_images) for rows in (detections, objects))
    limits = params.maxDets
    # A key that no image and class have: the scorer looks up what it compares by such a pair.
    key = ("all classes", 0)
    found = []
    try:
        for of_image, truth in zip(dt_of, gt_of, strict=True):
            of_image.sort(key=lambda d: -detections.entries[d]["score"])
            params.maxDets = [len(of_image)]
            evaluation._dts[key] = [detections.entries[d] for d in of_image]
            evaluation._gts[key] = [objects.entries[g] for g in truth]
            # The scorer gives [] where one side is empty.
            iou = compare(*key) if of_image and truth else ()
            shape = len(of_image), len(truth)
            found.append(
                ImageOverlaps(
                    np.array(of_image, dtype=np.int64),
                    np.array(truth, dtype=np.int64),
                    np.asarray(iou, dtype=np.float64).reshape(shape),
                )
            )
    finally:
        params.maxDets = limits
        for side in (evaluation._dts, evaluation._gts):
            side.pop(key, None)
    return found


def _by_image(images: Sequence[int], num_images: int) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(num_images)]
    for number, image in enumerate(images):
        rows[image].append(number)
    return rows
