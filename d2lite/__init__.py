"""d2lite: the detection and instance-segmentation library that detectron2 users move to."""

import importlib
from typing import Any

from .utils.threads import limit_number, limit_spinning

__version__ = "0.1.0"

limit_number()
limit_spinning()


def __getattr__(name: str) -> Any:
    """Load `Model` when it is first asked for: it needs torch, and `import d2lite` does not."""
    if name == "Model":
        return importlib.import_module("d2lite.model").Model
    raise AttributeError(f"module 'd2lite' has no attribute {name!r}")
