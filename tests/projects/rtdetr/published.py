"""Models of the library transformers, small and with random weights, as people publish them."""

import pytest
import torch

KINDS = ("rt_detr_v2 basic", "rt_detr_v2", "rt_detr", "d_fine")
NUM_CLASSES = 5
COMMON = {
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "d_model": 32,
    "num_queries": 20,
    "decoder_ffn_dim": 48,
    "decoder_layers": 3,
    "decoder_attention_heads": 4,
    "decoder_in_channels": [32] * 3,
    "num_labels": NUM_CLASSES,
}
# Constants, and offsets of places in the directions of a star.
_FIXED = ("sampling", ".up", "scale")
OUTPUTS = ["stage2", "stage3", "stage4"]


def published_model(kind: str, **options):
    """A model of a kind; its weights are large enough that no two queries are alike."""
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    options = {**COMMON, "num_denoising": 0, **options}
    if kind == "d_fine":
        backbone = transformers.HGNetV2Config(
            stem_channels=[3, 8, 8],
            stage_in_channels=[8, 16, 32, 32],
            stage_mid_channels=[8, 8, 8, 8],
            stage_out_channels=[16, 32, 32, 64],
            hidden_sizes=[16, 32, 32, 64],
            stage_num_blocks=[1, 1, 2, 1],
            stage_numb_of_layers=[2, 2, 2, 2],
            use_learnable_affine_block=True,
            out_features=OUTPUTS,
        )
        options |= {"decoder_n_points": [3, 6, 3], "head_dim": 8}
        config = transformers.DFineConfig(
            backbone_config=backbone, encoder_in_channels=[32, 32, 64], **options
        )
        model = transformers.DFineForObjectDetection(config)
    else:
        is_basic = kind.endswith("basic")
        widths = [8, 16, 32, 64] if is_basic else [16, 32, 64, 128]
        backbone = transformers.RTDetrResNetConfig(
            layer_type="basic" if is_basic else "bottleneck",
            depths=[2, 2, 2, 2] if is_basic else [3, 4, 6, 3],
            hidden_sizes=widths,
            embedding_size=8,
            out_features=OUTPUTS,
        )
        is_second = kind.startswith("rt_detr_v2")
        config = (transformers.RTDetrV2Config if is_second else transformers.RTDetrConfig)(
            backbone_config=backbone, encoder_in_channels=widths[1:], **options
        )
        classes = transformers.RTDetrV2ForObjectDetection, transformers.RTDetrForObjectDetection
        model = classes[0 if is_second else 1](config)
    fill(model)
    return model


def fill(model) -> None:
    """Random weights, of a size that keeps features of order 1."""
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if "running_var" in name:
                value.uniform_(0.5, 1.5)
            elif "running_mean" in name:
                value.normal_(0, 0.1)
            elif value.dim() > 1:
                value.normal_(0, value[0].numel() ** -0.5)
            elif value.is_floating_point() and not any(part in name for part in _FIXED):
                value.add_(torch.randn_like(value) * 0.1)
