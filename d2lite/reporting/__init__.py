"""The report of a run, and the analysis of results."""

from .analysis import Analysis, analyze, as_json, csv_tables

__all__ = ["Analysis", "analyze", "as_json", "csv_tables"]
