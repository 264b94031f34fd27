"""Names of weights of DETR, Deformable DETR and DINO: of Hugging Face, the originals and detrex."""

import re
from collections.abc import Mapping

from torch import Tensor

from .renaming import compiled, renamed
from .rtdetr_names import attention_rules, stage_rules
from .torchvision_names import resnet_rules

_STAGE = r"model.backbone(?:.conv_encoder)?.model"
_THEIR_MARKS = (
    "class_labels_classifier.weight",
    "class_embed.0.weight",
    "model.decoder.class_embed.0.weight",
)
_ORIGINAL_MARK = "backbone.0.body.conv1.weight"
_DETREX_MARK = "transformer.encoder.layers.0.attentions.0.value_proj.weight"


_ENCODER = r"model.encoder.layers.(\d+)"
_DECODER = r"model.decoder.layers.(\d+)"
_COMMON = [
    *resnet_rules("backbone", _STAGE),
    (rf"{_STAGE}.embedder.embedder.convolution", "backbone.stem.conv1"),
    (rf"{_STAGE}.embedder.embedder.normalization", "backbone.stem.conv1.norm"),
    *stage_rules(_STAGE),
    (r"model.query_position_embeddings", "query_embed"),
    *attention_rules(_ENCODER, r"transformer.encoder.layers.\1"),
    (rf"{_ENCODER}.final_layer_norm", r"transformer.encoder.layers.\1.norm2"),
    *attention_rules(_DECODER, r"transformer.decoder.layers.\1"),
    (rf"{_DECODER}.encoder_attn_layer_norm", r"transformer.decoder.layers.\1.norm2"),
    (rf"{_DECODER}.final_layer_norm", r"transformer.decoder.layers.\1.norm3"),
]
_DETR_RULES = compiled(
    [
        *_COMMON,
        (r"model.input_projection", "input_proj"),
        (
            rf"{_DECODER}.encoder_attn.([qkv])_proj.(\w+)",
            r"transformer.decoder.layers.\1.multihead_attn.in_proj_\3.{\2}",
        ),
        (
            rf"{_DECODER}.encoder_attn.(?:out|o)_proj",
            r"transformer.decoder.layers.\1.multihead_attn.out_proj",
        ),
        (r"model.decoder.layernorm", "transformer.decoder.norm"),
        (r"class_labels_classifier", "class_embed"),
        (r"bbox_predictor", "bbox_embed"),
    ]
)
_DEFORMABLE_RULES = compiled(
    [
        *_COMMON,
        (rf"{_ENCODER}.self_attn", r"transformer.encoder.layers.\1.self_attn"),
        (rf"{_DECODER}.encoder_attn", r"transformer.decoder.layers.\1.cross_attn"),
        (r"(?:model.decoder.)?(class_embed|bbox_embed)", r"\1"),
        (r"model.input_proj", "input_proj"),
        (r"model", "transformer"),
    ]
)
# The norms of Deformable DETR's decoder are counted as they were made, not in their order.
_SWAPPED = [
    (r"transformer.decoder.layers.(\d+).norm1", r"transformer.decoder.layers.\1.norm2"),
    (r"transformer.decoder.layers.(\d+).norm2", r"transformer.decoder.layers.\1.norm1"),
]
_DETREX = r"transformer.((?:en|de)coder.layers.\d+)"
_DETREX_RULES = compiled(
    [
        (r"neck.convs.(\d+).conv", r"input_proj.\1.0"),
        (r"neck.convs.(\d+).norm", r"input_proj.\1.1"),
        # After the maps of three stages of the backbone.
        (r"neck.extra_convs.0.conv", "input_proj.3.0"),
        (r"neck.extra_convs.0.norm", "input_proj.3.1"),
        (r"transformer.level_embeds", "transformer.level_embed"),
        (r"transformer.(encoder.layers.\d+).attentions.0", r"transformer.\1.self_attn"),
        (r"transformer.(decoder.layers.\d+).attentions.0.attn", r"transformer.\1.self_attn"),
        (r"transformer.(decoder.layers.\d+).attentions.1", r"transformer.\1.cross_attn"),
        (rf"{_DETREX}.ffns.0.layers.0.0", r"transformer.\1.linear1"),
        (rf"{_DETREX}.ffns.0.layers.1", r"transformer.\1.linear2"),
        (rf"{_DETREX}.norms.0", r"transformer.\1.norm1"),
        (rf"{_DETREX}.norms.1", r"transformer.\1.norm2"),
        (rf"{_DETREX}.norms.2", r"transformer.\1.norm3"),
        (r"transformer.decoder.(?:class|bbox)_embed", ""),
    ]
)


def is_transformers_detr(names: Mapping[str, object]) -> bool:
    """Whether the names are those of DETR or Deformable DETR in the library transformers."""
    return "model.encoder.layers.0.self_attn_layer_norm.weight" in names and any(
        mark in names for mark in _THEIR_MARKS
    )


def convert_transformers_detr(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of DETR or Deformable DETR our names.

    Args:
        weights: by the names that transformers saves.

    Returns:
        The weights; queries, keys and values joined into one. One head that all layers share is
        there once for each, as in the original files.
    """
    is_detr = "class_labels_classifier.weight" in weights
    found = renamed(weights, _DETR_RULES if is_detr else _DEFORMABLE_RULES)
    if is_detr:
        return found
    numbers = [re.match(r"transformer\.decoder\.layers\.(\d+)", name) for name in found]
    firsts = [name for name in found if re.match(r"(?:class|bbox)_embed\.0", name)]
    for number in {int(match[1]) for match in numbers if match}:
        for name in firsts:
            found.setdefault(name.replace("embed.0", f"embed.{number}"), found[name])
    return found


def is_original_detr(names: Mapping[str, object]) -> bool:
    """Whether the names are those of the repositories DETR, Deformable DETR and DINO, or detrex."""
    return _ORIGINAL_MARK in names or _DETREX_MARK in names


def rename_original_detr(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of the original repositories, or of detrex, our names.

    Args:
        weights: by the names that DETR, Deformable DETR, DINO and detrex save.
    """
    if _DETREX_MARK in weights:
        found = renamed(weights, _DETREX_RULES)
    else:
        is_deformable = "transformer.level_embed" in weights
        last = len({name for name in weights if re.match(r"class_embed\.\d+\.bias", name)})
        rules = [
            *resnet_rules("backbone", "backbone.0.body"),
            *(_SWAPPED if is_deformable else ()),
            (r"transformer.enc_out_class_embed", f"class_embed.{last}"),
            (r"transformer.enc_out_bbox_embed", f"bbox_embed.{last}"),
            (r"transformer.decoder.(?:class|bbox)_embed", ""),
        ]
        found = renamed(weights, compiled(rules))
    if "label_enc.weight" in found:
        # Published DINO has a row more than it has classes; it is not used.
        found["label_enc.weight"] = found["label_enc.weight"][: len(found["class_embed.0.bias"])]
    return found
