"""The report of a run, and the analysis of results."""

from .analysis import Analysis, analyze, as_json, csv_tables
from .run_files import RunFacts, read_facts
from .write_report import write_run_report

__all__ = [
    "Analysis",
    "RunFacts",
    "analyze",
    "as_json",
    "csv_tables",
    "read_facts",
    "write_run_report",
]
