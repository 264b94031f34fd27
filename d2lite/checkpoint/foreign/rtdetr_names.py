"""Names of weights of RT-DETR and D-FINE: of Hugging Face and of the original repositories."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import compiled, renamed

_MARK = "model.enc_output.0.weight"
_ORIGINAL_MARKS = (
    "backbone.conv1.conv1_1.conv.weight",
    "decoder.anchors",
    "decoder.dec_score_head.0.weight",
)

_CNN = "model.backbone.model"


def attention_rules(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Rules of a layer's attention among its cells or queries, and of its perceptron.

    transformers has two sets of names: those of files, and those of modules since version 5.
    """
    return [
        (rf"{theirs}.self_attn.([qkv])_proj.(\w+)", rf"{ours}.self_attn.in_proj_\3.{{\2}}"),
        (rf"{theirs}.self_attn.(?:out|o)_proj", rf"{ours}.self_attn.out_proj"),
        (rf"{theirs}.self_attn_layer_norm", rf"{ours}.norm1"),
        (rf"{theirs}.(?:mlp.)?fc([12])", rf"{ours}.linear\2"),
        (rf"{theirs}.mlp.layers.0", rf"{ours}.linear1"),
        (rf"{theirs}.mlp.layers.1", rf"{ours}.linear2"),
    ]


def stage_rules(theirs: str) -> list[tuple[str, str]]:
    """The stages of a ResNet in transformers, whose numbers change.

    Args:
        theirs: a pattern of what comes before their names.
    """
    rules = []
    for stage in range(4):
        block, ours = rf"{theirs}.encoder.stages.{stage}.layers.(\d+)", f"backbone.res{stage + 2}"
        parts = {f"layer.{number}": f"conv{number + 1}" for number in range(3)}
        for part, name in {**parts, "shortcut(?:.1)?": "shortcut"}.items():
            rules.append((rf"{block}.{part}.convolution", rf"{ours}.\1.{name}"))
            rules.append((rf"{block}.{part}.normalization", rf"{ours}.\1.{name}.norm"))
    return rules


def _stem_rules() -> list[tuple[str, str]]:
    rules = []
    for number in range(3):
        theirs, ours = rf"{_CNN}.embedder.embedder.{number}", f"backbone.stem.conv{number + 1}"
        rules += [(rf"{theirs}.convolution", ours), (rf"{theirs}.normalization", f"{ours}.norm")]
    return rules


# A part of an HGNetv2's name up to its convolution, norm or affine step.
_HGNET = r"((?:[\w.]+?))"
_RULES = compiled(
    [
        *stage_rules(_CNN),
        *_stem_rules(),
        (rf"{_CNN}.(?:embedder.(stem\w+)).convolution", r"backbone.stem.\1.conv"),
        (rf"{_CNN}.(?:embedder.(stem\w+)).normalization", r"backbone.stem.\1.bn"),
        (rf"{_CNN}.(?:embedder.(stem\w+)).lab", r"backbone.stem.\1.lab"),
        (rf"{_CNN}.encoder.stages.{_HGNET}.convolution", r"backbone.stages.\1.conv"),
        (rf"{_CNN}.encoder.stages.{_HGNET}.normalization", r"backbone.stages.\1.bn"),
        (rf"{_CNN}.encoder.stages.{_HGNET}.lab", r"backbone.stages.\1.lab"),
        (r"model.encoder_input_proj.(\d+).0", r"encoder.input_proj.\1.conv"),
        (r"model.encoder_input_proj.(\d+).1", r"encoder.input_proj.\1.norm"),
        *attention_rules(r"model.encoder.(?:encoder|aifi).(\d+.layers.\d+)", r"encoder.encoder.\1"),
        (
            r"model.encoder.(?:encoder|aifi).(\d+.layers.\d+).final_layer_norm",
            r"encoder.encoder.\1.norm2",
        ),
        (r"model.encoder.downsample_convs.(\d+).conv([12])", r"encoder.downsample_convs.\1.0.cv\2"),
        (r"model.encoder.((?:fpn|pan)_blocks.\d+).csp_rep1", r"encoder.\1.cv2.0"),
        (r"model.encoder.((?:fpn|pan)_blocks.\d+).csp_rep2", r"encoder.\1.cv3.0"),
        (r"model.encoder", "encoder"),
        (r"model.decoder_input_proj.(\d+).0", r"decoder.input_proj.\1.conv"),
        (r"model.decoder_input_proj.(\d+).1", r"decoder.input_proj.\1.norm"),
        (r"model.enc_output.0", "decoder.enc_output.proj"),
        (r"model.enc_output.1", "decoder.enc_output.norm"),
        (r"model.(enc_\w+|denoising_class_embed)", r"decoder.\1"),
        *attention_rules(r"model.decoder.layers.(\d+)", r"decoder.decoder.layers.\1"),
        (r"model.decoder.layers.\d+.encoder_attn.(?:n|num)_points_scale", ""),
        (r"model.decoder.layers.(\d+).encoder_attn_layer_norm", r"decoder.decoder.layers.\1.norm2"),
        (r"model.decoder.layers.(\d+).encoder_attn", r"decoder.decoder.layers.\1.cross_attn"),
        (r"model.decoder.layers.(\d+).final_layer_norm", r"decoder.decoder.layers.\1.norm3"),
        (r"model.decoder.layers", "decoder.decoder.layers"),
        (r"model.decoder.lqe_layers", "decoder.decoder.lqe_layers"),
        (r"model.decoder.(?:up|reg_scale)", ""),
        (r"(?:model.decoder.)?class_embed", "decoder.dec_score_head"),
        (r"(?:model.decoder.)?bbox_embed", "decoder.dec_bbox_head"),
        (r"model.decoder", "decoder"),
    ]
)
# The blocks of D-FINE's encoder, after the rules above; those of RT-DETR have some of these names.
_ELAN_RULES = compiled(
    [
        (r"encoder.((?:fpn|pan)_blocks.\d+).conv1", r"encoder.\1.cv1"),
        (r"encoder.((?:fpn|pan)_blocks.\d+).conv2", r"encoder.\1.cv2.1"),
        (r"encoder.((?:fpn|pan)_blocks.\d+).conv3", r"encoder.\1.cv3.1"),
        (r"encoder.((?:fpn|pan)_blocks.\d+).conv4", r"encoder.\1.cv4"),
    ]
)

_ORIGINAL_RULES = compiled(
    [
        (r"backbone.conv1.conv1_(\d).conv", r"backbone.stem.conv\1"),
        (r"backbone.conv1.conv1_(\d).norm", r"backbone.stem.conv\1.norm"),
        *(
            (
                rf"backbone.res_layers.{stage}.blocks.(\d+).{theirs}",
                rf"backbone.res{stage + 2}.\1.{ours}",
            )
            for stage in range(4)
            for theirs, ours in {
                "branch2a.conv": "conv1",
                "branch2a.norm": "conv1.norm",
                "branch2b.conv": "conv2",
                "branch2b.norm": "conv2.norm",
                "branch2c.conv": "conv3",
                "branch2c.norm": "conv3.norm",
                "short.conv.conv": "shortcut",
                "short.conv.norm": "shortcut.norm",
                "short.conv": "shortcut",
                "short.norm": "shortcut.norm",
            }.items()
        ),
        (r"decoder.enc_output.0", "decoder.enc_output.proj"),
        (r"decoder.enc_output.1", "decoder.enc_output.norm"),
        (r"decoder.(?:anchors|valid_mask|up|reg_scale)", ""),
        (r"decoder.decoder.(?:up|reg_scale|project)", ""),
        (r"decoder.decoder.layers.\d+.cross_attn.num_points_scale", ""),
    ]
)


def is_transformers_rtdetr(names: Mapping[str, object]) -> bool:
    """Whether the names are those of RT-DETR or D-FINE in the library transformers."""
    return _MARK in names


def convert_transformers_rtdetr(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of RT-DETR, RT-DETRv2 or D-FINE our names.

    Args:
        weights: by the names that transformers saves.

    Returns:
        The weights; queries, keys and values joined into one. Constants are left out.
    """
    found = renamed(weights, _RULES)
    if any(".csp_rep1." in name for name in weights):
        found = renamed(found, _ELAN_RULES)
    return found


def is_original_rtdetr(names: Mapping[str, object]) -> bool:
    """Whether the names are those of the repositories RT-DETR and D-FINE, or ours."""
    return any(mark in names for mark in _ORIGINAL_MARKS)


def rename_original_rtdetr(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of the original repositories our names; only those of a ResNet differ.

    Args:
        weights: by the names that RT-DETR and D-FINE save.
    """
    return renamed(weights, _ORIGINAL_RULES)
