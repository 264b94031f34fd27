"""Optimizers and learning-rate schedules, as the configuration asks for them."""

from torch.optim.lr_scheduler import LRScheduler

from .build import build_lr_scheduler, build_optimizer, get_default_optimizer_params
from .lr_scheduler import (
    LRMultiplier,
    WarmupCosineLR,
    WarmupMultiStepLR,
    WarmupParamScheduler,
    WarmupPolyLR,
)

__all__ = [
    "LRMultiplier",
    "LRScheduler",
    "WarmupCosineLR",
    "WarmupMultiStepLR",
    "WarmupParamScheduler",
    "WarmupPolyLR",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
]
