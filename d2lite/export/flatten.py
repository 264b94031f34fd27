"""The published address of `TracingAdapter` and of what it is made of."""

from d2lite.utils.tracing import Schema, TracingAdapter, flatten_to_tuple

__all__ = ["Schema", "TracingAdapter", "flatten_to_tuple"]
