"""Hugging Face's names of plain vision transformers and of EoMT, turned into those of timm.

DINOv2 (also with registers), DINOv3, ViT and MAE are bare backbones; EoMT has heads beside its
encoder. Where queries and values have a bias and keys have none (DINOv3), these stay apart.
"""

from collections.abc import Mapping

from torch import Tensor

from .renaming import Rules, compiled, renamed

_LAYER = r"(?:encoder\.|model\.)?layers?.(\d+)"
_ATTENTION = rf"{_LAYER}.attention\.(?:attention\.)?"
_PREFIX = r"(?:vit\.|dinov2\.|dinov2_with_registers\.|dinov3_vit\.)?"


def _rules(*, is_dinov3: bool) -> Rules:
    """Pattern -> name; see `compiled`."""
    part = r"([qkv])(?:uery|ey|alue|_proj)"
    rules = [
        (r"embeddings.cls_token", "cls_token"),
        (r"embeddings.register_tokens", "reg_token"),
        (r"embeddings.mask_token", ""),
        (r"embeddings.position_embeddings(?:\.weight)?", "pos_embed"),
        (r"embeddings.patch_embeddings(?:\.projection)?", "patch_embed.proj"),
        *([(rf"{_ATTENTION}{part}.bias", r"blocks.\1.attn.\2_bias")] if is_dinov3 else []),
        (rf"{_ATTENTION}{part}.(\w+)", r"blocks.\1.attn.qkv.\3.{\2}"),
        (rf"{_ATTENTION}(?:output.dense|out_proj|o_proj)", r"blocks.\1.attn.proj"),
        (rf"{_LAYER}.attention.output.dense", r"blocks.\1.attn.proj"),
        (
            rf"{_LAYER}.layer_scale(\d).lambda1",
            r"blocks.\1.gamma_\2" if is_dinov3 else r"blocks.\1.ls\2.gamma",
        ),
        (rf"{_LAYER}.layernorm_before", r"blocks.\1.norm1"),
        (rf"{_LAYER}.layernorm_after", r"blocks.\1.norm2"),
        (rf"{_LAYER}.mlp.gate_proj", r"blocks.\1.mlp.fc1_g"),
        (rf"{_LAYER}.(?:intermediate.dense|mlp.up_proj|mlp.weights_in)", r"blocks.\1.mlp.fc1"),
        (rf"{_LAYER}.(?:output.dense|mlp.down_proj|mlp.weights_out)", r"blocks.\1.mlp.fc2"),
        (_LAYER, r"blocks.\1"),
        (r"(?:layer)?norm", "norm"),
        (r"(?:pooler|classifier|decoder)(?:\.[\w.]+)?", ""),
    ]
    return compiled((_PREFIX + theirs, ours) for theirs, ours in rules)


_HEAD_NAMES = (
    "query",
    "class_predictor",
    "mask_head",
    "upscale_block",
    "attn_mask_probs",
    "criterion",
)
_HEADS = compiled(
    [
        (r"query", "q"),
        (r"class_predictor", "class_head"),
        *((rf"mask_head.fc{i + 1}", f"mask_head.{2 * i}") for i in range(3)),
        (r"upscale_block.block.(\d+).layernorm2d", r"upscale.\1.norm"),
        (r"upscale_block.block", "upscale"),
    ]
)


def is_transformers_vit(names: Mapping[str, object]) -> bool:
    """Whether the names are those of a plain vision transformer, or EoMT, of transformers."""
    return any(
        name.endswith("embeddings.cls_token") and "language" not in name for name in names
    ) and any(".patch_embeddings." in name or "layers.0.attention" in name for name in names)


def convert_transformers_vit(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Give weights of a plain vision transformer the names of timm, those of EoMT ours.

    Args:
        weights: by the names that transformers saves.

    Returns:
        The weights, queries, keys and values joined into one, and whether the names are bare
        ones of a backbone. The position of the class token is added to the token where registers
        stand between it and the cells, as timm has it. Classifiers, decoders of MAE and the token
        of masked patches are left out.
    """
    is_eomt = "query.weight" in weights
    heads = {k: v for k, v in weights.items() if is_eomt and k.startswith(_HEAD_NAMES)}
    encoder = {k: v for k, v in weights.items() if k not in heads}
    is_dinov3 = any(name.endswith("patch_embeddings.weight") for name in encoder)
    named = renamed(encoder, _rules(is_dinov3=is_dinov3))
    positions = named.get("pos_embed")
    if positions is not None and positions.dim() == 2:
        named["pos_embed"] = positions[None]
    elif positions is not None and "reg_token" in named:
        named["cls_token"] = named["cls_token"] + positions[:, :1]
        named["pos_embed"] = positions[:, 1:]
    if not is_eomt:
        return named, True
    return {**{f"backbone.net.{k}": v for k, v in named.items()}, **renamed(heads, _HEADS)}, False


def is_original_eomt(names: Mapping[str, object]) -> bool:
    """Whether the names are those of the original code of EoMT."""
    return "network.q.weight" in names


def rename_original_eomt(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of the original code of EoMT our names; its pixel statistics are left out."""
    named = {
        name.removeprefix("network.").replace("encoder.backbone.", "backbone.net.", 1): value
        for name, value in weights.items()
    }
    return {name: value for name, value in named.items() if not name.startswith("encoder.")}
