"""The files of `d2lite export`, on the same tensors as the model that they were made of."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from d2lite.config import CfgNode
from d2lite.export import ExportedModel, open_session
from d2lite.export.export_model import make_function
from d2lite.export.exportable import export_fault
from d2lite.export.metadata import describe
from d2lite.export.smaller import quantize
from d2lite.export.to_onnx import export_onnx
from d2lite.export.to_openvino import convert_onnx
from d2lite.export.to_torch import export_torch
from d2lite.utils.errors import ConfigError, ExportError

from .clock import Side
from .our_side import predicting_side

__all__ = ["EXPORTED", "exported_sides"]

EXPORTED = ("onnxruntime", "openvino", "torch", "onnxruntime-int8", "openvino-int8")


def exported_sides(
    cfg: CfgNode, model: nn.Module, batch: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[Side]:
    """Make files of a model, and a side of each. Masks are pasted, and nothing is resized.

    Args:
        cfg: of the model, with the keys of a YAML config.
        model: on the CPU; it is not changed.
        batch: samples that the model gets; ranges of 8 bits are taken from them.
        names: of `EXPORTED`.

    Returns:
        Sides with the size of the file among their facts, in as many threads as torch has.

    Raises:
        ConfigError: for another device.
        ExportError: if the model cannot be exported.
        MissingPackageError: if a package of the format is not installed.
    """
    if cfg.MODEL.DEVICE != "cpu":
        raise ConfigError(f"--against {','.join(names)} measures on the CPU; add --device cpu.")
    fault = export_fault(cfg, resize=False)
    if fault:
        raise ExportError(fault)
    function = make_function(cfg, model.eval(), paste_masks=True, resize=False)
    sides = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        whole, small = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
        facts = describe(cfg, function, "onnx")
        if set(names) - {"torch"}:
            export_onnx(function, whole, facts)
        if any(name.endswith("-int8") for name in names):
            shutil.copy(whole, small)
            images = [item["image"].numpy()[None] for item in batch]
            quantize(small, [(image, np.array([image.shape[2:]])) for image in images])
        for name in names:
            path = weights = small if name.endswith("-int8") else whole
            if name == "torch":
                path = weights = Path(folder) / "model.pt2"
                export_torch(function, path, facts)
            elif name.startswith("openvino"):
                path, weights = path.with_suffix(".xml"), path.with_suffix(".bin")
                convert_onnx(path.with_suffix(".onnx"), path, facts)
            file = ExportedModel(open_session(path, threads=torch.get_num_threads()))
            side = replace(predicting_side(cfg, file, batch), name=name)
            side.facts["size of the weights, MB"] = weights.stat().st_size / 1e6
            sides.append(side)
    return sides
