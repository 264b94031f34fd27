"""What a run reports: scalars, images, histograms, and the writers of them."""

from .csv_writer import CSVWriter
from .live_writer import LiveWriter
from .printer import CommonMetricPrinter
from .storage import (
    _CURRENT_STORAGE_STACK,
    EventStorage,
    get_event_storage,
    has_event_storage,
    log_image,
    log_scalars,
)
from .writers import EventWriter, JSONWriter, TensorboardXWriter

__all__ = [
    "_CURRENT_STORAGE_STACK",
    "CSVWriter",
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "LiveWriter",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
    "log_image",
    "log_scalars",
]
