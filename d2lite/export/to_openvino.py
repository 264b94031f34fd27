"""A detector's function as OpenVINO's .xml and .bin, by way of ONNX."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .function import DetectorFunction
from .metadata import KEY
from .packages import imported
from .to_onnx import export_onnx

__all__ = ["convert_onnx", "export_openvino"]


def export_openvino(
    function: DetectorFunction,
    path: str | Path,
    facts: Mapping[str, Any],
    shrink: Callable[[Path], None] | None = None,
) -> None:
    """Write the .xml, and the .bin beside it.

    Args:
        function: in evaluation mode, called before.
        path: of the .xml.
        facts: what the file says about itself, see `describe`.
        shrink: see `export_onnx`.

    Raises:
        MissingPackageError: if openvino, onnx or onnxscript is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        middle = Path(folder) / "model.onnx"
        export_onnx(function, middle, facts, shrink)
        convert_onnx(middle, path, facts)


def convert_onnx(source: str | Path, path: str | Path, facts: Mapping[str, Any]) -> None:
    """Write OpenVINO's files of an ONNX file.

    Args:
        source: of `export_onnx`.
        path: of the .xml.
        facts: what the file says about itself.

    Raises:
        MissingPackageError: if openvino is not installed.
    """
    openvino = imported("openvino")
    model = openvino.convert_model(source)
    model.set_rt_info(json.dumps(facts), [KEY])
    is_half = facts.get("precision") == "float16"
    openvino.save_model(model, path, compress_to_fp16=is_half)
