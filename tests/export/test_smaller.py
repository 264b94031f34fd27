"""Half and 8-bit files are smaller, and their proof has the AP of both."""

import json

import numpy as np
import pytest

from d2lite.export import export_model, open_session
from d2lite.export.comparison import HALF_TOLERANCE, compare_results
from d2lite.export.export_model import make_function
from d2lite.export.exported_model import ExportedModel
from d2lite.export.metadata import describe
from d2lite.export.proof import find_images
from d2lite.export.smaller import CALIBRATION_IMAGES, calibration_images, halve_weights, quantize
from d2lite.export.to_onnx import export_onnx
from d2lite.modeling import build_model
from d2lite.utils.errors import ExportError
from tests.modeling.small_detectors import images_of, small_config, small_detector


@pytest.mark.slow
def test_smaller_files_find_the_same_objects(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    cfg, model = small_config("retinanet"), small_detector("retinanet")
    function = make_function(cfg, model)
    paths = [tmp_path / f"{name}.onnx" for name in ("whole", "half", "int8")]
    export_onnx(function, paths[0], describe(cfg, function, "onnx"))
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    halve_weights(paths[1])
    quantize(
        paths[2],
        [(x["image"].numpy()[None], np.array([[96, 128]])) for x in images_of([(96, 128)] * 4)],
    )
    whole, half, int8 = (path.stat().st_size for path in paths)
    assert half < 0.7 * whole
    assert int8 < 0.6 * whole
    batch = images_of([(96, 128), (70, 50)])
    expected, *others = ([one["instances"] for one in ExportedModel(p)(batch)] for p in paths)
    for least, found in zip((0.9, 0.5), others, strict=True):
        for ours, theirs in zip(expected, found, strict=True):
            lowest = float(ours.scores[:10].min())
            difference = compare_results({"instances": ours}, {"instances": theirs}, lowest)
            assert difference.matched >= least
            if least == 0.9:
                assert not difference.faults(HALF_TOLERANCE, 128)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["GN", "BN"])
def test_all_but_the_first_and_last_convolutions_are_quantized_whole(norm, tmp_path):
    """With a norm after it, a convolution was computed in float32; the ends cost AP in 8 bits."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    cfg = small_config("retinanet", "MODEL.FPN.NORM", norm)
    function = make_function(cfg, build_model(cfg).eval())
    path = tmp_path / "model.onnx"
    export_onnx(function, path, describe(cfg, function, "onnx"))
    quantize(
        path, [(x["image"].numpy()[None], np.array([[64, 64]])) for x in images_of([(64, 64)])]
    )
    graph = onnx.load(str(path)).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    assert "BatchNormalization" not in made_by.values()
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    whole = {node.input[1] for node in convolutions if node.input[1] not in made_by}
    # Their weights are constants as they were, and their inputs are not rounded.
    ends = ("stem.conv1.weight", "head.cls_score.weight", "head.bbox_pred.weight")
    assert len(whole) == 3
    assert all(any(name.endswith(end) for name in whole) for end in ends)
    quantized = [node for node in convolutions if node.input[1] in made_by]
    assert len(quantized) > 20
    inputs = {made_by[name] for node in quantized for name in node.input}
    assert inputs == {"DequantizeLinear"}


def test_ranges_are_taken_from_the_first_images_of_a_dataset():
    cfg = small_config("faster")
    records = find_images(cfg, "shapes_val", CALIBRATION_IMAGES)[1]
    images = list(calibration_images(cfg, records))
    assert len(images) == 64
    assert images[0][0].dtype == np.uint8
    assert images[0][0].shape[2:] == tuple(images[0][1][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "torch", "half": True}, "need --to onnx or openvino, and not torch"),
        ({"half": True, "int8": "shapes_val"}, "not both"),
    ],
)
def test_what_does_not_fit_together_is_refused(options, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        export_model(small_config("faster"), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("to", "suffix"), [("onnx", ".onnx"), ("openvino", ".bin")])
def test_proof_has_the_ap_of_both(to, suffix, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino" if to == "openvino" else "onnx")
    cfg = small_config("faster")
    for name, options in (("half", {"half": True}), ("int8", {"int8": "shapes_val"})):
        proof = export_model(cfg, tmp_path / name, to=to, num_images=3, **options)
        assert set(proof["ap"]["bbox"]) == {"model", "file"}
        assert json.loads((tmp_path / name / "proof.json").read_text())["file"] == proof["file"]
        precision = {"half": "float16", "int8": "int8"}[name]
        assert open_session(tmp_path / name / proof["file"]).facts["precision"] == precision
    sizes = [(tmp_path / name / f"model{suffix}").stat().st_size for name in ("half", "int8")]
    assert sizes[1] < sizes[0]
