"""Datasets from one format into another."""

from .convert import convert, write_set
from .labelled_set import LabelledSet, load_labelled_set, merge, select, split

__all__ = [
    "LabelledSet",
    "convert",
    "load_labelled_set",
    "merge",
    "select",
    "split",
    "write_set",
]
