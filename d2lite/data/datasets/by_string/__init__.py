"""Datasets named by one string, such as coco:labels.json@photos."""

from .registration import register_spec
from .spec_string import DatasetSpec, parse_spec

__all__ = [
    "DatasetSpec",
    "parse_spec",
    "register_spec",
]
