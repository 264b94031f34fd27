"""Smaller files: weights in half precision, or 8-bit convolutions, by the tools of onnxruntime."""

import copy
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2lite.config import CfgNode
from d2lite.data import DatasetMapper

from .packages import imported

__all__ = ["CALIBRATION_IMAGES", "calibration_images", "halve_weights", "quantize"]

CALIBRATION_IMAGES = 64
"""From so many images the ranges of activations are taken."""

# Smaller tensors are biases, anchors and thresholds.
_LEAST_WEIGHTS = 1024
# Layers that take most of the time. Boxes are decoded and images resized in float32.
_QUANTIZED = ("Conv", "ConvTranspose", "Gemm")
# Results are chosen by these, so layers whose output goes nowhere else are the last of a network.
_CHOOSING = {
    *("ArgMax", "Gather", "GatherElements", "GatherND", "NonMaxSuppression", "NonZero"),
    *("ScatterND", "Shape", "TopK"),
}


def halve_weights(path: Path) -> None:
    """Store the weights of an ONNX file in float16, in place; it computes in float32.

    Args:
        path: of the file.

    Raises:
        MissingPackageError: if onnx is not installed.
    """
    onnx = imported("onnx")
    model = onnx.load(str(path))
    casts = []
    for weights in list(model.graph.initializer):
        values = onnx.numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < _LEAST_WEIGHTS:
            continue
        name = weights.name
        half = values.clip(np.finfo(np.float16).min, np.finfo(np.float16).max).astype(np.float16)
        weights.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}_half"))
        to = onnx.TensorProto.FLOAT
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=to))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(path))


def quantize(path: Path, images: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Make the convolutions of an ONNX file compute in 8 bits, in place.

    The first and the last layers stay in float32: in 8 bits they lost 0.9 AP of boxes (fruit_nuts).

    Args:
        path: of the file.
        images: inputs of the file, from which the ranges of activations are taken.

    Raises:
        MissingPackageError: if onnxruntime is not installed.
    """
    tools = imported("onnxruntime.quantization")

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._items: Iterator[Any] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            item = next(self._items, None)
            return None if item is None else {"images": item[0], "sizes": item[1]}

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        path.replace(source)
        # A convolution is quantized whole only if its batch norm is in it and its bias a constant.
        tools.shape_inference.quant_pre_process(
            str(source), str(source), skip_symbolic_shape=True, skip_onnx_shape=True
        )
        tools.quantize_static(
            str(source),
            str(path),
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_exclude=_first_and_last(imported("onnx").load(str(source)).graph),
            per_channel=True,
            reduce_range=False,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
        )


def _first_and_last(graph: Any) -> list[str]:
    """Names of the layers that see the image, and of those that give scores, boxes and masks."""
    users = defaultdict(list)
    for node in graph.node:
        for place, name in enumerate(node.input):
            users[name].append((node, place))

    def next_layers(names: Iterable[str]) -> list[str]:
        found: list[str] = []
        to_do, seen = list(names), set()
        while to_do:
            for node, place in users[to_do.pop()]:
                # The second input of RoiAlign is boxes.
                is_end = node.op_type in _CHOOSING or (node.op_type == "RoiAlign" and place > 0)
                if is_end or node.output[0] in seen:
                    continue
                seen.add(node.output[0])
                if node.op_type in _QUANTIZED:
                    found.append(node.name)
                else:
                    to_do.extend(node.output)
        return found

    layers = [node for node in graph.node if node.op_type in _QUANTIZED]
    last = [node.name for node in layers if not next_layers(node.output)]
    return [*next_layers(["images"]), *last]


def calibration_images(
    cfg: CfgNode, records: Sequence[dict[str, Any]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs of an exported file, for `quantize`.

    Args:
        cfg: how images are prepared.
        records: of a dataset.
    """
    mapper = DatasetMapper(cfg, False)
    for record in records:
        image = mapper(copy.deepcopy(record))["image"].numpy()
        yield image[None], np.array([image.shape[1:]], dtype=np.int64)
