"""Semantic segmentation by intersection over union, of areas and of their borders."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.images.image_io import read_image
from d2lite.structures.masks import rle
from d2lite.utils.errors import ConfigError, DataError
from d2lite.utils.file_io import atomic_write, write_json_file

from .evaluator import DatasetEvaluator
from .gathering import gather_parts, warn_of_coverage
from .tables import metrics_table

__all__ = ["SemSegEvaluator", "load_image_into_numpy_array"]

logger = logging.getLogger(__name__)

_MAX_CLASSES_OF_BORDERS = 255
# Half the width of a border, as a share of the picture's diagonal.
_BORDER = 0.02


def load_image_into_numpy_array(
    filename: str, dtype: np.dtype | str | type | None = None
) -> np.ndarray:
    """Read an image file as it is: class numbers stay class numbers.

    Args:
        filename: a local path, or an address that `read_image` or the PathManager knows.
        dtype: of the result; None for that of the file.
    """
    # As the training reads them: a palette's numbers, 16 bits, and built-in data.
    return np.array(read_image(filename), dtype=dtype)


class SemSegEvaluator(DatasetEvaluator):
    """Compares maps of classes with those of the dataset, pixel by pixel."""

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        sem_seg_loading_fn: Callable[..., np.ndarray] = load_image_into_numpy_array,
        num_classes: int | None = None,
        ignore_label: int | None = None,
    ) -> None:
        """Find the dataset's maps and class names.

        Args:
            dataset_name: a registered dataset whose dicts have "sem_seg_file_name".
            distributed: join the counts of all processes.
            output_dir: where sem_seg_predictions.json and sem_seg_evaluation.pth go; None for
                nowhere.
            sem_seg_loading_fn: (file name, dtype=int) -> (H, W) class numbers.
            num_classes: must be that of the dataset; kept for old code.
            ignore_label: must be that of the dataset; kept for old code.

        Raises:
            ConfigError: if the dataset names no classes, or another number of them.
        """
        metadata = MetadataCatalog.get(dataset_name)
        names = getattr(metadata, "stuff_classes", None)
        if not names:
            raise ConfigError(
                f"dataset '{dataset_name}' has no stuff_classes, so it cannot be evaluated as "
                f"semantic segmentation; set MetadataCatalog.get('{dataset_name}').stuff_classes."
            )
        if num_classes not in (None, len(names)):
            raise ConfigError(f"num_classes={num_classes}, but '{dataset_name}' has {len(names)}.")
        known_ignore = getattr(metadata, "ignore_label", None)
        self._ignore_label = known_ignore if ignore_label is None else ignore_label
        self._class_names = [str(name) for name in names]
        self._num_classes = len(names)
        self._dataset_name = dataset_name
        self._distributed = distributed
        self._cpu_device = torch.device("cpu")
        self._logger = logger
        self._output_dir = None if output_dir is None else Path(output_dir)
        self.sem_seg_loading_fn = sem_seg_loading_fn
        self._records = {r["file_name"]: r for r in DatasetCatalog.get(dataset_name)}
        self.input_file_to_gt_file = {
            name: record.get("sem_seg_file_name") for name, record in self._records.items()
        }
        mapping = getattr(metadata, "stuff_dataset_id_to_contiguous_id", None) or {}
        self._contiguous_id_to_dataset_id = {
            contiguous: dataset for dataset, contiguous in mapping.items()
        }
        self._compute_boundary_iou = self._num_classes < _MAX_CLASSES_OF_BORDERS
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        side = self._num_classes + 1
        # Rows: predicted class; columns: true class; the last of each: everything else.
        self._conf_matrix = np.zeros((side, side), dtype=np.int64)
        self._b_conf_matrix = np.zeros((side, side), dtype=np.int64)
        self._predictions: list[dict[str, Any]] = []
        self._times: Counter[str] = Counter()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take in one batch; an image that this process took in before is left out.

        Args:
            inputs: with "file_name".
            outputs: with "sem_seg", (C, H, W) scores of the classes.
        """
        for image, output in zip(inputs, outputs, strict=True):
            if "sem_seg" not in output:
                raise DataError(
                    f"the model gives no 'sem_seg' (it gives {', '.join(sorted(output))}), but "
                    "the dataset is evaluated as semantic segmentation. Choose another model "
                    "(MODEL.META_ARCHITECTURE) or another dataset (DATASETS.TEST)."
                )
            times = self._seen()
            times[image["file_name"]] += 1
            if times[image["file_name"]] > 1:
                continue
            pred = output["sem_seg"].argmax(dim=0).cpu().numpy().astype(np.int64)
            truth = self._truth(image["file_name"])
            if truth.shape != pred.shape:
                raise DataError(
                    f"The map of classes of {image['file_name']} has the shape {truth.shape}, its "
                    f"prediction {pred.shape}; both must be (height, width) of the image."
                )
            self._conf_matrix += self._count(pred, truth)
            if self._compute_boundary_iou:
                self._b_conf_matrix += self._count(
                    self._mask_to_boundary(pred), self._mask_to_boundary(truth)
                )
            self._predictions.extend(self.encode_json_sem_seg(pred, image["file_name"]))

    def _truth(self, file_name: str) -> np.ndarray:
        record = self._records.get(file_name, {})
        truth = record.get("sem_seg")
        if truth is None:
            path = self.input_file_to_gt_file.get(file_name)
            if path is None:
                raise DataError(
                    f"{file_name} {'has no sem_seg_file_name' if record else 'is not an image'} in "
                    f"'{self._dataset_name}', so its map of classes cannot be compared."
                )
            truth = self.sem_seg_loading_fn(path, dtype=int)
        truth = np.array(truth, dtype=np.int64)
        if self._ignore_label is not None:
            truth[truth == self._ignore_label] = self._num_classes
        return truth

    def _count(self, pred: np.ndarray, truth: np.ndarray) -> np.ndarray:
        side = self._num_classes + 1
        pairs = side * np.minimum(pred, side - 1) + np.minimum(truth, side - 1)
        return np.bincount(pairs.reshape(-1), minlength=side * side).reshape(side, side)

    def _seen(self) -> Counter[str]:
        """How often each image was predicted; none where a subclass resets by itself alone."""
        if hasattr(self, "_times"):
            return self._times
        return Counter()

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Score everything taken in since `reset`.

        Returns:
            On the main process {"sem_seg": {"mIoU", "fwIoU", "mACC", "pACC", and for each class
            "IoU-<name>", "BoundaryIoU-<name>", "min(IoU, B-Iou)-<name>", "ACC-<name>"}} in
            percent, nan for classes without pixels; None on the others.
        """
        own = self._conf_matrix, self._b_conf_matrix, self._predictions, self._seen()
        parts = gather_parts(own, distributed=self._distributed)
        if parts is None:
            return None
        pixels = np.sum([part[0] for part in parts], axis=0)
        border_pixels = np.sum([part[1] for part in parts], axis=0)
        predictions = [p for part in parts for p in part[2]]
        times = sum((part[3] for part in parts), Counter())
        if times:  # empty where a subclass counts by itself
            repeats = "repeats count only where another process predicted them"
            missing = "their pixels do not count"
            warn_of_coverage(
                self._dataset_name, times, self._records, repeats=repeats, missing=missing
            )
        if not pixels.any():
            self._logger.warning("No image was processed: is the dataset or the data loader empty?")
        metrics = self._metrics(pixels, border_pixels)
        main = {name: value for name, value in metrics.items() if "-" not in name}
        self._logger.info("sem_seg:\n%s", metrics_table(main))
        if self._output_dir is not None:
            write_json_file(self._output_dir / "sem_seg_predictions.json", predictions)
            with atomic_write(self._output_dir / "sem_seg_evaluation.pth", "wb") as stream:
                torch.save(metrics, stream)
        return {"sem_seg": metrics}

    def _metrics(self, pixels: np.ndarray, border_pixels: np.ndarray) -> dict[str, float]:
        hits, of_truth, of_pred = _totals(pixels)
        with np.errstate(divide="ignore", invalid="ignore"):
            accuracy = hits / of_truth
            iou = np.where(of_truth > 0, hits / (of_truth + of_pred - hits), np.nan)
            border_hits, border_truth, border_pred = _totals(border_pixels)
            border_union = border_truth + border_pred - border_hits
            border_iou = np.where(border_union > 0, border_hits / border_union, np.nan)
            share = of_truth / of_truth.sum()
        metrics = {"mIoU": _mean(iou), "fwIoU": float(np.nansum(iou * share) * 100)}
        for name, area, border in zip(self._class_names, iou, border_iou, strict=True):
            metrics[f"IoU-{name}"] = float(area * 100)
            if self._compute_boundary_iou:
                metrics[f"BoundaryIoU-{name}"] = float(border * 100)
                metrics[f"min(IoU, B-Iou)-{name}"] = float(min(area, border) * 100)
        metrics["mACC"] = _mean(accuracy)
        metrics["pACC"] = float(hits.sum() / max(of_truth.sum(), 1) * 100)
        for name, value in zip(self._class_names, accuracy, strict=True):
            metrics[f"ACC-{name}"] = float(value * 100)
        return metrics

    def encode_json_sem_seg(
        self, sem_seg: np.ndarray, input_file_name: str
    ) -> list[dict[str, Any]]:
        """Write a map as one run-length code for each class in it.

        Args:
            sem_seg: (H, W) class numbers.
            input_file_name: of the image.

        Returns:
            Dicts of file_name, category_id (the dataset's) and segmentation.
        """
        classes = np.unique(sem_seg).tolist()
        codes = rle.encode_all(np.stack([sem_seg == c for c in classes]))
        return [
            {
                "file_name": input_file_name,
                "category_id": self._contiguous_id_to_dataset_id.get(number, number),
                "segmentation": code,
            }
            for number, code in zip(classes, codes, strict=True)
        ]

    def _mask_to_boundary(self, mask: np.ndarray, dilation_ratio: float = _BORDER) -> np.ndarray:
        """How much each pixel's class number is above the smallest one around it.

        This is how the published boundary IoU is computed: the map is eroded as if it were a grey
        picture. Around the picture is class 0.

        Args:
            mask: (H, W) class numbers.
            dilation_ratio: half the width of the border, as a share of the picture's diagonal.
        """
        reach = max(round(dilation_ratio * float(np.hypot(*mask.shape))), 1)
        grey = torch.from_numpy(mask.astype(np.int64)).float()[None, None]
        padded = F.pad(grey, [reach] * 4)
        smallest = -F.max_pool2d(-padded, kernel_size=2 * reach + 1, stride=1)
        return (grey - smallest)[0, 0].long().numpy()


def _totals(pixels: np.ndarray) -> Sequence[np.ndarray]:
    """Agreeing, true and predicted pixels of each class, where the truth is a class."""
    inner = pixels[:-1, :-1].astype(np.float64)
    return inner.diagonal(), inner.sum(axis=0), inner.sum(axis=1)


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean() * 100) if present.size else float("nan")
