"""Loaders for validation losses: evaluation datasets with annotations, without augmentation."""

import logging
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from d2lite.config import CfgNode
from d2lite.data import DatasetCatalog, DatasetMapper, build_detection_test_loader
from d2lite.data.dataset_mapper import build_augmentation
from d2lite.data.transforms import AugmentationList
from d2lite.projects import build_project_mapper
from d2lite.utils.errors import ConfigError
from d2lite.utils.keyed_rng import DrawPurpose, draw_key

logger = logging.getLogger(__name__)


def build_validation_loaders(
    dataset_names: Sequence[str], period: int, build_loader: Callable[[str], Iterable[Any]]
) -> dict[str, Iterable[Any]]:
    """Build a loader of annotated samples for each dataset that validation losses are measured on.

    Args:
        dataset_names: DATASETS.TEST.
        period: TEST.LOSS_PERIOD.
        build_loader: makes the loader of one dataset.

    Returns:
        Name of a dataset -> its loader; empty for the period 0.

    Raises:
        ConfigError: if no dataset of DATASETS.TEST has annotations.
    """
    if period == 0:
        return {}
    names = [name for name in dataset_names if _has_truth(DatasetCatalog.get(name))]
    if not names:
        raise ConfigError(
            f"TEST.LOSS_PERIOD={period} asks for losses on DATASETS.TEST "
            f"{tuple(dataset_names)}, where nothing is annotated. Name a set with "
            "annotations, or use TEST.LOSS_PERIOD 0."
        )
    left_out = [name for name in dataset_names if name not in names]
    if left_out:
        logger.info(f"No validation loss on {', '.join(left_out)}: nothing is annotated there")
    return {name: build_loader(name) for name in names}


def _has_truth(records: Iterable[dict[str, Any]]) -> bool:
    maps = {"sem_seg_file_name", "pan_seg_file_name"}
    return any(record.get("annotations") or maps & record.keys() for record in records)


def build_validation_loader(cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
    """Build the loader of a validation loss: every image once, with its truth.

    Images are resized as for evaluation, and not augmented.

    Args:
        cfg: the config.
        dataset_name: a registered set.
    """
    plain = build_augmentation(cfg, False)
    mapper = build_project_mapper(cfg)
    if mapper is None:
        mapper = DatasetMapper(cfg, True, augmentations=plain, recompute_boxes=False)
    else:
        mapper.augmentations = AugmentationList(plain)
    loader: Iterable[Any] = build_detection_test_loader(
        cfg, dataset_name, mapper=_KeyedMapper(mapper)
    )
    return loader


class _KeyedMapper:
    """A mapper whose samples carry the key of the model's own draws."""

    def __init__(self, mapper: DatasetMapper) -> None:
        self._mapper = mapper

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        sample = self._mapper(dataset_dict)
        name = str(dataset_dict.get("image_id", dataset_dict["file_name"]))
        sample["draw_key"] = draw_key(DrawPurpose.VALIDATION_IMAGES, zlib.crc32(name.encode()))
        return sample
