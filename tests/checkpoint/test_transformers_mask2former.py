"""Mask2Former as the library transformers saves it: names, and outputs where it is installed."""

import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.foreign.transformers_mask2former import convert_transformers_mask2former
from d2lite.modeling import build_model

from ..projects.mask2former.small import small_cfg

SWIN = (
    "MODEL.BACKBONE.NAME", "D2SwinTransformer",
    "MODEL.SWIN.EMBED_DIM", 8,
    "MODEL.SWIN.DEPTHS", [1, 1, 2, 1],
    "MODEL.SWIN.NUM_HEADS", [1, 1, 2, 2],
    "MODEL.SWIN.WINDOW_SIZE", 4,
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", 2,
    "MODEL.SEM_SEG_HEAD.MASK_DIM", 32,
    "MODEL.MASK_FORMER.HIDDEN_DIM", 32,
)  # fmt: skip

NAMES = {
    "class_predictor.bias": "predictor.class_embed.bias",
    "model.transformer_module.queries_embedder.weight": "predictor.query_embed.weight",
    "model.transformer_module.queries_features.weight": "predictor.query_feat.weight",
    "model.transformer_module.decoder.layernorm.bias": "predictor.decoder_norm.bias",
    "model.transformer_module.decoder.layers.2.fc2.bias": (
        "predictor.transformer_ffn_layers.2.linear2.bias"
    ),
    "model.transformer_module.decoder.mask_predictor.mask_embedder.1.0.weight": (
        "predictor.mask_embed.layers.1.weight"
    ),
    "model.pixel_level_module.decoder.encoder.layers.1.self_attn.value_proj.weight": (
        "pixel_decoder.transformer.encoder.layers.1.self_attn.value_proj.weight"
    ),
    "model.pixel_level_module.decoder.adapter_1.1.weight": "pixel_decoder.adapter_1.norm.weight",
    "model.pixel_level_module.decoder.layer_1.0.weight": "pixel_decoder.layer_1.weight",
}


def test_names_of_the_head_become_the_published_ones():
    found = convert_transformers_mask2former({name: torch.zeros(1) for name in NAMES})
    assert set(found) == {f"sem_seg_head.{name}" for name in NAMES.values()}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "model.transformer_module.decoder.layers.1.self_attn.{}_proj.weight",
            "sem_seg_head.predictor.transformer_self_attention_layers.1.self_attn.in_proj_weight",
        ),
        (
            "model.pixel_level_module.encoder.encoder.layers.2.blocks.5.attention.self.{}.bias",
            "backbone.layers.2.blocks.5.attn.qkv.bias",
        ),
    ],
)
def test_queries_keys_and_values_become_one_in_this_order(theirs, ours):
    letters = "vqk" if "_proj" in theirs else ("value", "query", "key")
    parts = {theirs.format(letter): torch.full((2,), float(ord(letter[0]))) for letter in letters}
    found = convert_transformers_mask2former(parts)
    assert {name: value.tolist() for name, value in found.items()} == {
        ours: [float(ord(letter)) for letter in "qqkkvv"]
    }


def test_start_values_of_queries_are_found_under_their_first_name(tmp_path):
    """Weights of the first release call them static_query."""
    model = build_model(small_cfg())
    name = "sem_seg_head.predictor.query_feat.weight"
    weights = model.state_dict()
    weights["sem_seg_head.predictor.static_query.weight"] = torch.ones_like(weights.pop(name))
    torch.save({"model": weights}, tmp_path / "first.pth")
    DetectionCheckpointer(model).load(str(tmp_path / "first.pth"))
    assert (model.state_dict()[name] == 1).all()


def test_outputs_are_those_of_transformers(tmp_path):
    """Random weights of a small model, saved there and loaded here."""
    transformers = pytest.importorskip("transformers")
    swin = transformers.SwinConfig(
        embed_dim=8,
        depths=[1, 1, 2, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=1024,
        encoder_layers=2,
        decoder_layers=4,
        num_attention_heads=2,
        dim_feedforward=32,
        num_queries=6,
        num_labels=5,
    )
    theirs = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    for name, parameter in theirs.named_parameters():
        if "sampling_offsets.weight" in name or "attention_weights.weight" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    theirs.save_pretrained(tmp_path)
    ours = build_model(small_cfg(*SWIN)).eval()
    checkpointer = DetectionCheckpointer(ours)
    checkpointer.load(str(tmp_path / "model.safetensors"))
    # Which cells of a window are how far from each other is computed, and not in the file.
    assert (checkpointer.report.missing, checkpointer.report.unexpected) == ([], [])
    images = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        expected = theirs(pixel_values=images, pixel_mask=torch.ones(2, 96, 128))
        found = ours.sem_seg_head(ours.backbone(images))
    torch.testing.assert_close(found["pred_logits"], expected.class_queries_logits)
    torch.testing.assert_close(found["pred_masks"], expected.masks_queries_logits)
