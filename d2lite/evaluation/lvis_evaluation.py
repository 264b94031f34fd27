"""LVISEvaluator: average precision where only some classes of each image were looked for."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.utils.errors import ConfigError

from .coco_evaluation import COCOEvaluator
from .coco_ground_truth import complete_ground_truth
from .coco_inputs import numbers_in_place_of_ids, results_to_compare
from .coco_scoring import CocoScores
from .fast_eval_api import fast_engine
from .proposal_recall import _evaluate_box_proposals
from .tables import metrics_table

__all__ = ["LVISEvaluator", "_evaluate_box_proposals", "_evaluate_predictions_on_lvis"]

_MAX_DETS = 300
_NO_ENGINE = (
    "LVIS evaluation needs the package hotcoco, which is not installed: "
    "pip install hotcoco (the package lvis fails with numpy 1.24 and later)."
)
# How many training images show a class: one letter in the file and in the metric's name.
_FREQUENCIES = ("r", "c", "f")


class LVISEvaluator(COCOEvaluator):
    """Boxes and masks by LVIS' average precision.

    Detections of a class that was not looked for in an image do not count there. At most 300
    detections of an image count, over all classes.
    """

    _results_name = "lvis_instances_results.json"
    _known_tasks = ("bbox", "segm")

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | Mapping[str, Any] | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | None = None,
    ) -> None:
        """Find the dataset's annotation file.

        Args:
            dataset_name: a registered dataset with json_file in its metadata.
            tasks: of "bbox" and "segm"; None, or a config, for what the predictions have.
            distributed: gather predictions of all processes; else this one holds all.
            output_dir: where lvis_instances_results.json goes; None for nowhere.
            max_dets_per_image: the limit of detections of an image, 300 where None.

        Raises:
            ConfigError: for another task, or if hotcoco is not installed.
            MissingFileError: if the annotation file is missing.
        """
        if fast_engine() is None:
            raise ConfigError(_NO_ENGINE)
        if MetadataCatalog.get(dataset_name).get("json_file") is None:
            DatasetCatalog.get(dataset_name)  # an unknown name has an error of its own
            raise ConfigError(
                f"dataset '{dataset_name}' has no json_file in its metadata, so there is no LVIS "
                "annotation file to compare with; register it with register_lvis_instances."
            )
        super().__init__(
            dataset_name,
            tasks,
            distributed,
            output_dir,
            max_dets_per_image=_MAX_DETS if max_dets_per_image is None else max_dets_per_image,
        )

    @property
    def _lvis_api(self) -> Any:
        """The ground truth, by the name that it has in detectron2."""
        return self._coco_api

    def _load_ground_truth(self) -> dict[str, Any]:
        dataset = super()._load_ground_truth()
        if self._metadata.get("thing_dataset_id_to_contiguous_id") is None:
            ids = sorted(category["id"] for category in dataset["categories"])
            numbers = {category_id: number for number, category_id in enumerate(ids)}
            self._metadata.set(thing_dataset_id_to_contiguous_id=numbers)
        return dataset

    def _score(
        self, results: Sequence[dict[str, Any]], task: str, img_ids: Sequence[Any] | None
    ) -> Any:
        if task not in self._known_tasks:
            raise ConfigError(
                f"LVIS has no {task}; give LVISEvaluator tasks=('bbox',) or ('bbox', 'segm')."
            )
        return _score_lvis(
            self._coco_api.dataset, results, task, self._max_dets_per_image[-1], img_ids
        )

    def _derive_coco_results(
        self, coco_eval: Any, iou_type: str, class_names: Collection[str] | None = None
    ) -> dict[str, float]:
        """Also of rare, common and frequent classes; the AP of each of 1,200 is not listed."""
        if coco_eval is None:
            return super()._derive_coco_results(coco_eval, iou_type)
        metrics = _metrics(coco_eval, iou_type, self._coco_api.dataset)
        self._logger.info("%s:\n%s", iou_type, metrics_table(metrics))
        return metrics


def _score_lvis(
    dataset: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    task: str,
    max_dets: int,
    img_ids: Sequence[Any] | None = None,
) -> Any:
    """Match results with ground truth, as LVIS defines it.

    Args:
        dataset: LVIS dict of the ground truth.
        results: COCO result dicts; may be empty.
        task: "bbox" or "segm".
        max_dets: limit of detections of an image, over all classes.
        img_ids: only these images; None for all.

    Returns:
        The evaluation of hotcoco.

    Raises:
        ConfigError: if hotcoco is not installed.
    """
    engine = fast_engine()
    if engine is None:
        raise ConfigError(_NO_ENGINE)
    truth = complete_ground_truth(dataset, task)
    if img_ids is not None:
        chosen = set(img_ids)
        truth["images"] = [image for image in truth["images"] if image["id"] in chosen]
        truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in chosen]
    found = results_to_compare(results, task, truth)
    numbers = numbers_in_place_of_ids(truth, found)
    gt = engine.COCO(truth)
    capped = engine.LVISResults(gt, found, max_dets=max_dets)
    evaluation = engine.LVISeval(gt, capped, task)
    evaluation.evaluate()
    evaluation.accumulate()
    if numbers is not None:
        params = evaluation.params
        params.catIds = [numbers.categories[number] for number in params.catIds]
        evaluation.params = params
    return evaluation


def _metrics(evaluation: Any, task: str, dataset: Mapping[str, Any]) -> dict[str, float]:
    scores = CocoScores.of(evaluation)
    metrics = scores.metrics(task)
    for letter in _FREQUENCIES:
        chosen = [c["id"] for c in dataset["categories"] if c.get("frequency") == letter]
        metrics[f"AP{letter}"] = scores.average_precision(category_ids=chosen)
    return metrics


def _evaluate_predictions_on_lvis(
    lvis_gt: Any,
    lvis_results: Sequence[Mapping[str, Any]],
    iou_type: str,
    max_dets_per_image: int | None = None,
    class_names: Collection[str] | None = None,
) -> dict[str, float]:
    """Score results under the name and with the arguments of detectron2.

    Args:
        lvis_gt: with the LVIS dict as `dataset`, as the packages lvis and pycocotools have it.
        lvis_results: COCO result dicts; none give nan.
        iou_type: "bbox" or "segm".
        max_dets_per_image: limit of detections of an image, over all classes; 300 where None.
        class_names: not used.

    Returns:
        AP, AP50, AP75, APs, APm, APl, APr, APc and APf in percent.
    """
    if not lvis_results:
        names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"]
        return dict.fromkeys(names, float("nan"))
    limit = _MAX_DETS if max_dets_per_image is None else max_dets_per_image
    evaluation = _score_lvis(lvis_gt.dataset, lvis_results, iou_type, limit)
    return _metrics(evaluation, iou_type, lvis_gt.dataset)
