"""One exported file for images and batches of any size, and the proof that comes with it."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2lite.commands import main as d2lite
from d2lite.commands.export import build_parser, main
from d2lite.export import ExportedModel, export_model, open_session
from d2lite.export.write_runner import write_runner
from d2lite.predicting import Predictor
from d2lite.utils.errors import (
    ConfigError,
    ExportError,
    MissingFileError,
    MissingPackageError,
    OutputError,
    UnknownNameError,
    WeightsError,
)
from tests.data.spec_files import coco, picture
from tests.modeling.small_detectors import images_of, small_config

# The face has a function of this name.
export_module = importlib.import_module("d2lite.export.export_model")


def test_file_states_its_classes_input_thresholds_and_version(onnx_file):
    facts = open_session(onnx_file).facts
    assert facts["classes"] == ["a", "b", "c", "d", "e"]
    assert facts["input"]["channels"] == "BGR"
    assert facts["input"]["resize"] == ["shortest_edge", 64, 96]
    assert "MODEL.ROI_HEADS.SCORE_THRESH_TEST" in facts["thresholds"]
    assert facts["version"]


def test_file_does_not_say_where_on_this_machine_it_was_made(onnx_file):
    content = onnx_file.read_bytes()
    assert b"stack_trace" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_session_has_the_threads_that_it_is_given(onnx_file):
    options = open_session(onnx_file, threads=1)._session.get_session_options()
    assert options.intra_op_num_threads == 1


def test_model_that_cannot_be_exported_is_refused_before_anything_is_written(tmp_path):
    cfg = small_config("faster", "MODEL.META_ARCHITECTURE", "ProposalNetwork")
    with pytest.raises(ExportError, match="ProposalNetwork has no fixed-size form"):
        export_model(cfg, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.onnx", "model.xml", "model.pt2"])
def test_output_that_is_named_like_a_file_is_refused_at_once(tmp_path, name):
    with pytest.raises(ExportError, match=r"is the folder of several files.*--output .*/model\.$"):
        export_model(small_config("faster"), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_unknown_format_is_refused(tmp_path):
    with pytest.raises(ExportError, match="no format 'caffe'; choose one of onnx, torch, openvino"):
        export_model(small_config("faster"), tmp_path, to="caffe")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": "shapes_vla"}, UnknownNameError, "Did you mean 'shapes_val'"),
        ({"int8": "coco:no.json@photos"}, MissingFileError, r"no\.json"),
        ({"run_eval": True}, ConfigError, r"DATASETS\.TEST is empty"),
        ({"num_images": 0}, ExportError, "--num-images is 0"),
    ],
)
def test_a_mistake_that_the_last_steps_would_meet_is_said_before_the_model_is_made(
    options, error, message, tmp_path, monkeypatch
):
    """A mistyped dataset was found after 20 seconds of exporting."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(export_module, "DefaultPredictor", None)
    cfg = small_config("faster", "DATASETS.TEST", ())
    with pytest.raises(error, match=message):
        export_model(cfg, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_refused_before_the_model_is_made(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(export_module, "DefaultPredictor", None)
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match=r"--output .*out: it is a file\. Name a folder"):
        export_model(small_config("faster"), tmp_path / "out")


def test_missing_packages_are_all_named_before_the_model_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "DefaultPredictor", None)
    monkeypatch.setattr(export_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"onnx, onnxruntime, onnxscript: pip install"):
        export_model(small_config("faster"), tmp_path / "out")


def test_file_that_is_missing_or_was_not_exported_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="no exported file"):
        open_session(tmp_path / "model.onnx")
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(WeightsError, match="exported files end in"):
        open_session(tmp_path / "model.txt")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--format", "caffe2"], "Use --to onnx"),
        (["--export-method", "caffe2_tracing"], "Use --to onnx"),
        (["--export-method", "magic"], "use tracing or scripting with --format torchscript"),
        (["--format", "tensorrt"], "use --to onnx, torch or openvino"),
    ],
)
def test_what_is_gone_says_what_to_use(words, advice):
    with pytest.raises(ConfigError, match=advice):
        main(build_parser().parse_args(words))


@pytest.mark.slow
def test_command_ends_with_status_2_and_names_the_image(tmp_path, monkeypatch, capfd):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")

    right = ExportedModel.forward

    def wrong(self, batch):
        outputs = right(self, batch)
        for output in outputs:
            output["instances"].scores += 0.3
        return outputs

    monkeypatch.setattr(ExportedModel, "forward", wrong)
    options = ["--config-file", "quick_start.yaml", "--output", str(tmp_path), "--num-images", "2"]
    keys = ["MODEL.WEIGHTS", "", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.02"]
    assert main(build_parser().parse_args([*options, *keys])) == 2
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert not proof["agrees"]
    assert "shapes://val/0" in proof["disagreements"]
    printed = capfd.readouterr()
    assert "The file disagrees with the model on shapes://val/0" in printed.out + printed.err


def test_folder_with_a_runner_needs_neither_torch_nor_this_package(onnx_file, tmp_path):
    path = tmp_path / onnx_file.name
    path.write_bytes(onnx_file.read_bytes())
    write_runner(path, open_session(path).facts)
    pixels = images_of([(96, 128)])[0]["image"]
    Image.fromarray(pixels.flip(0).permute(1, 2, 0).numpy()).save(tmp_path / "street.png")
    program = (
        "import runpy, sys; sys.modules.update(torch=None, d2lite=None, torchvision=None); "
        "sys.argv = ['run.py', 'street.png', '--threshold', '0.1']; "
        "runpy.run_path('run.py', run_name='__main__')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    (found,) = json.loads(printed.stdout)
    expected = ExportedModel(path)(images_of([(96, 128)]))[0]["instances"]
    expected = expected[expected.scores >= 0.1]
    assert len(found["objects"]) == len(expected) > 5
    for i, one in enumerate(found["objects"]):
        assert one["class"] in "abcde"
        assert one["box"] == pytest.approx(expected.pred_boxes.tensor[i].tolist(), abs=0.01)
        counts = one["mask"]["counts"]
        assert sum(counts) == 96 * 128
        assert sum(counts[1::2]) == pytest.approx(int(expected.pred_masks[i].sum()), abs=2)
    assert (tmp_path / "classes.txt").read_text().split() == ["a", "b", "c", "d", "e"]


def test_runner_of_a_torch_file_is_refused(tmp_path):
    with pytest.raises(ExportError, match="needs no torch"):
        export_model(small_config("faster"), tmp_path, to="torch", with_runner=True)


def test_predictor_takes_the_file_like_a_run(onnx_file):
    image = images_of([(96, 128)])[0]["image"]
    result = Predictor(onnx_file, threshold=0.1)(image.permute(1, 2, 0).numpy())
    expected = ExportedModel(onnx_file)(images_of([(96, 128)]))[0]["instances"]
    assert len(result.scores) == int((expected.scores >= 0.1).sum()) > 5
    assert set(result.names) <= set("abcde")
    assert np.allclose(result.boxes[0], expected.pred_boxes.tensor[0], atol=0.01)
    assert len(result.cropped_masks) == len(result.scores)


def test_eval_takes_the_file_like_a_run(onnx_file, tmp_path, capfd):
    options = ["OUTPUT_DIR", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        d2lite(["eval", str(onnx_file), *options, "DATASETS.TEST", "()"])
    assert ended.value.code == 2
    assert "DATASETS.TEST is empty" in capfd.readouterr().err
    file = coco(tmp_path / "c.json", names="abcde", objects=[(1, 1)])
    for name in "ab":
        picture(tmp_path / f"{name}.jpg")
    with pytest.raises(SystemExit) as ended:
        d2lite(["eval", str(onnx_file), *options, "DATASETS.TEST", f"('coco:{file}',)"])
    written = capfd.readouterr()
    assert not ended.value.code, written.err
    assert "copypaste: Task: segm" in written.out


@pytest.mark.parametrize(
    ("ending", "package"), [(".onnx", "onnxruntime"), (".xml", "openvino"), (".pt2", "torch")]
)
def test_damaged_file_is_named_with_what_to_do(tmp_path, ending, package, caplog):
    pytest.importorskip(package)
    (tmp_path / f"model{ending}").write_bytes(b"\x08\x07\xff<?xml")
    with pytest.raises(WeightsError, match=r"model\..* is damaged.*d2lite export RUN"):
        open_session(tmp_path / f"model{ending}")
    assert "Traceback" not in caplog.text


def test_a_folder_gives_its_parts_to_the_proof_and_to_the_ranges(tmp_path, monkeypatch):
    """As the other commands take a folder."""
    coco(tmp_path / "photos" / "labels.json", objects=[(1, 1)])
    action = importlib.import_module("d2lite.commands.actions.export")
    given = {}

    def export(cfg, output, **options):
        given.update(options)
        return {"num_images": 0, "data": "", "largest": {}, "detections": 1, "ap": None} | {
            "file": "model.onnx",
            "disagreements": {},
            "agrees": True,
        }

    monkeypatch.setattr(action, "export_model", export)
    folder = str(tmp_path / "photos")
    words = ["--config-file", "quick_start.yaml", "--output", str(tmp_path), "--int8", folder]
    for name in ("shapes_val", f"coco:{'x' * 300}.json@{folder}"):
        main(build_parser().parse_args([*words, "--data", name]))
        assert given["data"] == name
    assert given["int8"] == f"auto:{folder}@train?val_fraction=0.2"
