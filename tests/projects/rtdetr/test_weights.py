"""Weights that people have: folders and names of Hugging Face, and files of the original code."""

import json

import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.foreign.rtdetr_names import rename_original_rtdetr
from d2lite.checkpoint.hugging_face import hugging_face_classes, hugging_face_folder
from d2lite.engine import DefaultPredictor
from d2lite.modeling import build_model
from d2lite.projects.rtdetr.published import options_of
from d2lite.utils.errors import ConfigError, MissingFileError, WeightsError

from .published import published_model
from .small import base_cfg, small_cfg


@pytest.fixture
def folder(tmp_path):
    """Published weights of a model with class names."""
    model = published_model("rt_detr_v2 basic")
    model.config.id2label = dict(enumerate(["ant", "bee", "cat", "dog", "elk"]))
    model.save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def test_a_folder_and_the_base_config_are_enough_to_predict(folder):
    """Classes, their names and the size of the model follow from config.json."""
    cfg = base_cfg("MODEL.WEIGHTS", str(folder), "DATASETS.TEST", ())
    predictor = DefaultPredictor(cfg)
    assert predictor.model.class_names == ["ant", "bee", "cat", "dog", "elk"]
    assert predictor.cfg.MODEL.RTDETR.NUM_CLASSES == 5
    assert predictor.cfg.MODEL.RESNETS.DEPTH == 18
    assert predictor.cfg.MODEL.RTDETR.DECODER.LAYERS == 3
    found = predictor((torch.rand(70, 90, 3) * 255).byte().numpy())["instances"]
    assert found.image_size == (70, 90)
    assert len(found)


def test_the_file_in_the_folder_is_as_good_as_the_folder(folder):
    cfg = base_cfg("MODEL.WEIGHTS", str(folder / "model.safetensors"))
    assert build_model(cfg).decoder.num_queries == 20


def test_a_value_of_the_command_line_stays(folder):
    cfg = base_cfg("MODEL.WEIGHTS", str(folder))
    cfg.merge_from_list(["MODEL.RTDETR.DECODER.QUERIES", 7], origin="command line")
    assert build_model(cfg).decoder.num_queries == 7


def test_rows_of_classes_are_joined_by_name(folder):
    """A model of other classes takes the rows of those that both sides name."""
    cfg = base_cfg("MODEL.WEIGHTS", str(folder), "MODEL.RTDETR.NUM_CLASSES", 3)
    model = build_model(cfg)
    model.class_names = ["dog", "yak", "bee"]
    checkpointer = DetectionCheckpointer(model, keep_matching_classes=True)
    checkpointer.load(str(folder))
    assert checkpointer.report.kept_classes == ["dog", "bee"]
    theirs = published_model("rt_detr_v2 basic").state_dict()["class_embed.2.weight"]
    ours = model.decoder.dec_score_head[2].weight
    assert torch.equal(ours[0], theirs[3])
    assert torch.equal(ours[2], theirs[1])


def test_labels_without_names_are_not_class_names(tmp_path):
    published_model("rt_detr_v2 basic").save_pretrained(tmp_path)
    assert hugging_face_classes(str(tmp_path)) is None
    assert build_model(base_cfg("MODEL.WEIGHTS", str(tmp_path))).decoder.num_classes == 5


def test_a_folder_without_weights_or_with_a_damaged_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        build_model(base_cfg("MODEL.WEIGHTS", str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MissingFileError, match=r"has no model\.safetensors"):
        DetectionCheckpointer(build_model(small_cfg())).load(str(tmp_path))


def test_a_form_that_the_model_does_not_have_is_refused():
    content = json.loads(json.dumps({"model_type": "rt_detr", "normalize_before": True}))
    with pytest.raises(ConfigError, match="says normalize_before=True, which this model does not"):
        options_of(content)
    with pytest.raises(ConfigError, match="a backbone of the type 'swin'"):
        options_of({"model_type": "rt_detr", "backbone_config": {"model_type": "swin"}})


def test_a_name_is_read_from_the_cache_and_refused_in_one_message_where_it_is_missing(
    monkeypatch, tmp_path
):
    hub = pytest.importorskip("huggingface_hub")
    errors = pytest.importorskip("huggingface_hub.errors")
    asked = []

    def snapshot_download(repo_id, allow_patterns, local_files_only=False):
        asked.append(local_files_only)
        if repo_id == "org/cached":
            return str(tmp_path)
        raise errors.LocalEntryNotFoundError("no such file") if local_files_only else OSError("off")

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    assert hugging_face_folder("hf://org/cached") == tmp_path
    assert asked == [True]
    with pytest.raises(MissingFileError, match=r"hf://org/other is not in the cache.*\(off\)"):
        hugging_face_folder("hf://org/other")


def test_names_of_the_original_repositories_become_ours():
    """Those of encoder, decoder and HGNetv2 are ours already. Constants are left out."""
    names = {
        "backbone.conv1.conv1_2.conv.weight": "backbone.stem.conv2.weight",
        "backbone.conv1.conv1_2.norm.bias": "backbone.stem.conv2.norm.bias",
        "backbone.res_layers.1.blocks.0.branch2c.norm.weight": "backbone.res3.0.conv3.norm.weight",
        "backbone.res_layers.0.blocks.0.short.conv.weight": "backbone.res2.0.shortcut.weight",
        "backbone.res_layers.2.blocks.0.short.conv.conv.weight": "backbone.res4.0.shortcut.weight",
        "backbone.res_layers.2.blocks.0.short.conv.norm.bias": (
            "backbone.res4.0.shortcut.norm.bias"
        ),
        "decoder.enc_output.0.weight": "decoder.enc_output.proj.weight",
        "decoder.anchors": None,
        "decoder.valid_mask": None,
        "decoder.decoder.layers.0.cross_attn.num_points_scale": None,
    }
    found = rename_original_rtdetr({name: torch.zeros(1) for name in names})
    assert set(found) == {ours for ours in names.values() if ours}


@pytest.mark.parametrize("kind", ["rtdetr", "dfine"])
def test_averaged_weights_of_the_original_trainers_load(tmp_path, kind):
    """Their files hold them under "ema", beside those of the last step."""
    model = build_model(small_cfg(kind))
    weights = {name: torch.full_like(value, 2) for name, value in model.state_dict().items()}
    file = tmp_path / "checkpoint.pth"
    torch.save({"model": model.state_dict(), "ema": {"module": weights, "updates": 3}}, file)
    DetectionCheckpointer(model).load(str(file))
    assert all((value == 2).all() for value in model.state_dict().values())
