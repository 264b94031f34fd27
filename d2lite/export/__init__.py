"""What is needed to export a model: so far, models as functions of tensors."""

from d2lite.utils.tracing import TracingAdapter

__all__ = ["TracingAdapter"]
