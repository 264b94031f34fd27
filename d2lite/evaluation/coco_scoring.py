"""COCO average precision from arrays: engines that fill them, and the metrics read from them."""

import contextlib
import copy
import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from pycocotools import coco, cocoeval

from d2lite.data.object_checks import box_around, is_valid_polygon, mask_fault
from d2lite.structures.masks import rle
from d2lite.utils.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

_NUM_COCO_KEYPOINTS = 17


@dataclass(frozen=True)
class CocoScores:
    """What one task's evaluation measured; -1 marks what has no ground truth.

    T IoU thresholds, R recall levels, K categories, A ranges of area, M limits of detections.
    """

    precision_TRKAM: np.ndarray  # noqa: N815 - axes, see the class docstring
    recall_TKAM: np.ndarray  # noqa: N815
    category_ids: list[int]
    iou_thresholds: list[float]
    area_names: list[str]
    max_dets: list[int]

    def average_precision(
        self, *, iou: float | None = None, area: str = "all", category_id: int | None = None
    ) -> float:
        """AP in percent at the largest limit of detections, nan where there is no ground truth.

        Args:
            iou: at this threshold; None for the mean over all.
            area: "all", "small", "medium" or "large".
            category_id: of one category; None for the mean over all.
        """
        precision = self.precision_TRKAM[:, :, :, self.area_names.index(area), -1]
        if iou is not None:
            precision = precision[np.isclose(self.iou_thresholds, iou)]
        if category_id is not None:
            precision = precision[:, :, self.category_ids.index(category_id)]
        return _mean_percent(precision)

    def average_recall(self, max_dets: int, area: str = "all") -> float:
        """Recall in percent at the end of the curve, mean over thresholds and categories."""
        place = self.area_names.index(area), self.max_dets.index(max_dets)
        return _mean_percent(self.recall_TKAM[:, :, place[0], place[1]])

    def metrics(self, task: str) -> dict[str, float]:
        """The named metrics of a task, in percent.

        Args:
            task: "bbox", "segm" or "keypoints"; COCO has no small persons' keypoints.
        """
        areas = {"APm": "medium", "APl": "large"}
        if task != "keypoints":
            areas = {"APs": "small", **areas}
        return {
            "AP": self.average_precision(),
            "AP50": self.average_precision(iou=0.5),
            "AP75": self.average_precision(iou=0.75),
            **{name: self.average_precision(area=area) for name, area in areas.items()},
        }


def _mean_percent(values: np.ndarray) -> float:
    present = values[values > -1]
    return float(present.mean() * 100) if present.size else float("nan")


def fast_engine() -> ModuleType | None:
    """Hotcoco where it is installed: the same arrays to the last bit, some 20 times sooner."""
    try:
        import hotcoco  # optional: extra [fast]
    except ImportError:
        return None
    return hotcoco


def complete_ground_truth(dataset: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Copy a COCO dict so that an engine can score a task on it.

    Args:
        dataset: "images", "annotations", "categories".
        task: "bbox", "segm" or "keypoints".

    Returns:
        The dict with "iscrowd" and "area" where annotations lack them, without annotations that
        lack what the task compares, and with ids of annotations that engines can tell apart.

    Raises:
        DataError: if "images" or "categories" are missing.
    """
    missing = [key for key in ("images", "categories") if key not in dataset]
    if missing:
        raise DataError(
            f"the COCO annotations have no {' and no '.join(repr(k) for k in missing)}; found "
            f"{sorted(dataset)}."
        )
    # The first of an id, as in training; files of labelling tools have such entries twice.
    sizes = {image["id"]: image for image in reversed(dataset["images"]) if "id" in image}
    needed = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[task]
    annotations = []
    num_bad = 0
    for annotation in dataset.get("annotations", ()):
        image = sizes.get(annotation.get("image_id"))
        whole = {"iscrowd": 0, **annotation}
        if image is None or not _made_sound(whole, image):
            num_bad += image is not None
            continue
        if not whole.get(needed):
            continue
        if "area" not in whole:
            whole["area"] = _area(whole, image)
        if task == "keypoints":
            visibility = np.asarray(whole["keypoints"]).reshape(-1, 3)[:, 2]
            whole.setdefault("num_keypoints", int((visibility > 0).sum()))
        annotations.append(whole)
    if num_bad:
        logger.warning(
            "%d annotations of the ground truth have no box or mask that can be read; they are "
            "not scored, as they are not trained on. tools/check_dataset.py shows them.",
            num_bad,
        )
    return {
        "info": {},
        "images": list(sizes.values())[::-1],
        "categories": list(dataset["categories"]),
        # DIFFERS: numbered anew, from one. Files have ids twice, and to pycocotools a detection
        # that found the annotation with the id 0 has found nothing.
        "annotations": [{**a, "id": number} for number, a in enumerate(annotations, start=1)],
    }


def _made_sound(annotation: dict[str, Any], image: Mapping[str, Any]) -> bool:
    """Whether engines can read an annotation, whose parts that they cannot are taken out.

    Boxes of odd sizes stay, since the published numbers count them.
    """
    mask = annotation.get("segmentation")
    if isinstance(mask, list):
        mask = [polygon for polygon in mask if is_valid_polygon(polygon)]
    elif mask and "height" in image and mask_fault(mask, image["height"], image["width"]):
        return False
    if annotation.get("segmentation"):
        annotation["segmentation"] = mask
        if not mask:
            return False
    if not annotation.get("bbox") and mask:
        annotation["bbox"] = _box(mask)
    box = annotation.get("bbox") or ()
    try:
        return all(map(math.isfinite, box)) and len(box) in (0, 4, 5)
    except TypeError:
        return False


def _box(mask: Any) -> list[float]:
    """The box of a mask, x, y, width and height, for annotations that have masks alone."""
    corners = box_around(mask) or [0.0] * 4
    return [*corners[:2], corners[2] - corners[0], corners[3] - corners[1]]


def _area(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> float:
    shape = annotation.get("segmentation")
    if not shape:
        return float(annotation["bbox"][2] * annotation["bbox"][3])
    if isinstance(shape, list):
        shape = rle.from_polygons(shape, image["height"], image["width"])
    return rle.area(shape)


def score_coco(
    dataset: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    task: str,
    *,
    max_dets: Sequence[int] = (1, 10, 100),
    img_ids: Sequence[Any] | None = None,
    kpt_oks_sigmas: Sequence[float] = (),
    use_fast_impl: bool = True,
) -> CocoScores:
    """Match results with ground truth, as COCO defines it.

    Args:
        dataset: COCO dict of the ground truth.
        results: COCO result dicts; may be empty.
        task: "bbox", "segm" or "keypoints".
        max_dets: limits of detections an image and category, ascending.
        img_ids: only these images; None for all of the ground truth.
        kpt_oks_sigmas: one a keypoint; () for COCO's 17.
        use_fast_impl: take the fast engine where it is installed.

    Raises:
        ConfigError: if the number of sigmas is not that of the keypoints.
    """
    truth = complete_ground_truth(dataset, task)
    if task == "keypoints":
        _check_sigmas(truth, results, kpt_oks_sigmas)
    predictions = [_for_task(result, task) for result in results]
    engine = fast_engine() if use_fast_impl else None
    # The fast engine's ids are integers; others go through the plain one.
    if engine is not None and not all(isinstance(im["id"], int) for im in truth["images"]):
        engine = None
    with contextlib.redirect_stdout(io.StringIO()):  # the engines print tables of their own
        if engine is not None:
            gt = engine.COCO(truth)
            evaluation = engine.COCOeval(gt, _load_fast(engine, gt, truth, predictions), task)
        else:
            gt = _plain_coco(truth)
            evaluation = cocoeval.COCOeval(gt, _load_plain(gt, truth, predictions), task)
        params = evaluation.params
        if task != "keypoints":
            params.maxDets = list(max_dets)
        elif len(kpt_oks_sigmas):
            params.kpt_oks_sigmas = np.asarray(kpt_oks_sigmas, dtype=np.float64)
        if img_ids is not None:
            params.imgIds = sorted(set(img_ids))
        evaluation.evaluate()
        evaluation.accumulate()
    return CocoScores(
        precision_TRKAM=np.asarray(evaluation.eval["precision"]),
        recall_TKAM=np.asarray(evaluation.eval["recall"]),
        category_ids=[int(c) for c in evaluation.params.catIds],
        iou_thresholds=[float(t) for t in evaluation.params.iouThrs],
        area_names=list(evaluation.params.areaRngLbl),
        max_dets=[int(m) for m in evaluation.params.maxDets],
    )


def _for_task(result: Mapping[str, Any], task: str) -> dict[str, Any]:
    # With a box in the result, the engines would sort masks into ranges of area by their boxes.
    dropped = {"segm": ("bbox", "keypoints"), "bbox": ("segmentation", "keypoints")}.get(task, ())
    return {key: value for key, value in result.items() if key not in dropped}


def _plain_coco(dataset: Mapping[str, Any]) -> coco.COCO:
    api = coco.COCO()
    api.dataset = dataset
    api.createIndex()
    return api


def _load_plain(gt: coco.COCO, truth: dict[str, Any], results: list[dict[str, Any]]) -> coco.COCO:
    known = set(gt.imgs)
    results = [r for r in copy.deepcopy(results) if r["image_id"] in known]
    # loadRes cannot read an empty list.
    return gt.loadRes(results) if results else _plain_coco({**truth, "annotations": []})


def _load_fast(
    engine: ModuleType, gt: Any, truth: dict[str, Any], results: list[dict[str, Any]]
) -> Any:
    known = {image["id"] for image in truth["images"]}
    results = [r for r in results if r["image_id"] in known]
    return gt.loadRes(results) if results else engine.COCO({**truth, "annotations": []})


def _check_sigmas(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> None:
    found = next((len(x["keypoints"]) // 3 for x in (*results, *truth["annotations"])), None)
    expected = len(sigmas) or _NUM_COCO_KEYPOINTS
    if found is not None and found != expected:
        raise ConfigError(
            f"objects have {found} keypoints, but there are {expected} OKS sigmas"
            f"{'' if len(sigmas) else ' (those of COCO persons)'}. Set "
            f"TEST.KEYPOINT_OKS_SIGMAS to {found} numbers, one for each keypoint."
        )
