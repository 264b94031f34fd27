"""The published address of `TracingAdapter` and of what it is made of."""

from d2lite.utils.tracing import Schema, TracingAdapter
from d2lite.utils.tracing import flatten as flatten_to_tuple

__all__ = ["Schema", "TracingAdapter", "flatten_to_tuple"]
