"""An exported file, run as a function of arrays by the library of its format."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d2lite.utils.errors import MissingFileError, UserError, WeightsError

from .metadata import KEY, read_description
from .packages import imported

__all__ = ["EXPORTED_SUFFIXES", "Session", "open_session"]

EXPORTED_SUFFIXES = (".onnx", ".xml", ".pt2")


class Session:
    """A loaded file.

    Attributes:
        facts: what the file says about itself, see `describe`.
    """

    facts: Mapping[str, Any]

    def __call__(self, images: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """Detect; see `DetectorFunction.forward` for the arrays."""
        found = self._run(images, sizes)
        return dict(zip(self.facts["outputs"], found, strict=True))

    def _run(self, images: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
        raise NotImplementedError


class _OnnxSession(Session):
    def __init__(self, path: Path, threads: int) -> None:
        onnxruntime = imported("onnxruntime")
        found = set(onnxruntime.get_available_providers())
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=[name for name in wanted if name in found]
        )
        text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        self.facts = read_description(text, path)

    def _run(self, images: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
        given = {"images": images, "sizes": sizes}
        found: list[np.ndarray] = self._session.run(list(self.facts["outputs"]), given)
        return found


class _OpenVinoSession(Session):
    def __init__(self, path: Path, threads: int) -> None:
        openvino = imported("openvino")
        model = openvino.Core().read_model(path)
        known = model.has_rt_info([KEY])
        self.facts = read_description(model.get_rt_info([KEY]).astype(str) if known else None, path)
        # By default it computes in half precision where the processor can.
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self._model = openvino.compile_model(model, "CPU", options)

    def _run(self, images: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
        found = self._model({"images": images, "sizes": sizes})
        return [np.array(found[name]) for name in self.facts["outputs"]]


class _TorchSession(Session):
    def __init__(self, path: Path, threads: int) -> None:
        if not zipfile.is_zipfile(path):  # torch would log a trace of its own
            raise zipfile.BadZipFile("it is not a zip archive")
        texts = {f"{KEY}.json": ""}
        program = torch.export.load(path, extra_files=texts)
        self.facts = read_description(texts[f"{KEY}.json"], path)
        self._module = program.module()

    def _run(self, images: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            found = self._module(torch.from_numpy(images), torch.from_numpy(sizes))
        return [tensor.numpy() for tensor in found]


_KINDS = {".onnx": _OnnxSession, ".xml": _OpenVinoSession, ".pt2": _TorchSession}


def open_session(path: str | Path, *, threads: int = 0) -> Session:
    """Load an exported file.

    Args:
        path: .onnx, .xml (OpenVINO, its .bin beside it) or .pt2.
        threads: of onnxruntime or OpenVINO; 0 lets them choose. A .pt2 has those of torch.

    Raises:
        MissingFileError: if it is not there.
        MissingPackageError: if the library of the format is not installed.
        WeightsError: for a file that was not written by `d2lite export`, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no exported file {path}.")
    if path.suffix not in _KINDS:
        raise WeightsError(f"{path}: exported files end in {', '.join(EXPORTED_SUFFIXES)}.")
    try:
        return _KINDS[path.suffix](path, threads)
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # each library has errors of its own
        raise WeightsError(
            f"{path} is damaged, cut off or not an exported file: {_first_line(error)}. Export the "
            "model again: d2lite export RUN."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0][:300].rstrip(".")
