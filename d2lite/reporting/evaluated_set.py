"""The evaluated set of a run: its truth, its result file, its images, and the analysis of them."""

import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import cocoeval

from d2lite.data.catalog import MetadataCatalog
from d2lite.data.images.image_io import read_image
from d2lite.data.records.faults import collecting_faults
from d2lite.data.records.plain_records import load_records
from d2lite.evaluation.coco_ground_truth import coco_ground_truth
from d2lite.evaluation.detection_limits import detection_limits, limits_for
from d2lite.evaluation.rotated_coco_evaluation import RotatedCOCOeval, RotatedCOCOEvaluator
from d2lite.utils.errors import DataError, UserError
from d2lite.utils.file_io import read_json_file

from .analysis import Analysis, analyze, tasks_in
from .bootstrap import suitable_resamples
from .other_rules import VOC_NOTE, voc_ground_truth
from .run_files import RunFacts

logger = logging.getLogger(__name__)

_RESULTS = Path("inference") / "coco_instances_results.json"
_LVIS_RESULTS = _RESULTS.with_name("lvis_instances_results.json")
# Of an image and a class; COCO's val2017 has 400,000.
_MOST_PAIRS = 4_000_000
# Percent: how far results may be from those of the table, which are the same but for rounding.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class EvaluatedSet:
    """A set with results.

    Attributes:
        name: of the dataset; a path where files alone are analysed.
        truth: COCO dict.
        analyses: of each task, the most detailed one last.
        file_names: image id to the image's address.
        faults: of the truth, in one line; "" for none.
        note: how its numbers differ from those of the results table; "" where they are the same.
    """

    name: str
    truth: Mapping[str, Any]
    analyses: list[Analysis]
    file_names: Mapping[Any, str]
    faults: str = ""
    note: str = ""

    def read_image(self, image_id: Any) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB; None where the file is unknown or cannot be read."""
        name = self.file_names.get(image_id)
        if name is None:
            return None
        try:
            return read_image(name, "RGB")
        except (UserError, OSError) as error:
            logger.debug("%s is left out of the report: %s", name, error)
            return None


def load_evaluated_set(folder: Path, facts: RunFacts) -> EvaluatedSet | str:
    """Analyse the results that the last evaluation of a run has written.

    Returns:
        The set; or, in one sentence, why there is no analysis.
    """
    if not facts.test_sets:
        return "The run has no DATASETS.TEST."
    # The sets of a run write to one folder, so that the file is that of the last one.
    name = facts.test_sets[-1]
    try:
        with collecting_faults() as faults:
            records = load_records(name)
        kind = MetadataCatalog.get(name).get("evaluator_type")
        if kind not in (None, "coco", "coco_panoptic_seg", "lvis", "pascal_voc"):
            return f"The set {name} is evaluated by the rules of {kind}, which has no matches."
        is_voc = kind == "pascal_voc"
        file = _LVIS_RESULTS if kind == "lvis" else _RESULTS
        if not (folder / file).is_file():
            return f"There is no {file.as_posix()}: the run was not evaluated on objects."
        truth = voc_ground_truth(name) if is_voc else _ground_truth(name, facts)
        if "annotations" not in truth:
            return f"The set {name} has no annotations to compare with."
        pairs = len(truth["images"]) * len(truth["categories"])
        if pairs > _MOST_PAIRS:
            return (
                f"The set {name} has {len(truth['images']):,} images and "
                f"{len(truth['categories']):,} classes: more than {_MOST_PAIRS:,} pairs "
                "take too much time and memory. Analyse a part: d2lite analyze "
                f"--results {file.as_posix()} --gt PART.json"
            )
        results = read_json_file(folder / file)
        analyses = [
            analyze(
                truth,
                results,
                task,
                max_dets=limits_for(
                    detection_limits(None), truth, name, facts.detections_per_image
                ),
                kpt_oks_sigmas=facts.kpt_oks_sigmas or None,
                num_resamples=suitable_resamples(len(results)),
                evaluation_type=RotatedCOCOeval if facts.is_rotated else cocoeval.COCOeval,
            )
            for task in tasks_in(results)
        ]
    except (UserError, ValueError) as error:
        return f"The set {name} cannot be analysed: {error}"
    file_names = {record["image_id"]: str(record["file_name"]) for record in records}
    note = VOC_NOTE if is_voc else ""
    return EvaluatedSet(name, truth, analyses, file_names, faults.summary(), note)


def _ground_truth(name: str, facts: RunFacts) -> dict[str, Any]:
    if facts.is_rotated:
        return RotatedCOCOEvaluator(name, distributed=False).ground_truth()
    return coco_ground_truth(name, None)


def disagreement(analysis: Analysis, table: Mapping[str, float], test_sets: list[str]) -> str:
    """Say where the analysis differs from the results table of the run; "" where it does not.

    They differ where the result file is that of another evaluation than the table.

    Args:
        analysis: of the result file.
        table: last results, as "task/metric".
        test_sets: DATASETS.TEST.
    """
    prefix = f"{test_sets[-1]}/" if len(test_sets) > 1 else ""
    for metric, value in analysis.metrics.items():
        name = f"{prefix}{analysis.task}/{metric}"
        expected = table.get(name, math.nan)
        if abs(expected - value) > _TOLERANCE:
            return (
                f"{name} is {expected:.2f} in the results table of the run and {value:.2f} here: "
                "the result file is that of another evaluation, later or with other weights."
            )
    return ""


@dataclass(frozen=True)
class SetStatistics:
    """What a set is made of.

    Attributes:
        num_images: in it.
        num_empty: images without objects.
        num_objects: without crowds.
        num_crowds: crowd regions.
        objects_per_image: the 0th, 50th and 100th percentile.
        image_sides: the same of the longer side of images, pixels.
        object_sides: the same of the square root of the area of objects, pixels.
        objects_of_class: by name.
        images_of_class: by name.
    """

    num_images: int
    num_empty: int
    num_objects: int
    num_crowds: int
    objects_per_image: tuple[float, float, float]
    image_sides: tuple[float, float, float]
    object_sides: tuple[float, float, float]
    objects_of_class: dict[str, int]
    images_of_class: dict[str, int]


def set_statistics(truth: Mapping[str, Any], matches_of: Analysis) -> SetStatistics:
    """Count what is in a set.

    Args:
        truth: COCO dict, for the sizes of images.
        matches_of: an analysis of results on it, which has the objects as they are scored.
    """
    matches = matches_of.matches
    real = ~matches.gt_ignored
    per_image = np.bincount(matches.gt_image[real], minlength=len(matches.image_ids))
    sides = [
        max(i["width"], i["height"]) for i in truth["images"] if "width" in i and "height" in i
    ]
    pairs = {
        (int(k), int(i))
        for k, i in zip(matches.gt_class[real], matches.gt_image[real], strict=True)
    }
    names = matches.class_names
    images_of_class = Counter(names[k] for k, _ in pairs)
    return SetStatistics(
        num_images=len(matches.image_ids),
        num_empty=int((per_image == 0).sum()),
        num_objects=int(real.sum()),
        num_crowds=int((~real).sum()),
        objects_per_image=_range(per_image),
        image_sides=_range(np.array(sides, dtype=np.float64)),
        object_sides=_range(np.sqrt(matches.gt_area[real])),
        objects_of_class={row.name: row.num_objects for row in matches_of.classes},
        images_of_class={name: images_of_class[name] for name in names},
    )


def _range(values: np.ndarray) -> tuple[float, float, float]:
    if not len(values):
        return (float("nan"),) * 3
    low, middle, high = (float(v) for v in np.percentile(values, [0, 50, 100]))
    return low, middle, high


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read a COCO result file.

    Raises:
        DataError: if it is not one.
    """
    try:
        content = read_json_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise DataError(f"{path} is not a JSON file: {error}.") from error
    needed = {"image_id", "category_id", "score"}
    if not isinstance(content, list):
        raise DataError(
            f"{path} is not a COCO result file: it holds a JSON {type(content).__name__}; "
            "expected a list of objects with 'image_id', 'category_id', 'score' and 'bbox', "
            "'segmentation' or 'keypoints'."
        )
    for place, entry in enumerate(content):
        if not isinstance(entry, dict) or not needed <= entry.keys():
            raise DataError(
                f"{path}: entry {place} is {str(entry)[:80]}; expected an object with "
                f"{', '.join(sorted(needed))} and 'bbox', 'segmentation' or 'keypoints'."
            )
    return content
