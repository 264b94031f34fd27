"""The data of the validation loss: evaluation sets as a model sees them in training, but plain."""

import logging
import weakref
import zlib
from collections.abc import Iterable
from typing import Any

from d2lite.config import CfgNode
from d2lite.data import DatasetCatalog, DatasetMapper, build_detection_test_loader
from d2lite.data.dataset_mapper import build_augmentation
from d2lite.utils.errors import ConfigError
from d2lite.utils.keyed_rng import DrawPurpose, draw_key

from .. import hooks
from ..defaults.built_run import BuiltRun

logger = logging.getLogger(__name__)


def build_validation_hook(trainer: BuiltRun) -> hooks.ValidationLoss | None:
    """Make the hook that measures validation losses; None if TEST.LOSS_PERIOD is 0.

    Args:
        trainer: its config and model are built already.

    Raises:
        ConfigError: if the period is negative or no set of DATASETS.TEST has annotations.
    """
    cfg = trainer.cfg
    period = cfg.TEST.LOSS_PERIOD
    if period < 0:
        raise ConfigError(f"TEST.LOSS_PERIOD={period} is no period; use 0 for no measurement.")
    if period == 0:
        return None
    names = [name for name in cfg.DATASETS.TEST if _has_truth(DatasetCatalog.get(name))]
    if not names:
        raise ConfigError(
            f"TEST.LOSS_PERIOD={period} asks for losses on DATASETS.TEST "
            f"{tuple(cfg.DATASETS.TEST)}, where nothing is annotated. Name a set with "
            "annotations, or use TEST.LOSS_PERIOD 0."
        )
    left_out = [name for name in cfg.DATASETS.TEST if name not in names]
    if left_out:
        logger.info(f"No validation loss on {', '.join(left_out)}: nothing is annotated there")
    loaders = {name: trainer.build_validation_loader(cfg, name) for name in names}
    weak, model = weakref.proxy(trainer), trainer.checkpointer.model

    def measure() -> dict[str, dict[str, float]]:
        with weak.evaluated_weights():
            context = weak._trainer._forward_context
            return {
                name: hooks.measure_losses(model, loader, forward_context=context)
                for name, loader in loaders.items()
            }

    return hooks.ValidationLoss(period, measure)


def _has_truth(records: Iterable[dict[str, Any]]) -> bool:
    return any(record.get("annotations") or "sem_seg_file_name" in record for record in records)


def build_validation_loader(cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
    """Build the loader of a validation loss: every image once, with its truth.

    Images are resized as for evaluation, and not augmented.

    Args:
        cfg: the config.
        dataset_name: a registered set.
    """
    plain = build_augmentation(cfg, False)
    mapper = DatasetMapper(cfg, True, augmentations=plain, recompute_boxes=False)
    return build_detection_test_loader(cfg, dataset_name, mapper=_KeyedMapper(mapper))


class _KeyedMapper:
    """A mapper whose samples say by which key the model draws about them."""

    def __init__(self, mapper: DatasetMapper) -> None:
        self._mapper = mapper

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        sample = self._mapper(dataset_dict)
        name = str(dataset_dict.get("image_id", dataset_dict["file_name"]))
        sample["draw_key"] = draw_key(DrawPurpose.VALIDATION_IMAGES, zlib.crc32(name.encode()))
        return sample
