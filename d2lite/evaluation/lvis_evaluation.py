"""LVISEvaluator: average precision where only some classes of each image were looked for."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.utils.errors import ConfigError

from .coco_evaluation import COCOEvaluator
from .coco_scoring import CocoScores, complete_ground_truth, fast_engine
from .tables import format_table

__all__ = ["LVISEvaluator"]

logger = logging.getLogger(__name__)

_TASKS = ("bbox", "segm")
_MAX_DETS = 300
# How many training images show a class: one letter in the file and in the metric's name.
_FREQUENCIES = ("r", "c", "f")


class LVISEvaluator(COCOEvaluator):
    """Boxes and masks by LVIS' average precision.

    Detections of a class that was not looked for in an image do not count there. At most 300
    detections an image count, over all classes.
    """

    _results_name = "lvis_instances_results.json"

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | None = None,
    ) -> None:
        """Find the dataset's annotation file.

        Args:
            dataset_name: a registered dataset with json_file in its metadata.
            tasks: of "bbox" and "segm"; None for what the predictions have.
            distributed: gather predictions of all processes; else this one holds all.
            output_dir: where lvis_instances_results.json goes; None for nowhere.
            max_dets_per_image: the limit of detections an image, 300 where None.

        Raises:
            ConfigError: for another task, or if hotcoco is not installed.
            MissingFileError: if the annotation file is missing.
        """
        if set(tasks or ()) - set(_TASKS):
            raise ConfigError(
                f"LVIS evaluation was asked for {tuple(tasks or ())}; it has the tasks "
                f"{', '.join(_TASKS)}."
            )
        if fast_engine() is None:
            raise ConfigError(
                "LVIS evaluation needs the package hotcoco, which is not installed: "
                "pip install hotcoco (the package lvis fails with numpy 1.24 and later)."
            )
        if MetadataCatalog.get(dataset_name).get("json_file") is None:
            DatasetCatalog.get(dataset_name)  # an unknown name is told as such
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

    def _load_ground_truth(self) -> dict[str, Any]:
        dataset = super()._load_ground_truth()
        if self._metadata.get("thing_dataset_id_to_contiguous_id") is None:
            ids = sorted(category["id"] for category in dataset["categories"])
            numbers = {category_id: number for number, category_id in enumerate(ids)}
            self._metadata.set(thing_dataset_id_to_contiguous_id=numbers)
        return dataset

    def _score(
        self,
        dataset: dict[str, Any],
        detections: list[dict[str, Any]],
        task: str,
        img_ids: Sequence[Any] | None,
    ) -> CocoScores:
        if task not in _TASKS:
            raise ConfigError(
                f"LVIS has no {task}; give LVISEvaluator tasks=('bbox',) or ('bbox', 'segm')."
            )
        engine = fast_engine()
        if engine is None:  # asked for at the start
            raise ConfigError("hotcoco cannot be imported any more.")
        truth = complete_ground_truth(dataset, task)
        known = {image["id"] for image in truth["images"]}
        if img_ids is not None:
            known &= set(img_ids)
            truth["images"] = [image for image in truth["images"] if image["id"] in known]
            truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in known]
        # With a box in the result, masks would be sorted into ranges of area by their boxes.
        unused = {"segm": "bbox", "bbox": "segmentation"}[task]
        results = [
            {key: value for key, value in detection.items() if key != unused}
            for detection in detections
            if detection["image_id"] in known
        ]
        gt = engine.COCO(truth)
        capped = engine.LVISResults(gt, results, max_dets=self._max_dets[-1])
        evaluation = engine.LVISeval(gt, capped, task)
        evaluation.evaluate()
        evaluation.accumulate()
        self._frequencies = {c["id"]: c.get("frequency") for c in dataset["categories"]}
        return CocoScores(
            precision_TRKAM=np.asarray(evaluation.eval["precision"]),
            recall_TKAM=np.asarray(evaluation.eval["recall"]),
            category_ids=[int(c) for c in evaluation.params.catIds],
            iou_thresholds=[float(t) for t in evaluation.params.iouThrs],
            area_names=list(evaluation.params.areaRngLbl),
            max_dets=[int(m) for m in evaluation.params.maxDets],
        )

    def _metrics(self, task: str, scores: CocoScores) -> dict[str, float]:
        """Also of rare, common and frequent classes; the AP of each of 1,200 is not listed."""
        metrics = scores.metrics(task)
        for letter in _FREQUENCIES:
            chosen = [self._frequencies.get(c) == letter for c in scores.category_ids]
            precision = scores.precision_TRKAM[:, :, chosen, scores.area_names.index("all"), -1]
            present = precision[precision > -1]
            metrics[f"AP{letter}"] = float(present.mean() * 100) if present.size else float("nan")
        logger.info("%s:\n%s", task, format_table(list(metrics), [list(metrics.values())]))
        return metrics
