"""Folders of Hugging Face's vision transformers, loaded under a detector: the same features."""

import json

import pytest
import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.hugging_face import hugging_face_folder
from d2lite.config import get_cfg
from d2lite.modeling import build_backbone
from d2lite.utils.errors import MissingFileError

transformers = pytest.importorskip("transformers")
pytest.importorskip("timm")

SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
# Model of transformers, network of timm, its options, side of a patch.
KINDS = [
    ("Dinov2", "vit_small_patch14_dinov2", {}, 14),
    ("Dinov2WithRegisters", "vit_small_patch14_reg4_dinov2", {}, 14),
    ("DINOv3ViT", "vit_small_patch16_dinov3_qkvb", {}, 16),
    ("ViT", "vit_small_patch16_224", {}, 16),
]


def published(kind, folder, patch):
    """A model of transformers with random weights, saved to a folder."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        **SMALL, image_size=4 * patch, patch_size=patch, intermediate_size=192
    )
    if kind == "DINOv3ViT":
        config.num_register_tokens = 4
    model = getattr(transformers, f"{kind}Model")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(("kind", "name", "options", "patch"), KINDS)
def test_folder_alone_gives_the_features_of_transformers(tmp_path, kind, name, options, patch):
    theirs = published(kind, tmp_path, patch)
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = f"timm_vit:{name}"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    small = {"embed_dim": 48, "depth": 2, "num_heads": 2, "img_size": 4 * patch}
    cfg.MODEL.ADAPTER.OPTIONS.update({**small, **options})
    model = nn.Module()
    model.backbone = build_backbone(cfg).eval()
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(tmp_path))
    assert checkpointer.report.missing == []
    x = torch.randn(1, 3, 4 * patch, 4 * patch)
    with torch.no_grad():
        tokens = theirs(x).last_hidden_state[:, -16:]
        found = model.backbone(x)["last_feat"]
    torch.testing.assert_close(found.flatten(2).mT, tokens, rtol=1e-4, atol=1e-4)


def test_norms_of_the_same_name_elsewhere_do_not_take_the_weights(tmp_path):
    """A head with a `norm.weight` of the backbone's width; the name alone is ambiguous."""
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "timm_vit:vit_small_patch14_dinov2"
    cfg.MODEL.ADAPTER.OPTIONS.update({"embed_dim": 48, "depth": 1, "num_heads": 2})
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    source = build_backbone(cfg).net
    nn.init.constant_(source.norm.weight, 3.0)
    torch.save(source.state_dict(), tmp_path / "timm.pth")
    model = nn.Module()
    model.aaa_head = nn.Module()
    model.aaa_head.norm = nn.LayerNorm(48)
    model.backbone = build_backbone(cfg)
    DetectionCheckpointer(model).load(str(tmp_path / "timm.pth"))
    assert model.backbone.net.norm.weight.tolist() == [3.0] * 48
    assert model.aaa_head.norm.weight.tolist() == [1.0] * 48


def test_a_folder_of_timm_is_found_by_its_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_small_patch14_dinov2"}))
    assert hugging_face_folder(str(tmp_path)) == tmp_path


def test_a_published_name_without_network_says_what_to_do(monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingFileError, match="not in the cache of huggingface_hub and cannot"):
        hugging_face_folder("hf://timm/vit_small_patch14_dinov2.no_such_tag")
