"""build_evaluator: the evaluator that fits a dataset."""

import os
from collections.abc import Sequence

from d2lite.data.catalog import MetadataCatalog
from d2lite.utils.errors import ConfigError

from .coco_evaluation import COCOEvaluator
from .evaluator import DatasetEvaluator
from .pascal_voc_evaluation import PascalVOCDetectionEvaluator
from .sem_seg_evaluation import SemSegEvaluator

__all__ = ["build_evaluator"]

_KNOWN_TYPES = ("coco", "pascal_voc", "sem_seg")


def build_evaluator(
    dataset_name: str,
    *,
    tasks: Sequence[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    max_dets_per_image: int | None = None,
    kpt_oks_sigmas: Sequence[float] = (),
    distributed: bool = True,
) -> DatasetEvaluator:
    """Pick the evaluator by the dataset's own type, its metadata's `evaluator_type`.

    Args:
        dataset_name: a registered dataset.
        tasks: for COCO, of "bbox", "segm", "keypoints"; None for what the predictions have.
        output_dir: where result files go; None for nowhere.
        max_dets_per_image: for COCO, the limit of detections an image; None for 100.
        kpt_oks_sigmas: for COCO keypoints.
        distributed: gather predictions of all processes.

    Raises:
        ConfigError: if the dataset's type is not known here.
    """
    kind = getattr(MetadataCatalog.get(dataset_name), "evaluator_type", None)
    if kind == "coco":
        return COCOEvaluator(
            dataset_name,
            tasks=tasks,
            distributed=distributed,
            output_dir=output_dir,
            max_dets_per_image=max_dets_per_image,
            kpt_oks_sigmas=kpt_oks_sigmas,
        )
    if kind == "pascal_voc":
        return PascalVOCDetectionEvaluator(dataset_name)
    if kind == "sem_seg":
        return SemSegEvaluator(dataset_name, distributed=distributed, output_dir=output_dir)
    raise ConfigError(
        f"dataset '{dataset_name}' has the evaluator_type {kind!r}; those that can be built are "
        f"{', '.join(_KNOWN_TYPES)}. Set it with "
        f"MetadataCatalog.get('{dataset_name}').evaluator_type = 'coco' (which works for any "
        "dataset with boxes), or override build_evaluator of your trainer."
    )
