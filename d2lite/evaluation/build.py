"""build_evaluator: the evaluator that fits a dataset."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.utils.errors import ConfigError

from .cityscapes_evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from .coco_evaluation import COCOEvaluator
from .evaluator import DatasetEvaluator, DatasetEvaluators
from .lvis_evaluation import LVISEvaluator
from .panoptic_evaluation import COCOPanopticEvaluator
from .pascal_voc_evaluation import PascalVOCDetectionEvaluator
from .sem_seg_evaluation import SemSegEvaluator

__all__ = ["build_evaluator"]


@dataclass(frozen=True)
class _Wish:
    """What the caller of `build_evaluator` said."""

    dataset_name: str
    tasks: Sequence[str] | None
    output_dir: str | os.PathLike[str] | None
    max_dets_per_image: int | None
    kpt_oks_sigmas: Sequence[float]
    distributed: bool

    def coco(self) -> DatasetEvaluator:
        return COCOEvaluator(
            self.dataset_name,
            tasks=self.tasks,
            distributed=self.distributed,
            output_dir=self.output_dir,
            max_dets_per_image=self.max_dets_per_image,
            kpt_oks_sigmas=self.kpt_oks_sigmas,
        )

    def lvis(self) -> DatasetEvaluator:
        return LVISEvaluator(
            self.dataset_name,
            tasks=self.tasks,
            distributed=self.distributed,
            output_dir=self.output_dir,
            max_dets_per_image=self.max_dets_per_image,
        )

    def sem_seg(self) -> DatasetEvaluator:
        return SemSegEvaluator(
            self.dataset_name, distributed=self.distributed, output_dir=self.output_dir
        )

    def panoptic(self) -> DatasetEvaluator:
        return COCOPanopticEvaluator(self.dataset_name, self.output_dir)

    def coco_panoptic(self) -> DatasetEvaluator:
        """Panoptic quality, and what else the dataset has the truth for."""
        metadata = MetadataCatalog.get(self.dataset_name)
        first: dict[str, Any] = next(iter(DatasetCatalog.get(self.dataset_name)), {})
        evaluators = [self.sem_seg()] if "sem_seg_file_name" in first else []
        if metadata.get("json_file") is not None or "annotations" in first:
            evaluators.append(self.coco())
        return DatasetEvaluators([*evaluators, self.panoptic()])

    def cityscapes_panoptic(self) -> DatasetEvaluator:
        return DatasetEvaluators(
            [
                CityscapesSemSegEvaluator(self.dataset_name),
                CityscapesInstanceEvaluator(self.dataset_name),
                self.panoptic(),
            ]
        )


_BUILDERS: dict[str, Callable[[_Wish], DatasetEvaluator]] = {
    "cityscapes_instance": lambda wish: CityscapesInstanceEvaluator(wish.dataset_name),
    "cityscapes_panoptic_seg": _Wish.cityscapes_panoptic,
    "cityscapes_sem_seg": lambda wish: CityscapesSemSegEvaluator(wish.dataset_name),
    "coco": _Wish.coco,
    "coco_panoptic_seg": _Wish.coco_panoptic,
    "lvis": _Wish.lvis,
    "pascal_voc": lambda wish: PascalVOCDetectionEvaluator(wish.dataset_name),
    "sem_seg": _Wish.sem_seg,
}


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
        tasks: for COCO and LVIS, of "bbox", "segm", "keypoints"; None for what the predictions
            have.
        output_dir: where result files go; None for nowhere.
        max_dets_per_image: for COCO and LVIS, the limit of detections an image; None for 100 and
            300.
        kpt_oks_sigmas: for COCO keypoints.
        distributed: gather predictions of all processes.

    Raises:
        ConfigError: if the dataset's type is not known here.
    """
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    if kind not in _BUILDERS:
        raise ConfigError(
            f"dataset '{dataset_name}' has the evaluator_type {kind!r}; those that can be built "
            f"are {', '.join(sorted(_BUILDERS))}. Set it with "
            f"MetadataCatalog.get('{dataset_name}').evaluator_type = 'coco' (which works for any "
            "dataset with boxes), or override build_evaluator of your trainer."
        )
    wish = _Wish(dataset_name, tasks, output_dir, max_dets_per_image, kpt_oks_sigmas, distributed)
    return _BUILDERS[kind](wish)
