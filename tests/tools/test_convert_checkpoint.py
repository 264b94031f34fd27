"""tools/convert_checkpoint.py: what goes in, what comes out, and what is refused."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
import torchvision

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.reading import read_checkpoint

from .conftest import TINY

OPTS = ["--opts", *TINY]


def test_run_is_stripped_to_its_weights_and_classes(run, trained, tmp_path):
    target = tmp_path / "small.pth"
    ended = run("convert_checkpoint", trained / "model_final.pth", target, "--strip")
    assert ended.status == 0, ended.err
    before = torch.load(trained / "model_final.pth", weights_only=True)
    after = torch.load(target, weights_only=True)
    assert set(after) == {"model", "d2lite"}
    assert after["d2lite"]["class_names"] == before["d2lite"]["class_names"]
    assert all(torch.equal(after["model"][name], v) for name, v in before["model"].items())
    assert target.stat().st_size < (trained / "model_final.pth").stat().st_size


def test_without_strip_all_is_kept(run, trained, tmp_path):
    ended = run("convert_checkpoint", trained / "model_final.pth", tmp_path / "all.pth")
    assert ended.status == 0, ended.err
    before = torch.load(trained / "model_final.pth", weights_only=True)
    assert set(torch.load(tmp_path / "all.pth", weights_only=True)) == set(before)


def test_hash_stands_in_the_name_as_a_download_checks_it(run, trained, tmp_path):
    ended = run(
        "convert_checkpoint", trained / "model_final.pth", tmp_path / "x.pth", "--strip", "--hash"
    )
    assert ended.status == 0, ended.err
    (written,) = tmp_path.iterdir()
    assert written.name == f"x-{hashlib.sha256(written.read_bytes()).hexdigest()[:8]}.pth"
    assert str(written) in ended.out


def test_safetensors_there_and_back_keep_weights_and_class_names(run, trained, tmp_path):
    pytest.importorskip("safetensors")
    source, between, back = (
        trained / "model_final.pth",
        tmp_path / "x.safetensors",
        tmp_path / "y.pth",
    )
    assert run("convert_checkpoint", source, between, "--strip").status == 0
    assert run("convert_checkpoint", between, back).status == 0
    before, after = read_checkpoint(str(source)), read_checkpoint(str(back))
    assert after["d2lite"] == before["d2lite"]
    assert all(torch.equal(after["model"][name], v) for name, v in before["model"].items())


def test_training_state_does_not_fit_into_safetensors(run, trained, tmp_path):
    pytest.importorskip("safetensors")
    ended = run("convert_checkpoint", trained / "model_final.pth", tmp_path / "x.safetensors")
    assert ended.status == 2
    assert "--strip" in ended.err
    assert not list(tmp_path.iterdir())


def test_backbone_of_torchvision_keeps_short_names_that_any_model_completes(run, tmp_path):
    net = torchvision.models.resnet18(weights=None)
    torch.save(net.state_dict(), tmp_path / "r18.pth")
    ended = run("convert_checkpoint", tmp_path / "r18.pth", tmp_path / "R-18.pth")
    assert ended.status == 0, ended.err
    content = torch.load(tmp_path / "R-18.pth", weights_only=True)
    assert content["matching_heuristics"] is True
    assert torch.equal(content["model"]["stem.conv1.weight"], net.conv1.weight)
    model = torch.nn.Module()
    model.body = torch.nn.Module()
    model.body.stem = torch.nn.Module()
    model.body.stem.conv1 = torch.nn.Conv2d(3, 64, 7, bias=False)
    DetectionCheckpointer(model).load(str(tmp_path / "R-18.pth"))
    assert torch.equal(model.body.stem.conv1.weight, net.conv1.weight)


def test_config_gives_the_names_that_the_model_has(run, trained, tmp_path):
    """Names cut short, as in a bare backbone, come out whole."""
    content = torch.load(trained / "model_final.pth", weights_only=True)
    prefix = "backbone.bottom_up."
    short = {n.removeprefix(prefix): v for n, v in content["model"].items() if n.startswith(prefix)}
    torch.save(short, tmp_path / "short.pth")
    options = ["--config-file", trained / "config.yaml"]
    ended = run("convert_checkpoint", tmp_path / "short.pth", tmp_path / "whole.pth", *options)
    assert ended.status == 0, ended.err
    whole = torch.load(tmp_path / "whole.pth", weights_only=True)["model"]
    assert set(whole) == {f"{prefix}{name}" for name in short}


def test_published_pickle_gets_class_names_of_a_dataset(run, tmp_path):
    arrays = {
        "roi_heads.box_predictor.cls_score.weight": np.ones((81, 4), np.float32),
        "roi_heads.box_predictor.bbox_pred.weight": np.ones((320, 4), np.float32),
    }
    path = tmp_path / "model_final_280758.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Model Zoo"}, protocol=2))
    ended = run("convert_checkpoint", path, tmp_path / "x.pth", "--classes", "coco_2017_val")
    assert ended.status == 0, ended.err
    content = torch.load(tmp_path / "x.pth", weights_only=True)
    assert content["d2lite"]["class_names"][:3] == ["person", "bicycle", "car"]
    assert "Classes: 80" in ended.out


def test_classes_of_a_text_file_have_to_fit_the_heads(run, tmp_path):
    torch.save({"roi_heads.box_predictor.cls_score.bias": torch.zeros(3)}, tmp_path / "x.pth")
    names = tmp_path / "names.txt"
    names.write_text("apple\nnut\n\n")
    made = run("convert_checkpoint", tmp_path / "x.pth", tmp_path / "y.pth", "--classes", names)
    assert made.status == 0, made.err
    content = torch.load(tmp_path / "y.pth", weights_only=True)
    assert content["d2lite"]["class_names"] == ["apple", "nut"]
    names.write_text("apple\n")
    refused = run("convert_checkpoint", tmp_path / "x.pth", tmp_path / "z.pth", "--classes", names)
    assert refused.status == 2
    assert "has 3 rows" in refused.err
    assert "do not fit 1 classes" in refused.err
    assert not (tmp_path / "z.pth").exists()


def test_detector_of_torchvision_names_its_coco_classes(run, tmp_path):
    weights = {
        "backbone.body.conv1.weight": torch.zeros(1),
        "backbone.fpn.inner_blocks.0.0.weight": torch.zeros(1),
        "rpn.head.cls_logits.bias": torch.zeros(3),
        "roi_heads.box_predictor.cls_score.bias": torch.arange(91.0),
    }
    torch.save(weights, tmp_path / "x.pth")
    ended = run("convert_checkpoint", tmp_path / "x.pth", tmp_path / "y.pth")
    assert ended.status == 0, ended.err
    content = torch.load(tmp_path / "y.pth", weights_only=True)
    names = content["d2lite"]["class_names"]
    # COCO's ids: 1 is the person, 12 is not used, 90 is the toothbrush.
    assert (names[0], names[11], names[89]) == ("person", "unused 12", "toothbrush")
    rows = content["model"]["roi_heads.box_predictor.cls_score.bias"]
    assert rows.tolist() == [*range(1, 91), 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{source}", "x.onnx"], "written as .pth, .pt or .safetensors"),
        (["missing.pth", "x.pth"], "missing.pth was not found"),
        (["{source}", "x.pth", "--classes", "no_such_set"], "no_such_set"),
        (
            ["{source}", "x.pth", "--config-file", "quick_start.yaml", "--opts", *TINY],
            "None of the",
        ),
    ],
)
def test_mistakes_are_named(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    torch.save({"some.weight": torch.zeros(2)}, tmp_path / "source.pth")
    ended = run("convert_checkpoint", *(a.format(source="source.pth") for a in arguments))
    assert ended.status == 2
    assert message in ended.err
    assert not (tmp_path / "x.pth").exists()
