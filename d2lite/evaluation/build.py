"""EVALUATOR_REGISTRY and build_evaluator: the evaluator that fits a dataset."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.utils.errors import NoEvaluatorError
from d2lite.utils.registry import Registry

from .cityscapes_evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from .coco_evaluation import COCOEvaluator
from .evaluator import DatasetEvaluator, DatasetEvaluators
from .lvis_evaluation import LVISEvaluator
from .panoptic_evaluation import COCOPanopticEvaluator
from .pascal_voc_evaluation import PascalVOCDetectionEvaluator
from .rotated_coco_evaluation import RotatedCOCOEvaluator
from .sem_seg_evaluation import SemSegEvaluator

__all__ = ["EVALUATOR_REGISTRY", "EvaluatorOptions", "build_evaluator", "evaluator_type"]

EVALUATOR_REGISTRY = Registry("EVALUATOR")
"""Classes and functions that take `EvaluatorOptions` and give a `DatasetEvaluator`.

Their names are what the metadata of datasets has as `evaluator_type`.
"""


@dataclass(frozen=True)
class EvaluatorOptions:
    """What an evaluator is built from.

    Attributes:
        dataset_name: a registered dataset.
        tasks: for COCO and LVIS, of "bbox", "segm", "keypoints"; None for what the predictions
            have.
        output_dir: where result files go; None for nowhere.
        max_dets_per_image: for COCO and LVIS, the limit of detections; None for 100 and 300.
        kpt_oks_sigmas: for COCO keypoints.
        distributed: gather predictions of all processes.
        rotated: the model predicts rotated boxes.
        detections_per_image: how many the model gives at most; see `COCOEvaluator`.
    """

    dataset_name: str
    tasks: Sequence[str] | None = None
    output_dir: str | os.PathLike[str] | None = None
    max_dets_per_image: int | None = None
    kpt_oks_sigmas: Sequence[float] = ()
    distributed: bool = True
    rotated: bool = False
    detections_per_image: int | None = None


def evaluator_type(dataset_name: str) -> str:
    """The name of a dataset's evaluator: `evaluator_type` of its metadata, else "coco" for boxes.

    Raises:
        NoEvaluatorError: if no evaluator of this name is registered.
    """
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    if kind is None and "annotations" in next(iter(DatasetCatalog.get(dataset_name)), {}):
        return "coco"
    if kind not in EVALUATOR_REGISTRY:
        known = sorted(name for name, _ in EVALUATOR_REGISTRY)
        raise NoEvaluatorError(
            f"dataset '{dataset_name}' has the evaluator_type {kind!r}; those that can be built "
            f"are {', '.join(known)}. Set it with "
            f"MetadataCatalog.get('{dataset_name}').evaluator_type = 'coco' (which works for any "
            "dataset with boxes), register an evaluator of that name in EVALUATOR_REGISTRY, or "
            "override build_evaluator of your trainer."
        )
    return str(kind)


def build_evaluator(
    dataset_name: str,
    *,
    tasks: Sequence[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    max_dets_per_image: int | None = None,
    kpt_oks_sigmas: Sequence[float] = (),
    distributed: bool = True,
    rotated: bool = False,
    detections_per_image: int | None = None,
    also: Sequence[str] = (),
) -> DatasetEvaluator:
    """Build the evaluator of a dataset's `evaluator_type`.

    The arguments are those of `EvaluatorOptions`, and `also`: names of further evaluators of
    EVALUATOR_REGISTRY, whose results are added.

    Raises:
        NoEvaluatorError: see `evaluator_type`.
        UnknownNameError: if one of `also` is not registered.
    """
    kind = evaluator_type(dataset_name)
    options = EvaluatorOptions(
        dataset_name,
        tasks,
        output_dir,
        max_dets_per_image,
        kpt_oks_sigmas,
        distributed,
        rotated,
        detections_per_image,
    )
    made = [EVALUATOR_REGISTRY.get(name)(options) for name in dict.fromkeys([kind, *also])]
    return DatasetEvaluators(made) if also else made[0]


@EVALUATOR_REGISTRY.register()
def coco(options: EvaluatorOptions) -> DatasetEvaluator:
    """Boxes, masks and keypoints; or rotated boxes."""
    evaluator = RotatedCOCOEvaluator if options.rotated else COCOEvaluator
    return evaluator(
        options.dataset_name,
        tasks=options.tasks,
        distributed=options.distributed,
        output_dir=options.output_dir,
        max_dets_per_image=options.max_dets_per_image,
        kpt_oks_sigmas=options.kpt_oks_sigmas,
        detections_per_image=options.detections_per_image,
    )


@EVALUATOR_REGISTRY.register()
def lvis(options: EvaluatorOptions) -> DatasetEvaluator:
    """Boxes and masks where only some classes were looked for."""
    return LVISEvaluator(
        options.dataset_name,
        tasks=options.tasks,
        distributed=options.distributed,
        output_dir=options.output_dir,
        max_dets_per_image=options.max_dets_per_image,
    )


@EVALUATOR_REGISTRY.register()
def pascal_voc(options: EvaluatorOptions) -> DatasetEvaluator:
    """Boxes by the rules of Pascal VOC."""
    return PascalVOCDetectionEvaluator(options.dataset_name, options.output_dir)


@EVALUATOR_REGISTRY.register()
def sem_seg(options: EvaluatorOptions) -> DatasetEvaluator:
    """Maps of classes."""
    return SemSegEvaluator(
        options.dataset_name, distributed=options.distributed, output_dir=options.output_dir
    )


@EVALUATOR_REGISTRY.register()
def coco_panoptic_seg(options: EvaluatorOptions) -> DatasetEvaluator:
    """Panoptic quality, and what else the dataset has the truth for."""
    metadata = MetadataCatalog.get(options.dataset_name)
    first: dict[str, Any] = next(iter(DatasetCatalog.get(options.dataset_name)), {})
    evaluators = [sem_seg(options)] if "sem_seg_file_name" in first else []
    if metadata.get("json_file") is not None or "annotations" in first:
        evaluators.append(coco(options))
    panoptic = COCOPanopticEvaluator(options.dataset_name, options.output_dir)
    return DatasetEvaluators([*evaluators, panoptic])


@EVALUATOR_REGISTRY.register()
def cityscapes_instance(options: EvaluatorOptions) -> DatasetEvaluator:
    """Masks by the rules of Cityscapes."""
    return CityscapesInstanceEvaluator(options.dataset_name)


@EVALUATOR_REGISTRY.register()
def cityscapes_sem_seg(options: EvaluatorOptions) -> DatasetEvaluator:
    """Maps of classes by the rules of Cityscapes."""
    return CityscapesSemSegEvaluator(options.dataset_name)


@EVALUATOR_REGISTRY.register()
def cityscapes_panoptic_seg(options: EvaluatorOptions) -> DatasetEvaluator:
    """Cityscapes' own scores and panoptic quality."""
    panoptic = COCOPanopticEvaluator(options.dataset_name, options.output_dir)
    return DatasetEvaluators([cityscapes_sem_seg(options), cityscapes_instance(options), panoptic])
