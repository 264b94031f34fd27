"""Models as files for other libraries, with a proof that they give the same results."""

from d2lite.utils.tracing import TracingAdapter

from .export_model import FORMATS, export_model
from .exported_model import ExportedModel
from .function import DetectorFunction
from .session import EXPORTED_SUFFIXES, Session, open_session

__all__ = [
    "EXPORTED_SUFFIXES",
    "FORMATS",
    "DetectorFunction",
    "ExportedModel",
    "Session",
    "TracingAdapter",
    "export_model",
    "open_session",
]
