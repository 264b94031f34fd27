"""COCOPanopticEvaluator: panoptic quality of a model's maps of segments."""

import io
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from d2lite.data.catalog import MetadataCatalog
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids, segment_ids_to_rgb
from d2lite.utils.errors import ConfigError, DataError
from d2lite.utils.file_io import atomic_write, write_json_file

from .evaluator import DatasetEvaluator
from .gathering import gather_parts, warn_of_coverage
from .panoptic_ground_truth import PanopticGroundTruth, panoptic_ground_truth
from .panoptic_quality import SegmentCounts, match_segments
from .tables import class_table, format_table

__all__ = ["COCOPanopticEvaluator"]

logger = logging.getLogger(__name__)


class COCOPanopticEvaluator(DatasetEvaluator):
    """Panoptic quality, with the truth of COCO's panoptic files or of the dataset's dicts.

    Each image is compared when it comes in; only counts are kept and gathered. Of an image that
    is predicted again, the last prediction counts.
    """

    def __init__(self, dataset_name: str, output_dir: str | os.PathLike[str] | None = None) -> None:
        """Find the dataset's truth.

        Args:
            dataset_name: a registered dataset.
            output_dir: where predictions.json and the maps, panoptic/*.png, go in the form that
                COCO's server takes; None for nowhere.

        Raises:
            ConfigError: if the dataset has no panoptic truth.
            MissingFileError: if its annotation file is missing.
        """
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._metadata = MetadataCatalog.get(dataset_name)
        self._truth: PanopticGroundTruth = panoptic_ground_truth(dataset_name)
        self._thing_contiguous_id_to_dataset_id = self._truth.id_of_thing
        self._stuff_contiguous_id_to_dataset_id = self._truth.id_of_stuff
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._counts: dict[Any, SegmentCounts] = {}
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take in one batch.

        Args:
            inputs: with "image_id" and "file_name".
            outputs: with "panoptic_seg", a pair: (H, W) int map of segment ids, 0 for void, and a
                dict for each segment with "id", "category_id" (class number) and "isthing"
                (without it, "category_id" is the dataset's). Or None in place of the dicts; then
                the map holds class number * label_divisor + number, and -1 for void.

        Raises:
            DataError: if map and segments do not fit each other or the image.
        """
        for image, output in zip(inputs, outputs, strict=True):
            if "panoptic_seg" not in output:
                raise DataError(
                    f"the model gives no 'panoptic_seg' (it gives {', '.join(sorted(output))}), "
                    f"but '{self._dataset_name}' is evaluated as panoptic segmentation. Choose a "
                    "panoptic model (MODEL.META_ARCHITECTURE PanopticFPN), or a dataset of boxes "
                    "and masks (DATASETS.TEST)."
                )
            try:
                self._process_image(image, *output["panoptic_seg"])
            except DataError as err:
                where = f"Image {image['image_id']!r} ({image['file_name']})"
                raise DataError(f"{where}: {err}") from err

    def _process_image(
        self,
        image: Mapping[str, Any],
        panoptic_map: torch.Tensor,
        segments: list[dict[str, Any]] | None,
    ) -> None:
        image_id = image["image_id"]
        if image_id not in self._truth.segments:
            raise DataError(
                f"the image is not in the panoptic truth of '{self._dataset_name}', so its "
                "prediction cannot be compared."
            )
        pred_ids = panoptic_map.cpu().numpy().astype(np.int64)
        if segments is None:
            pred_ids, segments = self._from_labels(pred_ids)
        segments = [self._convert_category_id(segment) for segment in segments]
        self._count(image_id, pred_ids, segments)
        name = f"{_stem(image['file_name'])}.png"
        self._predictions.append(
            {"image_id": image_id, "file_name": name, "segments_info": segments}
        )
        if self._output_dir is not None:
            with atomic_write(self._output_dir / "panoptic" / name, "wb") as stream:
                Image.fromarray(segment_ids_to_rgb(pred_ids)).save(stream, format="PNG")

    def _count(self, image_id: Any, pred_ids: np.ndarray, segments: list[dict[str, Any]]) -> None:
        truth = self._truth.segment_ids(image_id), self._truth.segments[image_id]
        self._counts[image_id] = match_segments(*truth, pred_ids, segments)

    def _from_labels(self, labels: np.ndarray) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Read a map of class number * divisor + number, -1 for void."""
        divisor = self._metadata.get("label_divisor")
        if divisor is None:
            raise ConfigError(
                "a panoptic map came without a list of segments, and metadata.label_divisor of "
                f"'{self._dataset_name}', by which the map could be read, is not set."
            )
        segments = [
            {
                "id": label + 1,
                "category_id": label // divisor,
                "isthing": label // divisor in self._truth.id_of_thing,
            }
            for label in np.unique(labels).tolist()
            if label != -1
        ]
        return labels + 1, segments

    def _convert_category_id(self, segment: Mapping[str, Any]) -> dict[str, Any]:
        """A segment with the category id of the dataset for the class number of the model."""
        plain = {key: _plain(value) for key, value in segment.items()}
        is_thing = plain.pop("isthing", None)
        if is_thing is None:
            return plain
        ids = self._truth.id_of_thing if is_thing else self._truth.id_of_stuff
        number = plain["category_id"]
        if number not in ids:
            raise DataError(
                f"a segment was predicted as {'thing' if is_thing else 'stuff'} of class "
                f"{number}, but '{self._dataset_name}' has the classes {min(ids)} to {max(ids)} "
                "there: were the model and its NUM_CLASSES made for other data?"
            )
        return {**plain, "category_id": ids[number]}

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Score everything taken in since `reset`.

        Images that were never taken in count as if nothing was predicted on them.

        Returns:
            On the main process {"panoptic_seg": {"PQ", "SQ", "RQ" and the same of things, as in
            "PQ_th", and of stuff, as in "PQ_st"}} in percent; None on the others.
        """
        for prediction in self._predictions:
            # Of subclasses whose `process` keeps the picture, as that of detectron2 does.
            picture = prediction.pop("png_string", None)
            if picture is not None:
                pred_ids = rgb_to_segment_ids(np.asarray(Image.open(io.BytesIO(picture))))
                self._count(prediction["image_id"], pred_ids, prediction["segments_info"])
        parts = gather_parts((self._counts, self._predictions))
        if parts is None:
            return None
        counts = SegmentCounts()
        for of_image in {k: v for part, _ in parts for k, v in part.items()}.values():
            counts.add(of_image)
        times = Counter(p["image_id"] for _, part in parts for p in part)
        predictions = list({p["image_id"]: p for _, part in parts for p in part}.values())
        self._add_unseen(counts, times)
        if self._output_dir is not None:
            write_json_file(
                self._output_dir / "predictions.json",
                {**self._truth.json_content, "annotations": predictions},
            )
        metrics = self._metrics(counts)
        return {"panoptic_seg": metrics}

    def _add_unseen(self, counts: SegmentCounts, times: Mapping[Any, int]) -> None:
        for image_id in self._truth.segments.keys() - times.keys():
            segments = [s for s in self._truth.segments[image_id] if not s.get("iscrowd", 0)]
            for segment in segments:
                counts.add(SegmentCounts(missed={segment["category_id"]: 1}))
        repeats, missing = "the last prediction counts", "their segments count as missed"
        warn_of_coverage(
            self._dataset_name, times, self._truth.segments, repeats=repeats, missing=missing
        )

    def _metrics(self, counts: SegmentCounts) -> dict[str, float]:
        things = [c["id"] for c in self._truth.categories if c["isthing"]]
        stuff = [c["id"] for c in self._truth.categories if not c["isthing"]]
        metrics: dict[str, float] = {}
        rows: list[list[str | float]] = []
        for ending, title, ids in (
            ("", "all", things + stuff),
            ("_th", "things", things),
            ("_st", "stuff", stuff),
        ):
            quality = counts.quality(ids)
            metrics |= {
                f"PQ{ending}": quality.pq,
                f"SQ{ending}": quality.sq,
                f"RQ{ending}": quality.rq,
            }
            rows.append([title, quality.pq, quality.sq, quality.rq, str(quality.num_categories)])
        _log_quality(rows)
        occurring = counts.hits.keys() | counts.missed.keys() | counts.wrong.keys()
        of_each = {
            str(category["name"]): counts.quality_of(category["id"]).pq
            for category in self._truth.categories
            if category["id"] in occurring
        }
        logger.info("PQ of each class:\n%s", class_table(of_each, metric="PQ"))
        return metrics


def _log_quality(rows: Sequence[Sequence[str | float]]) -> None:
    header = ["", "PQ", "SQ", "RQ", "classes that occur"]
    logger.info("panoptic_seg:\n%s", format_table(header, rows))


def _print_panoptic_results(pq_res: Mapping[str, Mapping[str, float]]) -> None:
    """Log qualities as they come from panopticapi.

    Args:
        pq_res: "All", "Things" and "Stuff", each with "pq", "sq" and "rq" in [0, 1] and "n", the
            number of classes.
    """
    rows: list[list[str | float]] = []
    for name in ("All", "Things", "Stuff"):
        part = pq_res[name]
        rows.append([name, *(part[key] * 100 for key in ("pq", "sq", "rq")), str(part["n"])])
    _log_quality(rows)


def _stem(file_name: str) -> str:
    return os.path.splitext(os.path.basename(file_name))[0]


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's own, so that JSON can hold them."""
    return value.item() if hasattr(value, "item") else value
