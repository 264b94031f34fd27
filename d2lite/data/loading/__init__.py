"""Loaders: worker processes, batches and their order."""

from .batch_loader import build_batch_data_loader
from .loader import (
    Collate,
    ReportingLoader,
    StreamLoader,
    trivial_batch_collator,
    worker_init_reset_seed,
)

__all__ = [
    "Collate",
    "ReportingLoader",
    "StreamLoader",
    "build_batch_data_loader",
    "trivial_batch_collator",
    "worker_init_reset_seed",
]
