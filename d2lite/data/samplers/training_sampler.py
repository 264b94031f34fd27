"""The sampler of a training, as a configuration names it."""

import logging
from typing import Any

import torch
from torch.utils.data import IterableDataset, Sampler

from d2lite.config import CfgNode
from d2lite.utils.errors import ConfigError

from . import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)

logger = logging.getLogger(__name__)


def seed_of(cfg: CfgNode) -> int | None:
    """SEED, or None where each run draws another."""
    return cfg.SEED if cfg.SEED >= 0 else None


def training_sampler(cfg: CfgNode, dataset: Any) -> Sampler[Any] | None:
    """The sampler that DATALOADER.SAMPLER_TRAIN names."""
    if isinstance(dataset, IterableDataset):
        return None
    name, seed = cfg.DATALOADER.SAMPLER_TRAIN, seed_of(cfg)
    # A dataset of the caller's own has other parts than DATASETS.TRAIN, if any.
    is_repeated = len(cfg.DATASETS.TRAIN_REPEATS) > 0 and isinstance(dataset, list)
    logger.info("Training sampler: %s over %d images", name, len(dataset))
    repeats = torch.tensor([r.get("repeat_factor", 1.0) for r in dataset] if is_repeated else [])
    if name == "TrainingSampler":
        if is_repeated:
            return RepeatFactorTrainingSampler(repeats, seed=seed)
        return TrainingSampler(len(dataset), seed=seed)
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
        return RepeatFactorTrainingSampler(factors * repeats if is_repeated else factors, seed=seed)
    if name == "RandomSubsetTrainingSampler":
        if is_repeated:
            raise ConfigError(
                "RandomSubsetTrainingSampler does not go with DATASETS.TRAIN_REPEATS. Draw the "
                "share by the dataset string, as in 'coco:a.json?fraction=0.1', and leave "
                "DATALOADER.SAMPLER_TRAIN as it is."
            )
        ratio = cfg.DATALOADER.get("RANDOM_SUBSET_RATIO", None)
        if ratio is None:
            raise ConfigError(
                "DATALOADER.SAMPLER_TRAIN RandomSubsetTrainingSampler needs "
                "DATALOADER.RANDOM_SUBSET_RATIO, the share of the images to use."
            )
        return RandomSubsetTrainingSampler(len(dataset), ratio, seed_shuffle=seed, seed_subset=seed)
    raise ConfigError(
        f"DATALOADER.SAMPLER_TRAIN is {name!r}; known are TrainingSampler, "
        "RepeatFactorTrainingSampler and RandomSubsetTrainingSampler. Give a sampler of your own "
        "as build_detection_train_loader(cfg, sampler=...)."
    )
