"""Models as files for other libraries, with a proof that they give the same results."""

from .api import Caffe2Model, Caffe2Tracer, add_export_config
from .export_model import FORMATS, export_model
from .exported_model import ExportedModel
from .flatten import TracingAdapter
from .function import DetectorFunction
from .session import EXPORTED_SUFFIXES, Session, open_session
from .to_onnx import STABLE_ONNX_OPSET_VERSION
from .torchscript import dump_torchscript_IR, scripting_with_instances

__all__ = [
    "EXPORTED_SUFFIXES",
    "FORMATS",
    "STABLE_ONNX_OPSET_VERSION",
    "Caffe2Model",
    "Caffe2Tracer",
    "DetectorFunction",
    "ExportedModel",
    "Session",
    "TracingAdapter",
    "add_export_config",
    "dump_torchscript_IR",
    "export_model",
    "open_session",
    "scripting_with_instances",
]
