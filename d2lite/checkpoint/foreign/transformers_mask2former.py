"""Hugging Face's and other names of Mask2Former's weights, turned into the published ones."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import compiled, renamed

_MARK = "model.transformer_module.queries_features.weight"
_PIXELS = "model.pixel_level_module"
_BLOCK = rf"{_PIXELS}.encoder.encoder.layers.(\d+).blocks.(\d+)"
_DECODER = "sem_seg_head.predictor"

# Pattern -> name; see `compiled`.
_RULES: list[tuple[str, str]] = [
    (r"class_predictor", f"{_DECODER}.class_embed"),
    (r"model.transformer_module.queries_embedder", f"{_DECODER}.query_embed"),
    (r"model.transformer_module.queries_features", f"{_DECODER}.query_feat"),
    (r"model.transformer_module.level_embed", f"{_DECODER}.level_embed"),
    (r"model.transformer_module.input_projections", f"{_DECODER}.input_proj"),
    (r"model.transformer_module.decoder.layernorm", f"{_DECODER}.decoder_norm"),
    (
        r"model.transformer_module.decoder.mask_predictor.mask_embedder.(\d).0",
        rf"{_DECODER}.mask_embed.layers.\1",
    ),
    *(
        (rf"model.transformer_module.decoder.layers.(\d+).{theirs}", rf"{_DECODER}.{ours}")
        for theirs, ours in {
            r"self_attn.([qkv])_proj.(\w+)": (
                r"transformer_self_attention_layers.\1.self_attn.in_proj_\3.{\2}"
            ),
            r"self_attn_layer_norm": r"transformer_self_attention_layers.\1.norm",
            r"self_attn": r"transformer_self_attention_layers.\1.self_attn",
            r"cross_attn_layer_norm": r"transformer_cross_attention_layers.\1.norm",
            r"cross_attn": r"transformer_cross_attention_layers.\1.multihead_attn",
            r"fc([12])": r"transformer_ffn_layers.\1.linear\2",
            r"final_layer_norm": r"transformer_ffn_layers.\1.norm",
        }.items()
    ),
    *(
        (rf"{_PIXELS}.decoder.{theirs}", rf"sem_seg_head.pixel_decoder.{ours}")
        for theirs, ours in {
            r"encoder.layers.(\d+).self_attn_layer_norm": r"transformer.encoder.layers.\1.norm1",
            r"encoder.layers.(\d+).final_layer_norm": r"transformer.encoder.layers.\1.norm2",
            r"encoder.layers.(\d+).fc([12])": r"transformer.encoder.layers.\1.linear\2",
            r"encoder": "transformer.encoder",
            r"level_embed": "transformer.level_embed",
            r"input_projections": "input_proj",
            r"mask_projection": "mask_features",
            r"(adapter|layer)_(\d).0": r"\1_\2",
            r"(adapter|layer)_(\d).1": r"\1_\2.norm",
        }.items()
    ),
    (rf"{_PIXELS}.encoder.embeddings.patch_embeddings.projection", "backbone.patch_embed.proj"),
    (rf"{_PIXELS}.encoder.embeddings.norm", "backbone.patch_embed.norm"),
    *(
        (rf"{_BLOCK}.{theirs}", rf"backbone.layers.\1.blocks.\2.{ours}")
        for theirs, ours in {
            r"attention.self.(query|key|value).(\w+)": r"attn.qkv.\4.{\3}",
            r"attention.self": "attn",
            r"attention.output.dense": "attn.proj",
            r"layernorm_before": "norm1",
            r"layernorm_after": "norm2",
            r"intermediate.dense": "mlp.fc1",
            r"output.dense": "mlp.fc2",
        }.items()
    ),
    (rf"{_PIXELS}.encoder.encoder.layers", "backbone.layers"),
    *(
        (rf"{_PIXELS}.encoder.hidden_states_norms.stage{i + 1}", f"backbone.norm{i}")
        for i in range(4)
    ),
]
_COMPILED = compiled(_RULES)


def is_transformers_mask2former(names: Mapping[str, object]) -> bool:
    """Whether the names are those of Mask2Former in the library transformers."""
    return _MARK in names


def convert_transformers_mask2former(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of Mask2Former with a Swin their published names.

    Args:
        weights: by the names that transformers saves.

    Returns:
        The weights; queries, keys and values joined into one. The norm after the last stage of
        the Swin, which the model does not use, is left out.
    """
    unused = f"{_PIXELS}.encoder.swin.layernorm"
    return renamed({k: v for k, v in weights.items() if not k.startswith(unused)}, _COMPILED)


def rename_first_mask2former(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the start values of queries, which the first published weights call static_query."""
    first, now = (f"{_DECODER}.{name}.weight" for name in ("static_query", "query_feat"))
    return {now if name == first else name: value for name, value in weights.items()}
