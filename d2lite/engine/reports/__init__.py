"""What a run reports: its closing summary, pictures, steps that were not finite."""

from .nonfinite_report import read_report, write_report
from .replay import load_reported_batch, measure_batch
from .run_report import report_run
from .sample_pictures import draw_sample
from .start import describe_run, memory_in_use
from .summary import log_summary, save_pictures

__all__ = [
    "describe_run",
    "draw_sample",
    "load_reported_batch",
    "log_summary",
    "measure_batch",
    "memory_in_use",
    "read_report",
    "report_run",
    "save_pictures",
    "write_report",
]
