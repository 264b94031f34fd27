"""Average precision as Pascal VOC defines it, in its 2007 and its later form."""

import logging
import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d2lite.data.catalog import MetadataCatalog
from d2lite.data.datasets.pascal_voc import voc_split_ids
from d2lite.data.datasets.voc_xml import annotated_objects, read_annotation
from d2lite.data.records.faults import collecting_faults, reading_faults
from d2lite.data.records.object_checks import box_fault
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from d2lite.utils.file_io import PathManager, write_json_file

from .evaluator import DatasetEvaluator
from .gathering import gather_parts, warn_of_coverage
from .tables import class_table, metrics_table
from .voc_scoring import lines_without_repeats, match_detections, truth_of_class, voc_ap

__all__ = ["PascalVOCDetectionEvaluator", "parse_rec", "voc_ap", "voc_eval"]

logger = logging.getLogger(__name__)

_THRESHOLDS = tuple(range(50, 100, 5))


def parse_rec(filename: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the objects of one annotation file.

    Args:
        filename: a VOC XML file.

    Returns:
        For each object name, pose, truncated, difficult and bbox: [xmin, ymin, xmax, ymax] in
        VOC's pixel indices, which start at 1 and include the last. A box of negative or
        non-finite size is left out, as in a training.

    Raises:
        DataError: if the file is not such an XML file.
        MissingFileError: if it does not exist.
    """
    path = Path(PathManager.get_local_path(os.fspath(filename)))
    objects = []
    with reading_faults(str(filename)) as faults:
        for obj in annotated_objects(read_annotation(path), path, faults):
            x0, y0, x1, y1 = obj.corners
            if box_fault((x0 - 1, y0 - 1, x1, y1), math.inf, math.inf) == "bad_box":
                faults.add("bad_box", f"{path}, {obj.corners}")
            else:
                objects.append(obj)
    return [
        {
            "name": obj.name,
            "pose": obj.pose,
            "truncated": obj.truncated,
            "difficult": obj.difficult,
            "bbox": [int(corner) for corner in obj.corners],
        }
        for obj in objects
    ]


def voc_eval(
    detpath: str,
    annopath: str,
    imagesetfile: str,
    classname: str,
    ovthresh: float = 0.5,
    use_07_metric: bool = False,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Score a VOC results file of one class.

    Args:
        detpath: path of the results with "{}" for the class; lines "image score x0 y0 x1 y1".
        annopath: path of the annotations with "{}" for the image.
        imagesetfile: the images, one a line.
        classname: which class.
        ovthresh: a detection must overlap an object by more than this.
        use_07_metric: as in `voc_ap`.

    Returns:
        Recall and precision after each detection, and AP, all in [0, 1].
    """
    ids = _read_lines(imagesetfile)
    number = {image: i for i, image in enumerate(ids)}
    objects = {image: parse_rec(annopath.format(image)) for image in ids}
    truth = truth_of_class(objects, number, classname)
    images, values = _read_results(_read_lines(detpath.format(classname)), number)
    recall, precision = match_detections(truth, images, values[:, 0], values[:, 1:]).curve(
        truth, ovthresh
    )
    return recall, precision, voc_ap(recall, precision, use_07_metric)


def _read_results(lines: Sequence[str], number: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The image (D,) of each line of a results file, -1 if unknown, and its five numbers (D, 5)."""
    # From the right: the name of an image may have spaces.
    rows = [line.rsplit(maxsplit=5) for line in lines]
    values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 5)
    return np.array([number.get(row[0], -1) for row in rows], dtype=np.int64), values


_NO_RESULTS = _read_results([], {})


def _read_lines(path: str) -> list[str]:
    if not PathManager.isfile(path):
        raise MissingFileError(f"the VOC file {path} does not exist.")
    with PathManager.open(path) as stream:
        return [line.strip() for line in stream if line.strip()]


class PascalVOCDetectionEvaluator(DatasetEvaluator):
    """Boxes by VOC's AP at IoU 0.5, 0.75 and the mean over 0.5, 0.55 ... 0.95.

    The numbers differ a little from COCO's: see `voc_ap`, and in VOC pixel indices are inclusive.
    """

    def __init__(self, dataset_name: str, output_dir: str | os.PathLike[str] | None = None) -> None:
        """Find the dataset's annotations.

        Args:
            dataset_name: a registered VOC dataset, with dirname, split and year in its metadata.
            output_dir: where the detections go as coco_instances_results.json, for the report;
                None for nowhere.

        Raises:
            ConfigError: if the dataset is not in VOC's layout.
        """
        metadata = MetadataCatalog.get(dataset_name)
        missing = [
            key
            for key in ("dirname", "split", "year", "thing_classes")
            if getattr(metadata, key, None) is None
        ]
        if missing:
            raise ConfigError(
                f"dataset '{dataset_name}' has no {', '.join(missing)} in its metadata, so it is "
                "not in the VOC layout; register it with register_pascal_voc, or use "
                "COCOEvaluator, which works for all datasets."
            )
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._folder = PathManager.get_local_path(metadata.dirname)
        self._split = metadata.split
        self._anno_file_template = os.path.join(self._folder, "Annotations", "{}.xml")
        self._image_set_path = os.path.join(
            self._folder, "ImageSets", "Main", f"{metadata.split}.txt"
        )
        self._class_names: Sequence[str] = metadata.thing_classes
        self._cpu_device = torch.device("cpu")
        self._logger = logger
        # VOC changed the metric after 2007.
        self._is_2007 = int(metadata.year) == 2007
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        # Class number -> lines of VOC's result files: image, score, corners that count from 1.
        self._predictions: dict[int, list[str]] = defaultdict(list)
        self._times: Counter[str] = Counter()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take in one batch.

        Args:
            inputs: with "image_id", the name of the annotation file.
            outputs: with "instances": pred_boxes, scores, pred_classes.
        """
        for image, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to(self._cpu_device)
            self._times[str(image["image_id"])] += 1
            boxes = (instances.pred_boxes.tensor + torch.tensor([1, 1, 0, 0])).tolist()
            classes, scores = instances.pred_classes.tolist(), instances.scores.tolist()
            for number, score, corners in zip(classes, scores, boxes, strict=True):
                # Rounded as VOC's files are: ties between scores, and with them AP, depend on it.
                written = " ".join(f"{corner:.1f}" for corner in corners)
                self._predictions[number].append(f"{image['image_id']} {score:.3f} {written}")

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Score everything taken in since `reset`.

        Returns:
            On the main process {"bbox": {"AP", "AP50", "AP75", "AP-<class>" ...}} in percent; {}
            on the others. A class without ground truth is nan and does not count in the means.
        """
        parts = gather_parts((self._times, self._predictions))
        if parts is None:
            return {}
        lines: dict[int, list[str]] = defaultdict(list)
        for _, of_classes in parts:
            for index, of_class in of_classes.items():
                lines[index] += of_class
        objects = self._truth()
        times = sum((part for part, _ in parts), Counter())
        if times:
            repeats, missing = "what was found again alike is left out", "their objects are missed"
            warn_of_coverage(self._dataset_name, times, objects, repeats=repeats, missing=missing)
        lines = {index: lines_without_repeats(of_class, times) for index, of_class in lines.items()}
        number = {image: i for i, image in enumerate(objects)}
        found = {index: _read_results(of_class, number) for index, of_class in lines.items()}
        self._warn_of_misfits(len(times), found)
        if self._output_dir is not None:
            self._save(list(objects), found, self._output_dir / "coco_instances_results.json")
        table = np.full((len(self._class_names), len(_THRESHOLDS)), np.nan)
        for index, name in enumerate(self._class_names):
            truth = truth_of_class(objects, number, name)
            if truth.num_counted == 0:
                continue
            images, values = found.get(index, _NO_RESULTS)
            matches = match_detections(truth, images, values[:, 0], values[:, 1:])
            for column, percent in enumerate(_THRESHOLDS):
                recall, precision = matches.curve(truth, percent / 100)
                table[index, column] = 100 * voc_ap(recall, precision, self._is_2007)
        return {"bbox": self._summary(table)}

    def _save(
        self,
        image_ids: Sequence[str],
        found: Mapping[int, tuple[np.ndarray, np.ndarray]],
        path: Path,
    ) -> None:
        results = [
            {
                "image_id": image_ids[image],
                "category_id": index,
                # From pixel indices that begin with 1 and include the last.
                "bbox": [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1],
                "score": score,
            }
            for index, (images, values) in found.items()
            for image, (score, x0, y0, x1, y1) in zip(images, values.tolist(), strict=True)
            if image >= 0 and index < len(self._class_names)
        ]
        write_json_file(path, results)

    def _truth(self) -> dict[str, list[dict[str, Any]]]:
        """The objects of each image, as a training reads them: what it leaves out is left out."""
        truth = {}
        with collecting_faults(self._dataset_name) as faults:
            for image in voc_split_ids(self._folder, self._split):
                path = self._anno_file_template.format(image)
                try:
                    truth[image] = parse_rec(path)
                except (DataError, MissingFileError) as err:
                    faults.refuse("unreadable_annotations", path, err)
        return truth

    def _warn_of_misfits(
        self, num_images: int, found: Mapping[int, tuple[np.ndarray, np.ndarray]]
    ) -> None:
        reasons = []
        if num_images == 0:
            reasons.append("no image was processed: is the dataset or the data loader empty?")
        elif not found:
            reasons.append(
                f"the model predicted nothing on {num_images} images: nothing scored above "
                "MODEL.ROI_HEADS.SCORE_THRESH_TEST (or that of the model used)."
            )
        elif all((images < 0).all() for images, _ in found.values()):
            reasons.append(f"no image id of the predictions is in {self._image_set_path}.")
        num_unknown = sum(
            len(images) for index, (images, _) in found.items() if index >= len(self._class_names)
        )
        if num_unknown:
            reasons.append(
                f"{num_unknown} predictions have a class number above the dataset's "
                f"{len(self._class_names)} classes and were left out: was the model made for "
                "other data?"
            )
        if reasons:
            self._logger.warning("Evaluation of '%s': %s", self._dataset_name, " ".join(reasons))

    def _summary(self, table: np.ndarray) -> dict[str, float]:
        has_truth = ~np.isnan(table[:, 0])
        means = (
            table[has_truth].mean(axis=0) if has_truth.any() else np.full(len(_THRESHOLDS), np.nan)
        )
        metrics = {
            "AP": float(means.mean()),
            "AP50": float(means[_THRESHOLDS.index(50)]),
            "AP75": float(means[_THRESHOLDS.index(75)]),
        }
        metric = "2007's 11 points" if self._is_2007 else "area"
        self._logger.info("bbox (VOC, %s):\n%s", metric, metrics_table(metrics))
        per_class = {
            str(name): float(row.mean()) for name, row in zip(self._class_names, table, strict=True)
        }
        self._logger.info("bbox AP of each class:\n%s", class_table(per_class))
        if len(per_class) > 1:
            metrics |= {f"AP-{name}": value for name, value in per_class.items()}
        return metrics
