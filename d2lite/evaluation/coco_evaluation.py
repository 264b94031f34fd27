"""COCOEvaluator: collect a model's instances, score them as COCO does, report the result."""

import copy
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2lite.data.catalog import MetadataCatalog
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.file_io import atomic_write, write_json_file

from .coco_ground_truth import check_ground_truth, coco_ground_truth, index_coco
from .coco_inputs import plain_image_id, readable
from .coco_results import (
    explain_poor_results,
    instances_to_coco_json,
    without_classes,
    without_repeats,
)
from .coco_scoring import (
    COCOevalMaxDets,
    CocoScores,
    _evaluate_predictions_on_coco,
    score_coco,
)
from .detection_limits import detection_limits, limits_for
from .evaluator import DatasetEvaluator
from .fast_eval_api import COCOeval_opt
from .gathering import gather_parts
from .proposal_recall import _evaluate_box_proposals, proposal_recall, save_proposals
from .tables import class_table, format_table, metrics_table

__all__ = [
    "COCO",
    "COCOEvaluator",
    "COCOeval",
    "COCOevalMaxDets",
    "COCOeval_opt",
    "_evaluate_box_proposals",
    "_evaluate_predictions_on_coco",
    "instances_to_coco_json",
]

logger = logging.getLogger(__name__)

_FIELD_OF_TASK = {"segm": "pred_masks", "keypoints": "pred_keypoints"}
_KEY_OF_TASK = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}


class COCOEvaluator(DatasetEvaluator):
    """Boxes, masks and keypoints by COCO's average precision, and proposals by recall.

    Works for any dataset of instances: where there is no COCO file, the dataset dicts are turned
    into one. Subclasses change a step by overriding `process`, `_tasks_from_predictions`,
    `_eval_predictions`, which fills `_results`, or `_derive_coco_results`.
    """

    _results_name = "coco_instances_results.json"
    _known_tasks: tuple[str, ...] = tuple(_KEY_OF_TASK)
    # By `use_fast_impl`.
    _evaluation_types: Mapping[bool, Any] = {True: COCOeval_opt, False: COCOeval}
    _cpu_device = torch.device("cpu")
    _logger = logger

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | Mapping[str, Any] | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | Sequence[int] | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
        detections_per_image: int | None = None,
    ) -> None:
        """Find the dataset's ground truth.

        Args:
            dataset_name: a registered dataset.
            tasks: of "bbox", "segm", "keypoints"; None for what the predictions have. Old code
                gives a config here: the tasks are then those of the predictions, and
                TEST.KEYPOINT_OKS_SIGMAS is read.
            distributed: gather predictions of all processes; else this one holds all.
            output_dir: where coco_instances_results.json, instances_predictions.pth and, of a
                model of proposals, box_proposals.pkl go; None for nowhere.
            max_dets_per_image: the limit of detections for each image and category, 100 where
                None; or three limits, the last of which counts.
            use_fast_impl: use hotcoco where it is installed; the numbers are the same.
            kpt_oks_sigmas: one for each keypoint, as in TEST.KEYPOINT_OKS_SIGMAS; () for COCO
                persons.
            allow_cached_coco: leave the COCO file that an earlier run made of the dataset dicts in
                `output_dir` as it is, if the data are still the same.
            detections_per_image: how many the model gives at most (TEST.DETECTIONS_PER_IMAGE).
                Where an image has more than 100 objects of a class, so many count in place of 100
                unless `max_dets_per_image` is given; a warning says so.

        Raises:
            ConfigError: for unknown tasks.
            MissingFileError: if the dataset's annotation file is missing.
            UnknownNameError: if no such dataset is registered.
        """
        if isinstance(tasks, Mapping):
            self._logger.warning("tasks is a config; the tasks are those of the predictions.")
            kpt_oks_sigmas = kpt_oks_sigmas or tasks["TEST"]["KEYPOINT_OKS_SIGMAS"]
            detections_per_image = tasks["TEST"].get("DETECTIONS_PER_IMAGE")
            tasks = None
        unknown = sorted(set(tasks or ()) - set(self._known_tasks))
        if unknown or isinstance(tasks, str):
            raise ConfigError(
                f"{type(self).__name__} has no task {unknown or tasks!r}; tasks are a tuple of "
                f"{', '.join(self._known_tasks)}."
            )
        self._dataset_name = dataset_name
        self._tasks = None if tasks is None else tuple(tasks)
        self._distributed = distributed
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._max_dets_per_image = detection_limits(max_dets_per_image)
        self._detections_per_image = detections_per_image
        self._use_fast_impl = use_fast_impl
        self._kpt_oks_sigmas = tuple(kpt_oks_sigmas)
        self._allow_cached_coco = allow_cached_coco
        self._metadata = MetadataCatalog.get(dataset_name)
        check_ground_truth(dataset_name)  # a wrong name fails here, not after inference
        self.reset()

    @cached_property
    def _coco_api(self) -> COCO:
        """The ground truth, read when it is needed; a subclass may assign another."""
        return index_coco(self._load_ground_truth())

    @cached_property
    def _do_evaluation(self) -> bool:
        """Whether there are annotations to compare with."""
        return "annotations" in self._coco_api.dataset

    def ground_truth(self) -> dict[str, Any]:
        """The COCO dict that results are compared with."""
        truth: dict[str, Any] = self._coco_api.dataset
        return truth

    def _load_ground_truth(self) -> dict[str, Any]:
        return coco_ground_truth(
            self._dataset_name, self._output_dir, allow_cached=self._allow_cached_coco
        )

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions: list[dict[str, Any]] = []
        self._results: dict[str, Any] = {}
        self._seen_tasks: set[str] = set()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take in one batch.

        Args:
            inputs: with "image_id".
            outputs: with "instances" (pred_boxes, scores, pred_classes ...), "proposals" or both.
        """
        for image, output in zip(inputs, outputs, strict=True):
            image_id = plain_image_id(image)
            prediction: dict[str, Any] = {"image_id": image_id}
            if "instances" in output:
                instances = output["instances"].to(self._cpu_device)
                # Also where nothing was predicted: a mask model has a mask AP, if only 0.
                self._seen_tasks |= {t for t, f in _FIELD_OF_TASK.items() if instances.has(f)}
                prediction["instances"] = self.instances_to_json(instances, image_id)
            if "proposals" in output:
                prediction["proposals"] = output["proposals"].to(self._cpu_device)
            if len(prediction) > 1:
                self._predictions.append(prediction)

    def instances_to_json(self, instances: Instances, img_id: int | str) -> list[dict[str, Any]]:
        """Write a model's instances as COCO result dicts; see `instances_to_coco_json`."""
        return instances_to_coco_json(instances, img_id)

    def evaluate(self, img_ids: Sequence[Any] | None = None) -> dict[str, Any]:
        """Score everything taken in since `reset`.

        Args:
            img_ids: only these images of the ground truth; None for all.

        Returns:
            On the main process {task: {metric: percent}}: AP, AP50, AP75, APs, APm, APl and
            AP-<class>; for proposals {"box_proposals": {"AR@100": ...}}. {} on the others and
            where the dataset has no annotations.
        """
        own = self._predictions, self._seen_tasks
        parts = gather_parts(own, distributed=self._distributed)
        if parts is None:
            return {}
        gathered = [prediction for part, _ in parts for prediction in part]
        predictions = without_repeats(gathered, self._dataset_name)
        self._seen_tasks = set().union(*(tasks for _, tasks in parts))
        self._results = {}
        if self._output_dir is not None:
            with atomic_write(self._output_dir / "instances_predictions.pth", "wb") as stream:
                torch.save([without_classes(p) for p in predictions], stream)
        if any("proposals" in p for p in predictions):
            self._eval_box_proposals(predictions)
        if any("instances" in p for p in predictions) or not self._results:
            # Only where it is given: overrides may have no second argument.
            limits = {} if img_ids is None else {"img_ids": img_ids}
            self._eval_predictions(predictions, **limits)
        return copy.deepcopy(self._results)

    def _eval_box_proposals(self, predictions: Sequence[dict[str, Any]]) -> None:
        if self._output_dir is not None:
            save_proposals(predictions, self._output_dir / "box_proposals.pkl")
        if not self._do_evaluation:
            self._logger.info("The dataset has no annotations: proposals were saved, not scored.")
            return
        recall = proposal_recall(predictions, self._coco_api.dataset)
        self._logger.info("Proposals:\n%s", format_table(["metric", "%"], list(recall.items())))
        self._results["box_proposals"] = recall

    def _tasks_from_predictions(self, predictions: Iterable[dict[str, Any]]) -> list[str]:
        """The tasks where the constructor got none.

        Args:
            predictions: COCO result dicts.
        """
        keys = set().union(*predictions)
        return [
            task
            for task, key in _KEY_OF_TASK.items()
            if task == "bbox" or task in self._seen_tasks or key in keys
        ]

    def _eval_predictions(
        self, predictions: Sequence[dict[str, Any]], img_ids: Sequence[Any] | None = None
    ) -> None:
        """Save and score instances; the metrics of each task go to `_results`.

        Args:
            predictions: "image_id" and "instances", COCO result dicts, of each image.
            img_ids: only these images; None for all.
        """
        dataset = self._coco_api.dataset
        found = [r for prediction in predictions for r in prediction.get("instances", ())]
        results, num_unknown = self._with_dataset_ids(readable(found))
        if self._output_dir is not None:
            path = self._output_dir / self._results_name
            write_json_file(path, results)
            self._logger.info("Saved %d results to %s", len(results), path)
        if not self._do_evaluation:
            self._logger.info("The dataset has no annotations: results were saved, not scored.")
            return
        asked = None if img_ids is None else set(img_ids)
        reasons = explain_poor_results(
            results,
            predicted_images=[prediction["image_id"] for prediction in predictions],
            num_unknown_class=num_unknown,
            gt_images=[i for i in dataset["images"] if asked is None or i["id"] in asked],
            gt_category_ids=(a["category_id"] for a in dataset["annotations"]),
        )
        if reasons:
            self._logger.warning("Evaluation of '%s': %s", self._dataset_name, reasons)
        self._max_dets_per_image = limits_for(
            self._max_dets_per_image, dataset, self._dataset_name, self._detections_per_image
        )
        for task in self._tasks or self._tasks_from_predictions(results):
            compared = [result for result in results if _KEY_OF_TASK[task] in result]
            if results and not compared:
                self._logger.warning(
                    "Evaluation of '%s': no prediction has %s, so the AP of %s is 0. Take %s out "
                    "of the tasks, or evaluate a model that predicts it.",
                    self._dataset_name,
                    *(_FIELD_OF_TASK.get(task, task), task, task),
                )
            self._results[task] = self._derive_coco_results(
                self._score(compared, task, img_ids),
                task,
                class_names=self._metadata.get("thing_classes"),
            )

    def _score(
        self, results: Sequence[dict[str, Any]], task: str, img_ids: Sequence[Any] | None
    ) -> Any:
        """Match results with the truth; see `score_coco`."""
        return score_coco(
            self._coco_api.dataset,
            results,
            task,
            max_dets=self._max_dets_per_image,
            img_ids=img_ids,
            kpt_oks_sigmas=self._kpt_oks_sigmas,
            evaluation_type=self._evaluation_types[self._use_fast_impl],
        )

    def _with_dataset_ids(
        self, results: Iterable[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], int]:
        """Replace class numbers by category ids of the file; results of no class are counted."""
        id_of_class = {number: category for category, number in self._class_numbers().items()}
        # Classes that the dataset does not have, and the model has, may well be predicted.
        is_joined = self._metadata.get("own_classes") is not None
        shared = range(len(self._metadata.thing_classes)) if is_joined else ()
        mapped, num_unknown = [], 0
        for result in results:
            category_id = id_of_class.get(result["category_id"])
            if category_id is None:
                num_unknown += result["category_id"] not in shared
            else:
                mapped.append({**result, "category_id": category_id})
        return mapped, num_unknown

    def _class_numbers(self) -> Mapping[int, int]:
        """Category id of the annotations -> class number of the model."""
        mapping: Mapping[int, int] | None = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if mapping is not None:
            return mapping
        return {i: i for i in range(len(self._metadata.get("thing_classes") or ()))}

    def _derive_coco_results(
        self, coco_eval: Any, iou_type: str, class_names: Collection[str] | None = None
    ) -> dict[str, float]:
        """Read the metrics of one task from its evaluation, and log them.

        Args:
            coco_eval: with `eval` and `params`, as pycocotools' COCOeval; None gives nan.
            iou_type: the task.
            class_names: by class number; None or one name for no metric of each class.

        Returns:
            {metric: percent}.
        """
        if coco_eval is None:
            return dict.fromkeys(["AP", "AP50", "AP75", "APs", "APm", "APl"], float("nan"))
        scores = CocoScores.of(coco_eval)
        metrics = scores.metrics(iou_type)
        self._logger.info("%s:\n%s", iou_type, metrics_table(metrics))
        recalls = [f"{scores.average_recall(m):.3f} at {m} detections" for m in scores.max_dets]
        self._logger.info("%s recall: %s", iou_type, ", ".join(recalls))
        if class_names is None or len(class_names) <= 1:
            return metrics
        names = dict(enumerate(class_names))
        numbers = self._class_numbers()
        per_class = {
            str(names[numbers[category]]): scores.average_precision(category_ids=[category])
            for category in scores.category_ids
            if numbers.get(category) in names
        }
        self._logger.info("%s AP of each class:\n%s", iou_type, class_table(per_class))
        if any(np.isnan(value) for value in per_class.values()):
            self._logger.info(
                "nan: the class has no ground truth here; it does not count in the mean."
            )
        return metrics | {f"AP-{name}": value for name, value in per_class.items()}
