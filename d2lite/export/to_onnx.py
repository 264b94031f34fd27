"""A detector's function as an ONNX file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d2lite.layers import DeformConv, ModulatedDeformConv
from d2lite.layers.deform_sampling import deform_conv_by_sampling
from d2lite.layers.nms_mask import one_node_nms

from .function import DetectorFunction
from .metadata import KEY
from .packages import imported
from .program import record_program

__all__ = ["STABLE_ONNX_OPSET_VERSION", "export_onnx"]

# Under detectron2's name, which copies of its export script import.
STABLE_ONNX_OPSET_VERSION = 18

_LOWEST = -1e30
_ALL_BOXES = 2**31 - 1


def _nms_translation() -> Callable[..., Any]:
    """What makes ONNX of the operator `d2lite::nms_mask`.

    A group is a class of `NonMaxSuppression`, so nothing is shifted and float32 is exact enough.
    """
    onnx, op = imported("onnx"), imported("onnxscript").opset18

    def translate(
        boxes: Any, scores: Any, groups: Any, iou_threshold: float, num_groups: int
    ) -> Any:
        column = onnx.numpy_helper.from_array(np.arange(num_groups).reshape(1, num_groups, 1))
        is_of_class = op.Equal(op.Unsqueeze(groups, [1]), op.Constant(value=column))
        ranked = op.Where(is_of_class, op.Unsqueeze(scores, [1]), 2 * _LOWEST)
        # Rows of (image, class, box).
        found = op.NonMaxSuppression(boxes, ranked, _ALL_BOXES, iou_threshold, _LOWEST)
        place = op.Gather(found, [0, 2], axis=1)
        ones = op.Expand(op.Constant(value_int=1), op.Shape(place, start=0, end=1))
        return op.Cast(op.ScatterND(op.Mul(groups, 0), place, ones), to=onnx.TensorProto.BOOL)

    return translate


def _split_translation() -> Callable[..., Any]:
    """`split` as slices: OpenVINO splits only an axis whose length it can see in the graph."""
    op = imported("onnxscript").opset18

    def translate(x: Any, size: int, dim: int = 0) -> list[Any]:
        starts = range(0, x.shape[dim], size)
        return [op.Slice(x, [start], [start + size], [dim]) for start in starts]

    return translate


def export_onnx(
    function: DetectorFunction,
    path: str | Path,
    facts: Mapping[str, Any],
    shrink: Callable[[Path], None] | None = None,
) -> None:
    """Write the file.

    Args:
        function: in evaluation mode, called before.
        path: of the file.
        facts: what the file says about itself, see `describe`.
        shrink: makes the file smaller, see `halve_weights` and `quantize`.

    Raises:
        MissingPackageError: if onnx or onnxscript is not installed.
    """
    translations: dict[Callable[..., Any], Callable[..., Any]] = {
        torch.ops.d2lite.nms_mask.default: _nms_translation(),
        torch.ops.aten.split.Tensor: _split_translation(),
    }
    with one_node_nms():
        program = record_program(function, int(facts["input"]["count"]))
    if any(isinstance(part, DeformConv | ModulatedDeformConv) for part in function.modules()):
        # Opset 18 has no deformable convolution.
        deformed = torch.ops.torchvision.deform_conv2d.default
        program = program.run_decompositions({deformed: deform_conv_by_sampling})
    # The optimizer takes longer than the export, and onnxruntime and OpenVINO optimize themselves.
    exported = torch.onnx.export(
        program,
        (),
        dynamo=True,
        optimize=False,
        verbose=False,
        opset_version=STABLE_ONNX_OPSET_VERSION,
        input_names=["images", "sizes"],
        output_names=list(function.output_names),
        custom_translation_table=translations,
    )
    assert exported is not None
    # Where each node comes from: a megabyte or more, with paths of this machine.
    for node in exported.model.graph.all_nodes():
        node.metadata_props.clear()
    exported.model.metadata_props[KEY] = json.dumps(facts)
    exported.model.metadata_props["version"] = str(facts["version"])
    exported.save(str(path))
    if shrink is not None:
        shrink(Path(path))
