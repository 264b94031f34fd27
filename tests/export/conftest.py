"""One small Mask R-CNN in each format, exported once for all tests."""

import pytest
import torch

from d2lite.export import open_session
from d2lite.export.export_model import make_function
from d2lite.export.metadata import describe
from d2lite.export.to_onnx import export_onnx
from d2lite.export.to_openvino import convert_onnx
from d2lite.export.to_torch import export_torch
from d2lite.modeling import build_model
from tests.modeling.small_detectors import fill, images_of, small_config

from .images import SIZES, black_image


@pytest.fixture(scope="session")
def made():
    """Configuration, a model that finds nothing in a black image, and its function."""
    torch.manual_seed(0)
    cfg = small_config("mask")
    model = fill(build_model(cfg))
    model.class_names = ["a", "b", "c", "d", "e"]
    _see_nothing_in_black_(model)
    return cfg, model, make_function(cfg, model)


def _see_nothing_in_black_(model):
    """Let the score of the background fall along what textures have and a black image lacks."""
    predictor = model.roi_heads.box_predictor
    seen = []
    hook = predictor.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model([black_image()])
        model(images_of(SIZES))
    hook.remove()
    black, textures = seen
    direction = textures.mean(dim=0) - black.mean(dim=0)
    most = (black @ direction).max()
    direction = direction * 10 / (textures.mean(dim=0) @ direction - most)
    predictor.cls_score.weight.data[-1] -= direction
    predictor.cls_score.bias.data[-1] += (black @ direction).max() + 5


@pytest.fixture(scope="session")
def onnx_file(made, tmp_path_factory):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    cfg, _, function = made
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(function, path, describe(cfg, function, "onnx"))
    return path


@pytest.fixture(
    scope="session", params=["onnx", "openvino", pytest.param("torch", marks=pytest.mark.slow)]
)
def exported_file(request, made, tmp_path_factory):
    """The file of each format."""
    if request.param == "torch":
        cfg, _, function = made
        path = tmp_path_factory.mktemp("torch") / "model.pt2"
        export_torch(function, path, describe(cfg, function, "torch"))
        return path
    source = request.getfixturevalue("onnx_file")
    if request.param == "onnx":
        return source
    pytest.importorskip("openvino")
    path = tmp_path_factory.mktemp("openvino") / "model.xml"
    convert_onnx(source, path, open_session(source).facts)
    return path
