"""Cityscapes' own scores, computed by its package cityscapesscripts.

Predictions stay in memory, compressed, until they are gathered; the package then reads them from
a temporary folder of the main process.
"""

import contextlib
import copy
import io
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from d2lite.data.catalog import MetadataCatalog
from d2lite.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from d2lite.structures import Instances
from d2lite.structures.masks import rle
from d2lite.utils.errors import ConfigError, DataError, MissingFileError

from .coco_results import masks_to_rle
from .evaluator import DatasetEvaluator
from .gathering import gather_parts, warn_of_coverage
from .tables import metrics_table

__all__ = ["CityscapesEvaluator", "CityscapesInstanceEvaluator", "CityscapesSemSegEvaluator"]

logger = logging.getLogger(__name__)

_ID_OF_NAME = {category["name"]: category["id"] for category in CITYSCAPES_CATEGORIES}
_UNLABELLED = 0


class CityscapesEvaluator(DatasetEvaluator):
    """What the two evaluators share: images by name, gathering, files for the package."""

    _truth_ending = ""

    def __init__(self, dataset_name: str) -> None:
        """Find the dataset's folder.

        Args:
            dataset_name: a registered dataset with gt_dir in its metadata, such as
                "cityscapes_fine_instance_seg_val".

        Raises:
            ConfigError: if cityscapesscripts is not installed, or the dataset has no gt_dir.
        """
        _scripts()
        self._dataset_name = dataset_name
        self._metadata = MetadataCatalog.get(dataset_name)
        if self._metadata.get("gt_dir") is None:
            raise ConfigError(
                f"dataset '{dataset_name}' has no gt_dir in its metadata, the folder with "
                "CITY/*_gtFine_*.png that Cityscapes' evaluation reads."
            )
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions: dict[str, Any] = {}

    def _gather(self) -> dict[str, Any] | None:
        """Image name -> prediction on the main process, None on the others."""
        parts = gather_parts(self._predictions)
        if parts is None:
            return None
        return {name: prediction for part in parts for name, prediction in part.items()}

    def _truth_files(self) -> dict[str, str]:
        """Image name -> file of the truth."""
        folder = Path(self._metadata.gt_dir)
        files = sorted(folder.glob(f"*/*_{self._truth_ending}"))
        if not files:
            raise MissingFileError(
                f"there is no CITY/*_{self._truth_ending} in {folder}, where the truth of "
                f"'{self._dataset_name}' should be."
            )
        return {path.name.removesuffix(f"_{self._truth_ending}"): str(path) for path in files}


def _image_name(file_name: str) -> str:
    """City, sequence and frame, as in aachen_000000_000019."""
    return os.path.basename(file_name).removesuffix(".png").removesuffix("_leftImg8bit")


def _scripts() -> tuple[ModuleType, ModuleType]:
    """The package's evaluations of instances and of pixels."""
    try:
        # Optional: only Cityscapes needs it.
        from cityscapesscripts.evaluation import (
            evalInstanceLevelSemanticLabeling,
            evalPixelLevelSemanticLabeling,
        )
    except ImportError as err:
        raise ConfigError(
            f"Cityscapes evaluation needs the package cityscapesscripts ({err}): "
            "pip install cityscapesscripts"
        ) from err
    both = (evalInstanceLevelSemanticLabeling, evalPixelLevelSemanticLabeling)
    if not hasattr(np, "in1d"):
        for module in both:
            module.np = _NumpyWithIn1d("numpy")
    return both


class _NumpyWithIn1d(ModuleType):
    """Numpy, with a name that it dropped in 2.4 and that cityscapesscripts 2.3.0 still uses."""

    @staticmethod
    def in1d(values: Any, wanted: Any, *, invert: bool = False) -> np.ndarray:
        return np.isin(np.ravel(values), wanted, invert=invert)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The package prints what it does, and ends the program where something is wrong."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    except SystemExit as err:
        last = printed.getvalue().strip().splitlines()[-1:]
        raise DataError(f"cityscapesscripts gave up: {' '.join(last) or err}") from err


class CityscapesInstanceEvaluator(CityscapesEvaluator):
    """Average precision of instance masks, over overlaps from 0.5 to 0.95."""

    _truth_ending = "gtFine_instanceIds.png"

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take in one batch.

        Args:
            inputs: with "file_name".
            outputs: with "instances" (pred_masks, pred_classes, scores).

        Raises:
            DataError: if a class has no name that Cityscapes knows.
        """
        for image, output in zip(inputs, outputs, strict=True):
            self._predictions[_image_name(image["file_name"])] = self._encode(output["instances"])

    def _encode(self, instances: Instances) -> list[tuple[int, float, dict[str, Any]]]:
        """Id of the class, score and run-length code of each instance."""
        names = self._metadata.thing_classes
        ids = []
        for label in instances.pred_classes.tolist():
            name = names[label] if label < len(names) else None
            if name not in _ID_OF_NAME:
                raise DataError(
                    f"an instance has the class number {label}, "
                    f"{'which ' + repr(name) + ' is not a class of' if name else 'too high for'} "
                    f"Cityscapes ('{self._dataset_name}' has {len(names)} classes)."
                )
            ids.append(_ID_OF_NAME[name])
        codes = masks_to_rle(instances.pred_masks) if ids else []
        return list(zip(ids, instances.scores.tolist(), codes, strict=True))

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Score everything taken in since `reset`; images never taken in count as empty.

        Returns:
            On the main process {"segm": {"AP", "AP50"}} in percent; None on the others.
        """
        predictions = self._gather()
        if predictions is None:
            return None
        scripts, _ = _scripts()
        truth = self._truth_files()
        repeats, missing = "the last prediction counts", "their objects count as missed"
        warn_of_coverage(
            self._dataset_name, Counter(list(predictions)), truth, repeats=repeats, missing=missing
        )
        with tempfile.TemporaryDirectory(prefix="cityscapes_") as folder, _quietly():
            args = copy.copy(scripts.args)
            args.predictionPath = os.path.abspath(folder)
            args.gtInstancesFile = os.path.join(folder, "gtInstances.json")
            args.quiet = args.colorized = True
            args.JSONOutput = False
            lists = [_write_instances(Path(folder), n, predictions.get(n, ())) for n in truth]
            # Step by step: the package's one call leaves matches.json in the working folder.
            scripts.setInstanceLabels(args)
            known = scripts.getGtInstances(list(truth.values()), args)
            matches = scripts.matchGtWithPreds(lists, list(truth.values()), known, args)
            averages = scripts.computeAverages(scripts.evaluateMatches(matches, args), args)
        metrics = {"AP": 100 * averages["allAp"], "AP50": 100 * averages["allAp50%"]}
        logger.info("segm:\n%s", metrics_table(metrics))
        return {"segm": {name: float(value) for name, value in metrics.items()}}


def _write_instances(
    folder: Path, name: str, instances: list[tuple[int, float, dict[str, Any]]]
) -> str:
    """Write masks and the list of them, in the package's format; returns the list's path."""
    lines = []
    for number, (class_id, score, code) in enumerate(instances):
        mask = f"{name}_{number}_{class_id}.png"
        Image.fromarray(rle.decode(code) * np.uint8(255)).save(folder / mask)
        lines.append(f"{mask} {class_id} {score}\n")
    path = folder / f"{name}_pred.txt"
    path.write_text("".join(lines))
    return str(path)


class CityscapesSemSegEvaluator(CityscapesEvaluator):
    """Intersection over union of classes and of groups of classes."""

    _truth_ending = "gtFine_labelIds.png"

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take in one batch.

        Args:
            inputs: with "file_name".
            outputs: with "sem_seg", (19, H, W) scores of the classes.
        """
        id_of_number = np.full(256, _UNLABELLED, dtype=np.uint8)
        for category in CITYSCAPES_CATEGORIES:
            id_of_number[category["trainId"]] = category["id"]
        for image, output in zip(inputs, outputs, strict=True):
            numbers = output["sem_seg"].argmax(dim=0).cpu().numpy().astype(np.uint8)
            packed = io.BytesIO()
            Image.fromarray(id_of_number[numbers]).save(packed, format="PNG")
            self._predictions[_image_name(image["file_name"])] = packed.getvalue()

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Score everything taken in since `reset`.

        Returns:
            On the main process {"sem_seg": {"IoU", "iIoU", "IoU_sup", "iIoU_sup"}} in percent:
            over classes, with each instance weighing the same, and both over groups of classes;
            None on the others.

        Raises:
            DataError: if images of the truth were not taken in.
        """
        predictions = self._gather()
        if predictions is None:
            return None
        truth = self._truth_files()
        missing = sorted(set(truth) - set(predictions))
        if missing:
            raise DataError(
                f"{len(missing)} of {len(truth)} images of '{self._dataset_name}' have no "
                f"prediction, for instance {missing[0]}; the score is defined for all of them."
            )
        _, scripts = _scripts()
        with tempfile.TemporaryDirectory(prefix="cityscapes_") as folder, _quietly():
            args = copy.copy(scripts.args)
            args.predictionPath = os.path.abspath(folder)
            args.quiet = args.colorized = True
            args.JSONOutput = False
            files = [Path(folder) / f"{name}_pred.png" for name in truth]
            for name, path in zip(truth, files, strict=True):
                path.write_bytes(predictions[name])
            scores = scripts.evaluateImgLists(
                [str(path) for path in files], list(truth.values()), args
            )
        metrics = {
            "IoU": 100.0 * scores["averageScoreClasses"],
            "iIoU": 100.0 * scores["averageScoreInstClasses"],
            "IoU_sup": 100.0 * scores["averageScoreCategories"],
            "iIoU_sup": 100.0 * scores["averageScoreInstCategories"],
        }
        logger.info("sem_seg:\n%s", metrics_table(metrics))
        return {"sem_seg": metrics}
