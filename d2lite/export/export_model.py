"""export_model: a trained model as one file, with a proof beside it."""

import copy
import importlib.util
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2lite.config import CfgNode
from d2lite.data.dataset_mapper import build_augmentation
from d2lite.engine import DefaultPredictor, DefaultTrainer
from d2lite.engine.defaults import require_test_sets
from d2lite.utils.argument_types import check_types
from d2lite.utils.errors import ExportError, MissingPackageError
from d2lite.utils.file_io import make_folder, whole_files, write_json_file

from .comparison import HALF_TOLERANCE, INT8_TOLERANCE, Tolerance
from .exportable import export_fault
from .exported_model import ExportedModel
from .function import DetectorFunction, fold_batch_norms_
from .metadata import describe
from .preprocessing import Resize, resize_of
from .program import example_inputs
from .proof import as_given, find_images, prove
from .session import EXPORTED_SUFFIXES
from .smaller import CALIBRATION_IMAGES, calibration_images, halve_weights, quantize
from .to_onnx import export_onnx
from .to_openvino import export_openvino
from .to_torch import export_torch
from .torchscript_file import export_torchscript
from .write_runner import write_runner

__all__ = ["FORMATS", "export_model"]

logger = logging.getLogger(__name__)

Writer = Callable[..., None]

FORMATS = ("onnx", "torch", "openvino")
_FILES: dict[str, tuple[str, Writer]] = {
    "onnx": ("model.onnx", export_onnx),
    "torch": ("model.pt2", export_torch),
    "openvino": ("model.xml", export_openvino),
}
_TOLERANCES = {"float32": Tolerance(), "float16": HALF_TOLERANCE, "int8": INT8_TOLERANCE}
_PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


def export_model(
    cfg: CfgNode,
    output: str | Path,
    *,
    to: str = "onnx",
    paste_masks: bool = False,
    resize: bool = True,
    data: str | None = None,
    num_images: int = 20,
    with_runner: bool = False,
    half: bool = False,
    int8: str | None = None,
    method: str = "tracing",
    sample_image: str | Path | None = None,
    run_eval: bool = False,
) -> dict[str, Any]:
    """Write a model as a file that takes 8-bit images and gives results, and prove it.

    Args:
        cfg: of the model, with MODEL.WEIGHTS.
        output: the folder of `model.onnx` (or .pt2, .xml and .bin) and `proof.json`.
        to: "onnx", "torch" or "openvino"; or "torchscript", see `export_torchscript`.
        paste_masks: give masks in the pixels of the images.
        resize: resize as evaluation does, inside of the file.
        data: dataset of the proof; see `find_images`.
        num_images: images of the proof.
        with_runner: add what the folder needs to run without this package, see `write_runner`.
        half: store weights in float16; the file computes in float32.
        int8: a dataset; convolutions compute in 8 bits, in ranges taken from its first images.
        method: of "torchscript", "tracing" or "scripting".
        sample_image: of "torchscript", an image to trace with.
        run_eval: evaluate the file on DATASETS.TEST as well.

    Returns:
        What `proof.json` holds, and `evaluation` with `run_eval`.

    Raises:
        ExportError: if the model cannot be exported; nothing is written then.
        UserError: if a dataset is not there, or the folder cannot be written.
        MissingPackageError: if a package of the format is not installed.
    """
    check_types(export_model, locals())
    _check_options(to, Path(output), with_runner=with_runner, half=half, int8=bool(int8))
    if num_images < 1:
        raise ExportError(f"--num-images is {num_images}; the proof needs 1 or more.")
    cfg = _export_config(cfg, to, resize=resize)
    precision = "float16" if half else "int8" if int8 else "float32"
    # What the last steps need is looked for now: the first ones take long.
    _require_packages(to, int8=bool(int8))
    images = find_images(cfg, data, num_images)
    ranges = find_images(cfg, int8, CALIBRATION_IMAGES)[1] if int8 else []
    if run_eval:
        require_test_sets(cfg)
    folder = Path(output)
    if to != "torchscript":
        make_folder(folder, "--output")
    predictor = DefaultPredictor(cfg)
    cfg, model = predictor.cfg, predictor.model
    if to == "torchscript":
        path = folder / "model.ts"
        sample = str(sample_image or images[1][0]["file_name"])
        exported: nn.Module = export_torchscript(cfg, model, path, method, sample)
    else:
        path = folder / _FILES[to][0]
        function = make_function(cfg, model, paste_masks=paste_masks, resize=resize)
        facts = {**describe(cfg, function, to), "precision": precision}
        write = _writer(to, precision, cfg, ranges, resize=resize)
        _write(write, function, path, facts)
        if with_runner:
            write_runner(path, facts)
        exported = ExportedModel(path)
    (folder / "proof.json").unlink(missing_ok=True)  # of the file that was there before
    logger.info(f"Comparing {path} with the model")
    found = prove(
        cfg,
        model,
        exported,
        _TOLERANCES[precision],
        images=images,
        in_batches=to != "torchscript",
        resizes=resize or to == "torchscript",
    )
    proof = {"file": path.name, **found}
    if run_eval:
        proof["evaluation"] = DefaultTrainer.test(cfg, exported)
    write_json_file(folder / "proof.json", proof, indent=1)
    return proof


def _export_config(cfg: CfgNode, to: str, *, resize: bool) -> CfgNode:
    """The config that the model is made of; refused where the model cannot be exported."""
    cfg = cfg.clone()
    cfg.defrost()
    # The file runs on any device; it is recorded on the one that all machines have.
    cfg.MODEL.DEVICE = "cpu"
    fault = export_fault(cfg, resize=resize) if to != "torchscript" else None
    if fault:
        raise ExportError(fault)
    return cfg


def _writer(to: str, precision: str, cfg: CfgNode, ranges: list[Any], *, resize: bool) -> Writer:
    """What writes the file; for 8 bits with the ranges of images, as they come into the file."""
    write = _FILES[to][1]
    if precision == "float16":
        return partial(write, shrink=halve_weights)
    if precision == "int8":
        inputs = calibration_images(as_given(cfg) if resize else cfg, ranges)
        return partial(write, shrink=partial(quantize, images=inputs))
    return write


def _check_options(to: str, folder: Path, *, with_runner: bool, half: bool, int8: bool) -> None:
    if to not in (*FORMATS, "torchscript"):
        raise ExportError(f"There is no format {to!r}; choose one of {', '.join(FORMATS)}.")
    if folder.suffix in EXPORTED_SUFFIXES:
        raise ExportError(
            f"--output is the folder of several files, and {folder} looks like one of them. Use "
            f"--output {folder.with_suffix('')}."
        )
    if with_runner and to.startswith("torch"):
        raise ExportError(
            f"--with-runner makes a folder that needs no torch, and a file of {to} needs it. "
            "Use --to onnx or openvino."
        )
    if (half or int8) and to not in ("onnx", "openvino"):
        raise ExportError(f"--half and --int8 need --to onnx or openvino, and not {to}.")
    if half and int8:
        raise ExportError("Give --half or --int8, not both: 8 bits are fewer than 16.")


def _require_packages(to: str, *, int8: bool) -> None:
    needed = {*_PACKAGES.get(to, ()), *(("onnxruntime",) if int8 else ())}
    missing = sorted(name for name in needed if importlib.util.find_spec(name) is None)
    if missing:
        raise MissingPackageError(
            f"Exporting to {to} needs {', '.join(missing)}: pip install 'd2lite[export]'"
        )


def _write(write: Writer, function: DetectorFunction, path: Path, facts: dict[str, Any]) -> None:
    logger.info(f"Exporting {facts['architecture']} to {path}")
    try:
        with whole_files(path.parent) as place:
            write(function, place / path.name, facts)
    except RuntimeError as error:
        raise ExportError(
            f"{facts['architecture']} cannot be exported to {facts['format']}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def make_function(
    cfg: CfgNode, model: Any, *, paste_masks: bool = False, resize: bool = True
) -> DetectorFunction:
    """The function of a model, called once.

    Args:
        cfg: its INPUT counts.
        model: in evaluation mode; it is not changed.
        paste_masks: see `export_model`.
        resize: likewise.

    Raises:
        ExportError: if the model has no fixed-size form.
    """
    if not hasattr(model, "predict_padded"):
        raise ExportError(f"{type(model).__name__} has no fixed-size form.")
    steps = build_augmentation(cfg, is_train=False)
    limits = resize_of(steps) if resize else Resize()
    own = fold_batch_norms_(copy.deepcopy(model)).eval().requires_grad_(False)
    function = DetectorFunction(own, limits, paste_masks=paste_masks).eval()
    with torch.no_grad():
        function(*example_inputs(len(model.pixel_mean)))
    return function
