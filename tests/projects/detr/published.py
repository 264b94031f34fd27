"""Models of the library transformers, small and with random weights, as people publish them."""

import pytest
import torch

from ..rtdetr.published import NUM_CLASSES, fill

KINDS = ("detr", "deformable", "refined", "two stages")
# With auxiliary losses, DETR of transformers normalises the queries between layers; the original
# does not, nor do the published weights expect it.
OF_KIND = {
    "deformable": {"auxiliary_loss": True},
    "refined": {"auxiliary_loss": True, "with_box_refine": True},
    "two stages": {
        "auxiliary_loss": True,
        "with_box_refine": True,
        "two_stage": True,
        "two_stage_num_proposals": 12,
    },
}
COMMON = {
    "use_timm_backbone": False,
    "backbone": None,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 12,
    "num_labels": NUM_CLASSES,
    "dropout": 0.0,
}


def published_model(kind: str, **options):
    """A model of a kind; its weights are large enough that no two queries are alike."""
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    is_detr = kind == "detr"
    backbone = transformers.ResNetConfig(
        layer_type="basic",
        depths=[2, 2, 2, 2],
        hidden_sizes=[8, 16, 32, 64],
        embedding_size=8,
        out_features=["stage4"] if is_detr else ["stage2", "stage3", "stage4"],
    )
    options = {"backbone_config": backbone, **COMMON, **OF_KIND.get(kind, {}), **options}
    options["decoder_ffn_dim"] = options["encoder_ffn_dim"]
    if is_detr:
        model = transformers.DetrForObjectDetection(transformers.DetrConfig(**options))
    else:
        config = transformers.DeformableDetrConfig(**options)
        model = transformers.DeformableDetrForObjectDetection(config)
    fill(model)
    return model
