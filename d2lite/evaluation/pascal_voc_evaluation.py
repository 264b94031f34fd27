"""Average precision as Pascal VOC defines it, in its 2007 and its later form."""

import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2lite.data.catalog import MetadataCatalog
from d2lite.data.datasets.pascal_voc import voc_split_ids
from d2lite.data.datasets.voc_xml import annotated_objects, read_annotation
from d2lite.data.faults import collecting_faults, reading_faults
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from d2lite.utils.file_io import PathManager

from .evaluator import DatasetEvaluator
from .gathering import gather_parts
from .tables import class_table, metrics_table
from .voc_scoring import match_detections, truth_of_class, voc_ap

__all__ = ["PascalVOCDetectionEvaluator", "parse_rec", "voc_ap", "voc_eval"]

logger = logging.getLogger(__name__)

_THRESHOLDS = tuple(range(50, 100, 5))


def parse_rec(filename: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the objects of one annotation file.

    Args:
        filename: a VOC XML file.

    Returns:
        For each object name, pose, truncated, difficult and bbox: [xmin, ymin, xmax, ymax] in
        VOC's pixel indices, which start at 1 and include the last.

    Raises:
        DataError: if the file is not such an XML file.
        MissingFileError: if it does not exist.
    """
    path = Path(PathManager.get_local_path(os.fspath(filename)))
    with reading_faults(str(filename)) as faults:
        objects = list(annotated_objects(read_annotation(path), path, faults))
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
    rows = [line.split() for line in _read_lines(detpath.format(classname))]
    values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 5)
    images = np.array([number.get(row[0], -1) for row in rows], dtype=np.int64)
    recall, precision = match_detections(truth, images, values[:, 0], values[:, 1:]).curve(
        truth, ovthresh
    )
    return recall, precision, voc_ap(recall, precision, use_07_metric)


def _read_lines(path: str) -> list[str]:
    if not PathManager.isfile(path):
        raise MissingFileError(f"the VOC file {path} does not exist.")
    with PathManager.open(path) as stream:
        return [line.strip() for line in stream if line.strip()]


class PascalVOCDetectionEvaluator(DatasetEvaluator):
    """Boxes by VOC's AP at IoU 0.5, 0.75 and the mean over 0.5, 0.55 ... 0.95.

    The numbers differ a little from COCO's: see `voc_ap`, and in VOC pixel indices are inclusive.
    """

    def __init__(self, dataset_name: str) -> None:
        """Find the dataset's annotations.

        Args:
            dataset_name: a registered VOC dataset, with dirname, split and year in its metadata.

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
        self._folder = PathManager.get_local_path(metadata.dirname)
        self._split = metadata.split
        self._annotation_path = os.path.join(self._folder, "Annotations", "{}.xml")
        self._image_set_path = os.path.join(
            self._folder, "ImageSets", "Main", f"{metadata.split}.txt"
        )
        self._class_names: Sequence[str] = metadata.thing_classes
        # VOC changed the metric after 2007.
        self._use_07_metric = int(metadata.year) == 2007
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        # Each entry: image id, classes (D,), scores (D,), boxes (D, 4) in VOC's pixel indices.
        self._predictions: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take in one batch.

        Args:
            inputs: with "image_id", the name of the annotation file.
            outputs: with "instances": pred_boxes, scores, pred_classes.
        """
        for image, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            # VOC counts pixels from 1.
            boxes = instances.pred_boxes.tensor.numpy() + np.array([1, 1, 0, 0], dtype=np.float32)
            # Scores and corners are rounded as VOC's result files are: ties between scores, and
            # with them AP, depend on it.
            boxes = np.round(boxes.astype(np.float64), 1)
            scores = np.round(instances.scores.double().numpy(), 3)
            classes = instances.pred_classes.numpy()
            self._predictions.append((str(image["image_id"]), classes, scores, boxes))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Score everything taken in since `reset`.

        Returns:
            On the main process {"bbox": {"AP", "AP50", "AP75", "AP-<class>" ...}} in percent; {}
            on the others. A class without ground truth is nan and does not count in the means.
        """
        parts = gather_parts(self._predictions)
        if parts is None:
            return {}
        predictions = list(itertools.chain.from_iterable(parts))
        objects = self._truth()
        number = {image: i for i, image in enumerate(objects)}
        images = np.concatenate(
            [np.full(len(p[1]), number.get(p[0], -1)) for p in predictions] or [np.zeros(0, int)]
        )
        classes, scores, boxes = (
            np.concatenate([p[i] for p in predictions] or [empty])
            for i, empty in ((1, np.zeros(0, int)), (2, np.zeros(0)), (3, np.zeros((0, 4))))
        )
        self._warn_of_misfits(len(predictions), images, classes)
        table = np.full((len(self._class_names), len(_THRESHOLDS)), np.nan)
        for index, name in enumerate(self._class_names):
            truth = truth_of_class(objects, number, name)
            if truth.num_counted == 0:
                continue
            is_mine = classes == index
            matches = match_detections(truth, images[is_mine], scores[is_mine], boxes[is_mine])
            for column, percent in enumerate(_THRESHOLDS):
                recall, precision = matches.curve(truth, percent / 100)
                table[index, column] = 100 * voc_ap(recall, precision, self._use_07_metric)
        return {"bbox": self._summary(table)}

    def _truth(self) -> dict[str, list[dict[str, Any]]]:
        """The objects of each image, as a training reads them: what it leaves out is left out."""
        truth = {}
        with collecting_faults(self._dataset_name) as faults:
            for image in voc_split_ids(self._folder, self._split):
                path = self._annotation_path.format(image)
                try:
                    truth[image] = parse_rec(path)
                except (DataError, MissingFileError) as err:
                    faults.refuse("unreadable_annotations", path, err)
        return truth

    def _warn_of_misfits(self, num_images: int, images: np.ndarray, classes: np.ndarray) -> None:
        reasons = []
        if num_images == 0:
            reasons.append("no image was processed: is the dataset or the data loader empty?")
        elif len(classes) == 0:
            reasons.append(
                f"the model predicted nothing on {num_images} images: nothing scored above "
                "MODEL.ROI_HEADS.SCORE_THRESH_TEST (or that of the model used)."
            )
        elif (images < 0).all():
            reasons.append(f"no image id of the predictions is in {self._image_set_path}.")
        num_unknown = int((classes >= len(self._class_names)).sum())
        if num_unknown:
            reasons.append(
                f"{num_unknown} predictions have a class number above the dataset's "
                f"{len(self._class_names)} classes and were left out: was the model made for "
                "other data?"
            )
        if reasons:
            logger.warning("Evaluation of '%s': %s", self._dataset_name, " ".join(reasons))

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
        metric = "2007's 11 points" if self._use_07_metric else "area"
        logger.info("bbox (VOC, %s):\n%s", metric, metrics_table(metrics))
        per_class = {
            str(name): float(row.mean()) for name, row in zip(self._class_names, table, strict=True)
        }
        logger.info("bbox AP of each class:\n%s", class_table(per_class))
        if len(per_class) > 1:
            metrics |= {f"AP-{name}": value for name, value in per_class.items()}
        return metrics
