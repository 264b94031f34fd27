"""COCOEvaluator: gather a model's instances, score them as COCO does, tell the result."""

import itertools
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.structures import Instances
from d2lite.utils.comm import gather, is_main_process, synchronize
from d2lite.utils.errors import ConfigError, MissingFileError
from d2lite.utils.file_io import PathManager, atomic_write

from .coco_ground_truth import coco_ground_truth
from .coco_results import explain_poor_results, instances_to_coco_json
from .coco_scoring import CocoScores, score_coco
from .evaluator import DatasetEvaluator
from .proposal_recall import proposal_recall
from .tables import class_table, format_table

__all__ = ["COCOEvaluator", "instances_to_coco_json"]

logger = logging.getLogger(__name__)

_TASKS = ("bbox", "segm", "keypoints")
_FIELD_OF_TASK = {"segm": "pred_masks", "keypoints": "pred_keypoints"}
_DEFAULT_MAX_DETS = (1, 10, 100)


class COCOEvaluator(DatasetEvaluator):
    """Boxes, masks and keypoints by COCO's average precision, and proposals by recall.

    Works for any dataset of instances: where there is no COCO file, the dataset dicts are turned
    into one.
    """

    _results_name = "coco_instances_results.json"

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | Sequence[int] | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        """Find the dataset's ground truth.

        Args:
            dataset_name: a registered dataset.
            tasks: of "bbox", "segm", "keypoints"; None for what the predictions have.
            distributed: gather predictions of all processes; else this one holds all.
            output_dir: where coco_instances_results.json and instances_predictions.pth go; None
                for nowhere.
            max_dets_per_image: the limit of detections an image and category, 100 where None; or
                three limits, the last of which counts.
            use_fast_impl: take hotcoco where it is installed; the numbers are the same.
            kpt_oks_sigmas: one a keypoint, as in TEST.KEYPOINT_OKS_SIGMAS; () for COCO persons.
            allow_cached_coco: reuse the COCO file made of the dataset dicts by an earlier run
                into the same `output_dir`, if the data are still the same.

        Raises:
            ConfigError: for unknown tasks.
            MissingFileError: if the dataset's annotation file is missing.
            UnknownNameError: if no such dataset is registered.
        """
        unknown = sorted(set(tasks or ()) - set(_TASKS))
        if unknown or isinstance(tasks, str):
            raise ConfigError(
                f"COCO evaluation has no task {unknown or tasks!r}; tasks are a tuple of "
                f"{', '.join(_TASKS)}."
            )
        self._dataset_name = dataset_name
        self._tasks = None if tasks is None else tuple(tasks)
        self._distributed = distributed
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._max_dets = _limits(max_dets_per_image)
        self._use_fast_impl = use_fast_impl
        self._kpt_oks_sigmas = tuple(kpt_oks_sigmas)
        self._allow_cached_coco = allow_cached_coco
        self._metadata = MetadataCatalog.get(dataset_name)
        self._json_file = getattr(self._metadata, "json_file", None)
        if self._json_file:
            if not PathManager.exists(self._json_file):
                raise MissingFileError(
                    f"dataset '{dataset_name}' has its annotations in {self._json_file}, which "
                    "does not exist; set D2LITE_DATASETS to the folder that holds the datasets."
                )
        else:
            DatasetCatalog.get(dataset_name)  # an unknown name fails here, not after inference
        self._ground_truth: dict[str, Any] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions: list[dict[str, Any]] = []
        self._seen_tasks: set[str] = set()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take in one batch.

        Args:
            inputs: with "image_id".
            outputs: with "instances" (pred_boxes, scores, pred_classes ...), "proposals" or both.
        """
        for image, output in zip(inputs, outputs, strict=True):
            prediction: dict[str, Any] = {"image_id": image["image_id"]}
            if "instances" in output:
                instances = output["instances"]
                # Noted also where nothing was predicted: a mask model has a mask AP, if only 0.
                self._seen_tasks.add("bbox")
                self._seen_tasks |= {t for t, f in _FIELD_OF_TASK.items() if instances.has(f)}
                prediction["instances"] = self.instances_to_json(instances, image["image_id"])
            if "proposals" in output:
                prediction["proposals"] = output["proposals"].to("cpu")
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
        predictions, tasks = self._predictions, self._seen_tasks
        if self._distributed:
            synchronize()
            gathered = gather((predictions, tasks), dst=0)
            if not is_main_process():
                return {}
            predictions = list(itertools.chain.from_iterable(p for p, _ in gathered))
            tasks = set().union(*(t for _, t in gathered))
        dataset = self._load_ground_truth()
        results: dict[str, Any] = {}
        if self._output_dir is not None:
            with atomic_write(self._output_dir / "instances_predictions.pth", "wb") as stream:
                torch.save([_plain(p) for p in predictions], stream)
        if any("proposals" in p for p in predictions):
            results["box_proposals"] = proposal_recall(predictions, dataset)
            logger.info(
                "Proposals:\n%s",
                format_table(["metric", "%"], list(results["box_proposals"].items())),
            )
        if tasks or not results:
            results |= self._score_instances(predictions, tasks, dataset, img_ids)
        return results

    def _score_instances(
        self,
        predictions: list[dict[str, Any]],
        seen_tasks: set[str],
        dataset: dict[str, Any],
        img_ids: Sequence[Any] | None,
    ) -> dict[str, dict[str, float]]:
        detections, num_unknown = self._with_dataset_ids(
            itertools.chain.from_iterable(p.get("instances", ()) for p in predictions)
        )
        if self._output_dir is not None:
            path = self._output_dir / self._results_name
            with atomic_write(path) as stream:
                json.dump(detections, stream)
            logger.info("Saved %d results to %s", len(detections), path)
        if "annotations" not in dataset:
            logger.info("The dataset has no annotations: results were saved, not scored.")
            return {}
        reasons = explain_poor_results(
            detections,
            num_images=len(predictions),
            num_unknown_class=num_unknown,
            gt_image_ids=(image["id"] for image in dataset["images"]),
            gt_category_ids=(a["category_id"] for a in dataset["annotations"]),
        )
        if reasons:
            logger.warning("Evaluation of '%s': %s", self._dataset_name, reasons)
        results = {}
        for task in self._tasks or [t for t in _TASKS if t in seen_tasks | {"bbox"}]:
            key = {"segm": "segmentation"}.get(task, task)
            scores = self._score(dataset, [d for d in detections if key in d], task, img_ids)
            results[task] = self._metrics(task, scores)
        return results

    def _score(
        self,
        dataset: dict[str, Any],
        detections: list[dict[str, Any]],
        task: str,
        img_ids: Sequence[Any] | None,
    ) -> CocoScores:
        """Match detections with the truth; a subclass may compare in another way."""
        return score_coco(
            dataset,
            detections,
            task,
            max_dets=self._max_dets,
            img_ids=img_ids,
            kpt_oks_sigmas=self._kpt_oks_sigmas,
            use_fast_impl=self._use_fast_impl,
        )

    def _with_dataset_ids(self, detections: Any) -> tuple[list[dict[str, Any]], int]:
        """Class numbers of the model to category ids of the file; unknown ones are counted out."""
        mapping = getattr(self._metadata, "thing_dataset_id_to_contiguous_id", None)
        if mapping is not None:
            id_of_class = {contiguous: dataset for dataset, contiguous in mapping.items()}
        else:
            num_classes = len(getattr(self._metadata, "thing_classes", ()))
            id_of_class = {i: i for i in range(num_classes)}
        mapped, num_unknown = [], 0
        for detection in detections:
            category_id = id_of_class.get(detection["category_id"])
            if category_id is None:
                num_unknown += 1
            else:
                mapped.append({**detection, "category_id": category_id})
        return mapped, num_unknown

    def _metrics(self, task: str, scores: CocoScores) -> dict[str, float]:
        metrics = scores.metrics(task)
        logger.info("%s:\n%s", task, format_table(list(metrics), [list(metrics.values())]))
        logger.info(
            "%s recall: %s",
            task,
            ", ".join(f"{scores.average_recall(m):.3f} at {m} detections" for m in scores.max_dets),
        )
        names = self._names_of_categories()
        if len(names) <= 1:
            return metrics
        per_class = {
            str(names[category]): scores.average_precision(category_id=category)
            for category in scores.category_ids
            if category in names
        }
        logger.info("%s AP of each class:\n%s", task, class_table(per_class))
        if any(np.isnan(value) for value in per_class.values()):
            logger.info("nan: the class has no ground truth here; it does not count in the mean.")
        return metrics | {f"AP-{name}": value for name, value in per_class.items()}

    def _names_of_categories(self) -> dict[int, str]:
        names = getattr(self._metadata, "thing_classes", None)
        mapping = getattr(self._metadata, "thing_dataset_id_to_contiguous_id", None)
        if names is None:
            return {}
        if mapping is None:
            return dict(enumerate(names))
        return {dataset: names[contiguous] for dataset, contiguous in mapping.items()}

    def _load_ground_truth(self) -> dict[str, Any]:
        if self._ground_truth is None:
            if self._json_file:
                with PathManager.open(self._json_file) as stream:
                    self._ground_truth = json.load(stream)
            else:
                self._ground_truth = coco_ground_truth(
                    self._dataset_name, self._output_dir, allow_cached=self._allow_cached_coco
                )
        return self._ground_truth


def _limits(max_dets_per_image: int | Sequence[int] | None) -> list[int]:
    if max_dets_per_image is None:
        return list(_DEFAULT_MAX_DETS)
    if isinstance(max_dets_per_image, int):
        if max_dets_per_image < 1:
            raise ConfigError(f"max_dets_per_image={max_dets_per_image}; use 1 or more.")
        lower = [n for n in _DEFAULT_MAX_DETS[:2] if n < max_dets_per_image]
        return [*lower, max_dets_per_image]
    limits = [int(n) for n in max_dets_per_image]
    if not limits or limits != sorted(set(limits)) or limits[0] < 1:
        raise ConfigError(f"max_dets_per_image={limits}: limits ascend and are 1 or more.")
    return limits


def _plain(prediction: dict[str, Any]) -> dict[str, Any]:
    """With tensors in place of `Instances`, so that torch.load(weights_only=True) can read it."""
    if "proposals" not in prediction:
        return prediction
    proposals = prediction["proposals"]
    return {
        **prediction,
        "proposals": {
            "boxes": proposals.proposal_boxes.tensor,
            "objectness_logits": proposals.objectness_logits,
        },
    }
