"""Export a model of each kind in each format, and compare what the files give with the model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2lite.engine import setup_cfg
from d2lite.export import ExportedModel
from d2lite.export.comparison import Difference, Tolerance
from d2lite.export.export_model import make_function
from d2lite.export.exportable import export_fault
from d2lite.export.metadata import describe
from d2lite.export.to_onnx import export_onnx
from d2lite.export.to_openvino import convert_onnx
from d2lite.export.to_torch import export_torch
from d2lite.modeling import build_model
from tests.export.images import black_image, differences
from tests.modeling.small_detectors import fill, images_of

from .models import MODELS
from .table import WORKS, Row

FILES = {"ONNX": "model.onnx", "OpenVINO": "model.xml", "torch": "model.pt2"}
# What is compared, and the digits that are shown.
MEASURES = {"score": 5, "box": 3, "mask": 3, "keypoint": 3, "pixels": 4}
COLUMNS = (*FILES, "MB", "scores", "boxes", "masks", "keypoints", "equal pixels")
_SIZES = [(96, 130), (70, 50), (80, 64)]
_SIDE = 130
_KEYPOINT = 0.1
# Probabilities of random masks lie around the threshold.
_TOLERANCE = Tolerance(mask=0.25)


def export_cells(name: str, folder: Path) -> Row:
    """Whether each format works with a model, the size of OpenVINO's files, and the differences.

    Raises:
        AssertionError: if a file differs from the model.
    """
    model = MODELS[name]
    cfg = setup_cfg(model.recipe, [*model.options, "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    fault = export_fault(cfg)
    if fault:
        return dict.fromkeys(FILES, f"refused: {fault}") | dict.fromkeys(COLUMNS[len(FILES) :], "")
    torch.manual_seed(0)
    detector = lively(build_model(cfg), name)
    _write(cfg, detector, folder)
    rows = [row for file in FILES.values() for row in _compared(cfg, detector, folder / file)]
    size = sum(path.stat().st_size for path in (folder / "model.xml", folder / "model.bin")) / 1e6
    facts = [f"{size:.1f}", *_largest(rows)]
    return dict.fromkeys(FILES, WORKS) | dict(zip(COLUMNS[len(FILES) :], facts, strict=True))


def lively(model: nn.Module, name: str) -> nn.Module:
    """Random weights with which a model finds something, and scores and boxes differ."""
    fill(model)
    with torch.no_grad():
        for key, weights in model.named_parameters():
            weights += torch.randn_like(weights) * 0.02
            # At the start most classes have a probability of 0.01.
            if key.endswith("bias") and weights.max() < -1.5:
                weights.fill_(-1.0)
    _PREPARE.get(name, lambda model: None)(model)
    return model


def _small_predictions(factor: float, *names: str) -> Callable[[Any], None]:
    """Without a training the maps of VGG and Darknet are large, and all scores are 0 or 1."""

    def prepare(model: Any) -> None:
        for layer in (layer for name in names for layer in getattr(model.head, name)):
            layer.weight.data *= factor
            layer.bias.data.zero_()

    return prepare


def _differing_scores(model: Any) -> None:
    """At the start all scores of YOLOX are near 0.0001; and it sees pixels of 0 to 255."""
    model.backbone.bottom_up.stem.conv.conv.weight.data /= 255
    for layer in (*model.head.cls_preds, *model.head.obj_preds):
        layer.weight.data *= 30
        layer.bias.data.zero_()


_PREPARE: dict[str, Callable[[Any], None]] = {
    "SSD": _small_predictions(0.01, "cls_convs", "reg_convs"),
    "YOLOv3": _small_predictions(0.003, "convs_pred"),
    "YOLOX": _differing_scores,
}


def _write(cfg: Any, model: nn.Module, folder: Path) -> None:
    function = make_function(cfg, model)
    folder.mkdir(exist_ok=True)
    onnx = folder / FILES["ONNX"]
    export_onnx(function, onnx, describe(cfg, function, "onnx"))
    convert_onnx(onnx, folder / FILES["OpenVINO"], describe(cfg, function, "openvino"))
    export_torch(function, folder / FILES["torch"], describe(cfg, function, "torch"))


def _compared(cfg: Any, model: nn.Module, path: Path) -> list[Difference]:
    """Several sizes, batches of one and three, an empty image, and an image after it."""
    file = ExportedModel(path)
    large, small, other = images_of(_SIZES)
    rows = []
    for batch in ([large], [black_image()], [other], [large, small, black_image()]):
        found = differences(cfg, model, file, batch, best=8)
        for item, row in zip(batch, found, strict=True):
            assert row.detections > 2 or row.pixels is not None or not item["image"].any(), row
            assert not row.faults(_TOLERANCE, _SIDE), (path.name, row)
            assert (row.keypoint or 0) < _KEYPOINT, (path.name, row)
        rows += found
    return rows


def _largest(rows: list[Difference]) -> list[str]:
    """The largest differences; the smallest share of pixels."""
    shown = []
    for measure, digits in MEASURES.items():
        values = [getattr(row, measure) for row in rows if getattr(row, measure) is not None]
        has_objects = any(row.detections for row in rows)
        if not values or (measure in ("score", "box") and not has_objects):
            shown.append("")
        else:
            worst = min(values) if measure == "pixels" else max(values)
            shown.append(f"{worst:.{digits}f}")
    return shown
