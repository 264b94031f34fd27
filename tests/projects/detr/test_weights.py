"""Weights that people have: folders of Hugging Face, files of the original code and of detrex."""

import json
import re

import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.foreign.detr_names import rename_original_detr
from d2lite.checkpoint.hugging_face import hugging_face_classes
from d2lite.engine import DefaultPredictor
from d2lite.modeling import build_model
from d2lite.projects.detr.published import options_of
from d2lite.utils.errors import ConfigError

from .published import published_model
from .small import base_cfg, build, small_cfg


@pytest.fixture
def folder(tmp_path):
    """Published weights of a DETR with class names."""
    model = published_model("detr")
    model.config.id2label = dict(enumerate(["ant", "bee", "cat", "dog", "elk"]))
    model.save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def test_a_folder_and_the_base_config_are_enough_to_predict(folder):
    """Classes, their names and the size of the model follow from config.json."""
    predictor = DefaultPredictor(
        base_cfg("detr", "MODEL.WEIGHTS", str(folder), "DATASETS.TEST", ())
    )
    assert predictor.model.class_names == ["ant", "bee", "cat", "dog", "elk"]
    assert predictor.cfg.MODEL.DETR.NUM_CLASSES == 5
    assert predictor.cfg.MODEL.DETR.DEC_LAYERS == 3
    assert predictor.cfg.MODEL.RESNETS.DEPTH == 18
    found = predictor((torch.rand(70, 90, 3) * 255).byte().numpy())["instances"]
    assert found.image_size == (70, 90)
    assert len(found) == 12


def test_numbers_without_a_class_keep_their_place(tmp_path):
    """Published DETR has 91 numbers, of which 11 are called N/A."""
    labels = {"0": "N/A", "1": "person", "2": "N/A", "3": "car"}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": labels}))
    assert hugging_face_classes(str(tmp_path)) == ["N/A", "person", "N/A 2", "car"]


def test_a_value_of_the_command_line_stays(folder):
    cfg = base_cfg("detr", "MODEL.WEIGHTS", str(folder))
    cfg.merge_from_list(["MODEL.DETR.NUM_OBJECT_QUERIES", 7], origin="command line")
    assert len(build_model(cfg).query_embed.weight) == 7


@pytest.mark.parametrize("kind", ["detr", "deformable"])
def test_rows_of_classes_are_joined_by_name(tmp_path, kind):
    """A model of other classes takes the rows of those that both sides name."""
    theirs = published_model(kind)
    theirs.config.id2label = dict(enumerate(["ant", "bee", "cat", "dog", "elk"]))
    theirs.save_pretrained(tmp_path)
    model = build_model(base_cfg(kind, "MODEL.WEIGHTS", str(tmp_path), "MODEL.DETR.NUM_CLASSES", 3))
    model.class_names = ["dog", "yak", "bee"]
    checkpointer = DetectionCheckpointer(model, keep_matching_classes=True)
    checkpointer.load(str(tmp_path))
    assert checkpointer.report.kept_classes == ["dog", "bee"]
    is_detr = kind == "detr"
    head = theirs.class_labels_classifier if is_detr else theirs.class_embed[1]
    ours = model.class_embed if is_detr else model.class_embed[1]
    assert torch.equal(ours.weight[0], head.weight[3])
    assert torch.equal(ours.weight[2], head.weight[1])
    if is_detr:
        assert torch.equal(ours.weight[3], head.weight[5])


def test_a_form_that_the_model_does_not_have_is_refused(folder):
    odd = {"model_type": "detr", "position_embedding_type": "learned"}
    with pytest.raises(ConfigError, match="position_embedding_type='learned', which this model"):
        options_of(odd)
    unequal = {"model_type": "detr", "encoder_ffn_dim": 8, "decoder_ffn_dim": 9}
    with pytest.raises(ConfigError, match="for the encoder than for the decoder"):
        options_of(unequal)
    with pytest.raises(ConfigError, match="describes the backbone 'swin'"):
        options_of({"model_type": "detr", "backbone_config": {"model_type": "swin"}})
    with pytest.raises(ConfigError, match=r"set MODEL.META_ARCHITECTURE to Detr, not Deform"):
        build_model(base_cfg("deformable", "MODEL.WEIGHTS", str(folder)))


def test_the_older_form_of_config_json_names_the_backbone():
    """As published by facebook and SenseTime."""
    options = options_of({"model_type": "detr", "backbone": "resnet101", "dilation": True})
    assert options["MODEL.RESNETS.DEPTH"] == 101
    assert options["MODEL.RESNETS.RES5_DILATION"] == 2


def _ends(name: str) -> str:
    """The name of torchvision inside of a ResNet."""
    stage, rest = name.removeprefix("res").split(".", 1)
    rest = rest.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
    for number in "123":
        rest = rest.replace(f"conv{number}.norm", f"bn{number}")
    return f"layer{int(stage) - 1}.{rest}"


def original_names(model, *, is_deformable: bool) -> dict[str, torch.Tensor]:
    """The weights of a model under the names of facebookresearch/detr and Deformable-DETR."""
    theirs = {}
    for name, value in model.state_dict().items():
        if name.startswith("backbone."):
            inside = name.removeprefix("backbone.")
            if inside.startswith("stem"):
                inside = inside.replace("stem.conv1.norm", "bn1").replace("stem.conv1", "conv1")
            else:
                inside = _ends(inside)
            name = f"backbone.0.body.{inside}"
        elif is_deformable and name.startswith("transformer.decoder.layers"):
            # norm1 and norm2 change places.
            name = re.sub(r"norm([12])", lambda found: f"norm{3 - int(found[1])}", name)
        theirs[name] = value
    return theirs


@pytest.mark.parametrize("kind", ["detr", "deformable", "two stages", "dino"])
def test_names_of_the_original_repositories_become_ours(tmp_path, kind):
    model = build(kind)
    with torch.no_grad():
        for number, value in enumerate(model.state_dict().values()):
            value.fill_(number)
    theirs = original_names(model, is_deformable=kind != "detr")
    assert "backbone.0.body.layer1.0.bn2.running_var" in theirs
    if kind in ("two stages", "dino"):
        theirs["transformer.decoder.class_embed.0.bias"] = theirs["class_embed.0.bias"]
    if kind == "dino":
        for name in [name for name in theirs if name.startswith(("class_embed.2", "bbox_embed.2"))]:
            kept = name.replace("class_embed.2", "transformer.enc_out_class_embed")
            theirs[kept.replace("bbox_embed.2", "transformer.enc_out_bbox_embed")] = theirs.pop(
                name
            )
        rows = theirs["label_enc.weight"]
        theirs["label_enc.weight"] = torch.cat([rows, rows[:1]])
    file = tmp_path / "checkpoint.pth"
    torch.save({"model": theirs, "epoch": 1}, file)
    fresh = build(kind)
    checkpointer = DetectionCheckpointer(fresh)
    checkpointer.load(str(file))
    assert not checkpointer.report.missing
    assert not checkpointer.report.unexpected
    loaded = fresh.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value), name


def test_names_of_published_files_become_ours():
    """Some of each kind, as they are in the files."""
    plain = {
        "backbone.0.body.conv1.weight": "backbone.stem.conv1.weight",
        "backbone.0.body.layer4.2.bn3.running_mean": "backbone.res5.2.conv3.norm.running_mean",
        "backbone.0.body.layer2.0.downsample.0.weight": "backbone.res3.0.shortcut.weight",
        "transformer.decoder.layers.5.multihead_attn.in_proj_weight": (
            "transformer.decoder.layers.5.multihead_attn.in_proj_weight"
        ),
        "transformer.decoder.norm.weight": "transformer.decoder.norm.weight",
        "transformer.decoder.layers.0.norm1.weight": "transformer.decoder.layers.0.norm1.weight",
        "bbox_embed.layers.2.bias": "bbox_embed.layers.2.bias",
    }
    detrex = {
        "backbone.res2.0.conv1.weight": "backbone.res2.0.conv1.weight",
        "neck.convs.2.conv.weight": "input_proj.2.0.weight",
        "neck.extra_convs.0.norm.bias": "input_proj.3.1.bias",
        "transformer.level_embeds": "transformer.level_embed",
        "transformer.encoder.layers.0.attentions.0.value_proj.weight": (
            "transformer.encoder.layers.0.self_attn.value_proj.weight"
        ),
        "transformer.decoder.layers.5.attentions.0.attn.in_proj_bias": (
            "transformer.decoder.layers.5.self_attn.in_proj_bias"
        ),
        "transformer.decoder.layers.1.attentions.1.sampling_offsets.bias": (
            "transformer.decoder.layers.1.cross_attn.sampling_offsets.bias"
        ),
        "transformer.decoder.layers.1.ffns.0.layers.0.0.weight": (
            "transformer.decoder.layers.1.linear1.weight"
        ),
        "transformer.decoder.layers.1.ffns.0.layers.1.weight": (
            "transformer.decoder.layers.1.linear2.weight"
        ),
        "transformer.decoder.layers.1.norms.2.weight": "transformer.decoder.layers.1.norm3.weight",
        "transformer.decoder.bbox_embed.0.layers.0.weight": None,
        "bbox_embed.6.layers.0.weight": "bbox_embed.6.layers.0.weight",
    }
    for names in (plain, detrex):
        found = rename_original_detr({name: torch.zeros(1) for name in names})
        assert set(found) == {ours for ours in names.values() if ours}


@pytest.mark.parametrize("kind", ["deformable", "dino"])
def test_a_file_of_ours_is_not_translated(tmp_path, kind):
    model = build_model(small_cfg(kind))
    file = tmp_path / "model.pth"
    torch.save({"model": model.state_dict()}, file)
    checkpointer = DetectionCheckpointer(build(kind, seed=1))
    checkpointer.load(str(file))
    assert not checkpointer.report.missing
    loaded = checkpointer.model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
