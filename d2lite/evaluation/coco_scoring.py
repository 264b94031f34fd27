"""COCO average precision: run an engine that matches, and read the metrics from its arrays."""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import coco, cocoeval

from d2lite.utils.errors import ConfigError

from .coco_ground_truth import complete_ground_truth, index_coco
from .coco_inputs import (
    numbers_in_place_of_ids,
    parts_by_category,
    results_to_compare,
    with_upright_box,
)
from .detection_limits import DEFAULT_MAX_DETS
from .fast_eval_api import COCOeval_opt, fast_engine

logger = logging.getLogger(__name__)

_NUM_COCO_KEYPOINTS = 17
# Annotations and results that are scored at once: engines hold 1 to 2 KiB for each of them.
_MOST_TOGETHER = 1_000_000


@dataclass(frozen=True)
class CocoScores:
    """What one task's evaluation measured; -1 marks what has no ground truth.

    T IoU thresholds, R recall levels, K categories, A ranges of area, M limits of detections.
    """

    precision_TRKAM: np.ndarray  # noqa: N815 - axes, see the class docstring
    recall_TKAM: np.ndarray  # noqa: N815
    category_ids: list[Any]
    iou_thresholds: list[float]
    area_names: list[str]
    max_dets: list[int]

    @classmethod
    def of(cls, evaluation: Any) -> "CocoScores":
        """Read the arrays of a finished evaluation.

        Args:
            evaluation: with `eval` and `params` as those of pycocotools' COCOeval.
        """
        params = evaluation.params
        return cls(
            precision_TRKAM=np.asarray(evaluation.eval["precision"]),
            recall_TKAM=np.asarray(evaluation.eval["recall"]),
            category_ids=[c if isinstance(c, str) else int(c) for c in params.catIds],
            iou_thresholds=[float(t) for t in params.iouThrs],
            area_names=list(params.areaRngLbl),
            max_dets=[int(m) for m in params.maxDets],
        )

    def average_precision(
        self,
        *,
        iou: float | None = None,
        area: str = "all",
        category_ids: Sequence[Any] | None = None,
    ) -> float:
        """AP in percent at the largest limit of detections, nan where there is no ground truth.

        Args:
            iou: at this threshold; None for the mean over all.
            area: "all", "small", "medium" or "large".
            category_ids: the mean over these categories; None for all.
        """
        precision = self.precision_TRKAM[:, :, :, self.area_names.index(area), -1]
        if category_ids is not None:
            precision = precision[:, :, [c in set(category_ids) for c in self.category_ids]]
        return _mean_percent(precision[self._at(iou)])

    def average_recall(
        self, max_dets: int, *, iou: float | None = None, area: str = "all"
    ) -> float:
        """Recall in percent at the end of the curve, mean over thresholds and categories."""
        place = self.area_names.index(area), self.max_dets.index(max_dets)
        return _mean_percent(self.recall_TKAM[:, :, place[0], place[1]][self._at(iou)])

    def _at(self, iou: float | None) -> Any:
        """Index of the thresholds."""
        return slice(None) if iou is None else np.isclose(self.iou_thresholds, iou)

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

    def stats(self, task: str) -> np.ndarray:
        """What pycocotools' `summarize` stores in `stats`, at this evaluation's limits.

        Returns:
            (12,) float64 in [0, 1], (10,) for keypoints; -1 where there is no ground truth.
        """
        last = self.max_dets[-1]
        if task == "keypoints":
            recalls = [self.average_recall(last, iou=iou) for iou in (None, 0.5, 0.75)]
            areas = ["medium", "large"]
        else:
            recalls = [self.average_recall(m) for m in (*self.max_dets, last, last)[:3]]
            areas = ["small", "medium", "large"]
        recalls += [self.average_recall(last, area=area) for area in areas]
        return np.nan_to_num(np.array([*self.metrics(task).values(), *recalls]) / 100, nan=-1.0)


class COCOevalMaxDets(COCOeval_opt):
    """An evaluation whose summary reads AP at its own last limit of detections.

    pycocotools reads it at 100, and gives -1 where that is not among the limits.
    """

    def summarize(self) -> None:
        """Fill `stats`, see `CocoScores.stats`, and log the AP and the recalls."""
        scores = CocoScores.of(self)
        self.stats = scores.stats(self.params.iouType)
        recalls = {f"AR@{m}": scores.average_recall(m) for m in scores.max_dets}
        logger.info("%s", {**scores.metrics(self.params.iouType), **recalls})


def _mean_percent(values: np.ndarray) -> float:
    present = values[values > -1]
    return float(present.mean() * 100) if present.size else float("nan")


def score_coco(
    dataset: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    task: str,
    *,
    max_dets: Sequence[int] = DEFAULT_MAX_DETS,
    img_ids: Sequence[Any] | None = None,
    kpt_oks_sigmas: Sequence[float] | None = None,
    evaluation_type: Any = COCOeval_opt,
) -> Any:
    """Match results with ground truth, as COCO defines it.

    Args:
        dataset: COCO dict of the ground truth.
        results: COCO result dicts; may be empty.
        task: "bbox", "segm" or "keypoints".
        max_dets: limits of detections for each image and category, ascending.
        img_ids: only these images; None for all of the ground truth.
        kpt_oks_sigmas: one for each keypoint; None or () for COCO's 17.
        evaluation_type: pycocotools' COCOeval or a subclass.

    Returns:
        The evaluation, whose `eval`, `params` and `stats` are filled. Of very many objects and
        results its `cocoGt` and `cocoDt` hold the last classes only.

    Raises:
        ConfigError: if the number of sigmas is not that of the keypoints.
    """
    # pycocotools' `evalImgs` would be those of the last classes only.
    is_fast = evaluation_type in (COCOeval_opt, COCOevalMaxDets) and fast_engine() is not None
    most = _MOST_TOGETHER if is_fast else None
    arrays, category_ids = [], []
    for part, found in parts_by_category(dataset, results, most):
        evaluation = _score_together(
            part,
            found,
            task,
            evaluation_type,
            max_dets=max_dets,
            img_ids=img_ids,
            kpt_oks_sigmas=kpt_oks_sigmas,
        )
        arrays.append(evaluation.eval)
        category_ids += evaluation.params.catIds
    if len(arrays) > 1:
        for name, axis in (("precision", 2), ("recall", 1), ("scores", 2)):
            evaluation.eval[name] = np.concatenate([a[name] for a in arrays], axis=axis)
        evaluation.params.catIds = category_ids
    evaluation.stats = CocoScores.of(evaluation).stats(task)
    return evaluation


def _score_together(
    dataset: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    task: str,
    evaluation_type: Any,
    *,
    max_dets: Sequence[int],
    img_ids: Sequence[Any] | None,
    kpt_oks_sigmas: Sequence[float] | None,
) -> Any:
    """`score_coco` without `stats`, of all categories at once."""
    sigmas = () if kpt_oks_sigmas is None else kpt_oks_sigmas
    truth = complete_ground_truth(dataset, task)
    if evaluation_type in (COCOeval_opt, cocoeval.COCOeval):
        truth["annotations"] = [with_upright_box(a) for a in truth["annotations"]]
    if task == "keypoints":
        for one in [*results[:1], *truth["annotations"][:1]]:
            check_sigmas(len(one["keypoints"]) // 3, sigmas)
    found = results_to_compare(results, task, truth)
    numbers = numbers_in_place_of_ids(truth, found)
    gt = index_coco(truth)
    with contextlib.redirect_stdout(io.StringIO()):  # the engines print tables of their own
        # loadRes cannot read an empty list.
        dt = gt.loadRes(found) if found else index_coco({**truth, "annotations": []})
        evaluation: cocoeval.COCOeval = evaluation_type(gt, dt, task)
        params = evaluation.params
        if task != "keypoints":
            params.maxDets = list(max_dets)
        elif len(sigmas):
            # Configs of tutorials have np.ones((K, 1)).tolist(), which pycocotools misreads.
            params.kpt_oks_sigmas = np.asarray(sigmas, dtype=np.float64).reshape(-1)
        if img_ids is not None:
            chosen = set(img_ids)
            if numbers is not None:
                chosen = {number for number, known in numbers.images.items() if known in chosen}
            params.imgIds = sorted(chosen)
        evaluation.evaluate()
        evaluation.accumulate()
    if numbers is not None:
        params.imgIds = [numbers.images[number] for number in params.imgIds]
        params.catIds = [numbers.categories[number] for number in params.catIds]
    return evaluation


def check_sigmas(count: int, sigmas: Sequence[float]) -> None:
    """Check that there is an OKS sigma for each keypoint.

    Args:
        count: keypoints of an object.
        sigmas: as in TEST.KEYPOINT_OKS_SIGMAS; () for those of COCO's persons.

    Raises:
        ConfigError: if there are more or fewer.
    """
    expected = len(sigmas) or _NUM_COCO_KEYPOINTS
    if count != expected:
        raise ConfigError(
            f"objects have {count} keypoints, but there are {expected} OKS sigmas"
            f"{'' if len(sigmas) else ' (those of COCO persons)'}. Set "
            f"TEST.KEYPOINT_OKS_SIGMAS to {count} numbers, one for each keypoint."
        )


def _evaluate_predictions_on_coco(
    coco_gt: coco.COCO,
    coco_results: Sequence[Mapping[str, Any]],
    iou_type: str,
    kpt_oks_sigmas: Sequence[float] | None = None,
    cocoeval_fn: Any = COCOeval_opt,
    img_ids: Sequence[Any] | None = None,
    max_dets_per_image: Sequence[int] | None = None,
    *,
    use_fast_impl: bool = True,
) -> cocoeval.COCOeval:
    """`score_coco` under the name and with the arguments of detectron2, for code that imports it.

    Args:
        coco_gt: pycocotools' COCO of the ground truth.
        coco_results: COCO result dicts.
        iou_type: "bbox", "segm" or "keypoints".
        kpt_oks_sigmas: one for each keypoint; None for COCO's 17.
        cocoeval_fn: pycocotools' COCOeval or a subclass; some versions give a bool here, which
            counts as `use_fast_impl`.
        img_ids: only these images; None for all.
        max_dets_per_image: limits of detections, ascending; None for 1, 10, 100.
        use_fast_impl: False for pycocotools' own COCOeval.
    """
    if cocoeval_fn is False or not use_fast_impl:
        cocoeval_fn = cocoeval.COCOeval
    return score_coco(
        coco_gt.dataset,
        coco_results,
        iou_type,
        max_dets=max_dets_per_image or DEFAULT_MAX_DETS,
        img_ids=img_ids,
        kpt_oks_sigmas=kpt_oks_sigmas,
        evaluation_type=COCOeval_opt if cocoeval_fn is True else cocoeval_fn,
    )
