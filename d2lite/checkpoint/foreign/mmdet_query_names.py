"""Names of weights of MMDetection's SOLOv2, DETR, Deformable DETR, DINO and Mask2Former."""

from collections.abc import Mapping

from torch import Tensor

from .mmdet_names import LEFT_OUT, pyramid_rules
from .renaming import Rules, compiled, renamed
from .torchvision_names import resnet_rules

_HEAD = "sem_seg_head.pixel_decoder"
_DECODER = "sem_seg_head.predictor"


def _solov2() -> Rules:
    """Towers are lists of convolution, norm and ReLU here."""
    rules = [*resnet_rules(), *pyramid_rules()]
    for theirs, ours in (("cls", "cate"), ("kernel", "kernel")):
        for i in range(8):
            tower = f"ins_head.{ours}_tower"
            rules.append((rf"mask_head.{theirs}_convs.{i}.conv", f"{tower}.{3 * i}"))
            rules.append((rf"mask_head.{theirs}_convs.{i}.gn", f"{tower}.{3 * i + 1}"))
        rules.append((rf"mask_head.conv_{theirs}", f"ins_head.{ours}_pred"))
    level = r"mask_head.mask_feature_head.(convs_all_levels.\d+.conv\d|conv_pred)"
    for part, number in (("conv", 0), ("gn", 1)):
        rules.append((rf"{level}.{part}", rf"mask_head.\1.{number}"))
    return compiled([*rules, *LEFT_OUT])


def _layers(number: str, *norms: str) -> list[tuple[str, str]]:
    """What the layers of all transformers share."""
    ours = number.replace(r"(\d+)", r"\1")
    return [
        (rf"{number}.self_attn.attn", rf"transformer.{ours}.self_attn"),
        (rf"{number}.ffn.layers.0.0", rf"transformer.{ours}.linear1"),
        (rf"{number}.ffn.layers.1", rf"transformer.{ours}.linear2"),
        *((rf"{number}.norms.{i}", rf"transformer.{ours}.{norm}") for i, norm in enumerate(norms)),
    ]


_TRANSFORMER = [
    *resnet_rules("backbone"),
    *_layers(r"encoder.layers.(\d+)", "norm1", "norm2"),
    *_layers(r"decoder.layers.(\d+)", "norm1", "norm2", "norm3"),
    (r"decoder.layers.(\d+).cross_attn.attn", r"transformer.decoder.layers.\1.multihead_attn"),
    *LEFT_OUT,
]
_DETR_RULES = compiled(
    [
        *_TRANSFORMER,
        (r"decoder.post_norm", "transformer.decoder.norm"),
        (r"query_embedding", "query_embed"),
        (r"neck.convs.0.conv", "input_proj"),
        (r"bbox_head.fc_cls", "class_embed"),
        (r"bbox_head.reg_ffn.layers.0.0", "bbox_embed.layers.0"),
        (r"bbox_head.reg_ffn.layers.1", "bbox_embed.layers.1"),
        (r"bbox_head.fc_reg", "bbox_embed.layers.2"),
    ]
)


def _deformable(maps: int, queries: str) -> Rules:
    """Deformable DETR and DINO.

    Args:
        maps: of the backbone; the further ones are made of the last.
        queries: the name of the learned queries.
    """
    rules = [
        *_TRANSFORMER,
        (r"(encoder|decoder|level_embed)", r"transformer.\1"),
        (r"reference_points_fc", "transformer.reference_points"),
        (r"memory_trans_fc", "transformer.enc_output"),
        (r"memory_trans_norm", "transformer.enc_output_norm"),
        (r"pos_trans_fc", "transformer.pos_trans"),
        (r"pos_trans_norm", "transformer.pos_trans_norm"),
        (r"query_embedding", queries),
        (r"dn_query_generator.label_embedding", "label_enc"),
        (r"bbox_head.cls_branches", "class_embed"),
        *(
            (rf"bbox_head.reg_branches.(\d+).{2 * i}", rf"bbox_embed.\1.layers.{i}")
            for i in range(3)
        ),
    ]
    for part, number in (("conv", 0), ("gn", 1)):
        rules.append((rf"neck.convs.(\d+).{part}", rf"input_proj.\1.{number}"))
        for i in range(4):
            rules.append((rf"neck.extra_convs.{i}.{part}", f"input_proj.{maps + i}.{number}"))
    return compiled(rules)


_SWIN_BLOCK = r"backbone.stages.(\d+).blocks.(\d+)"
_SWIN = [
    (r"backbone.patch_embed.projection", "backbone.patch_embed.proj"),
    (rf"{_SWIN_BLOCK}.attn.w_msa", r"backbone.layers.\1.blocks.\2.attn"),
    (rf"{_SWIN_BLOCK}.ffn.layers.0.0", r"backbone.layers.\1.blocks.\2.mlp.fc1"),
    (rf"{_SWIN_BLOCK}.ffn.layers.1", r"backbone.layers.\1.blocks.\2.mlp.fc2"),
    (r"backbone.stages", "backbone.layers"),
]


def _merged_as_here(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Order the inputs of a Swin's downsampling as here.

    Of the four cells that become one, MMDetection puts the four values of a channel together, by
    rows; here the channels of a cell are together, by columns.
    """
    ordered = {}
    for name, value in found.items():
        if ".downsample." in name and name.startswith("backbone.layers"):
            cells = value.unflatten(-1, (-1, 2, 2))
            value = cells.movedim((-1, -2, -3), (-3, -2, -1)).flatten(-3)
        ordered[name] = value
    return ordered


def _mask2former() -> Rules:
    pixels, layer = (
        r"panoptic_head.pixel_decoder",
        r"panoptic_head.transformer_decoder.layers.(\d+)",
    )
    rules = [*_SWIN, *resnet_rules("backbone"), *LEFT_OUT]
    for part, number, norm in (("conv", 0, ""), ("gn", 1, ".norm")):
        rules.append((rf"{pixels}.input_convs.(\d+).{part}", rf"{_HEAD}.input_proj.\1.{number}"))
        for theirs, ours in (("lateral", "adapter"), ("output", "layer")):
            # Of the one map that is finer than those of the transformer.
            rules.append((rf"{pixels}.{theirs}_convs.0.{part}", f"{_HEAD}.{ours}_1{norm}"))
    encoder, ours = rf"{pixels}.encoder.layers.(\d+)", rf"{_HEAD}.transformer.encoder.layers.\1"
    cross, own, ffn = (
        rf"{_DECODER}.transformer_{kind}_layers.\1"
        for kind in ("cross_attention", "self_attention", "ffn")
    )
    return compiled(
        [
            *rules,
            (rf"{encoder}.ffn.layers.0.0", rf"{ours}.linear1"),
            (rf"{encoder}.ffn.layers.1", rf"{ours}.linear2"),
            (rf"{encoder}.norms.0", rf"{ours}.norm1"),
            (rf"{encoder}.norms.1", rf"{ours}.norm2"),
            (rf"{pixels}.encoder", f"{_HEAD}.transformer.encoder"),
            (rf"{pixels}.level_encoding.weight", f"{_HEAD}.transformer.level_embed"),
            (rf"{pixels}.mask_feature", f"{_HEAD}.mask_features"),
            (rf"{layer}.cross_attn.attn", f"{cross}.multihead_attn"),
            (rf"{layer}.self_attn.attn", f"{own}.self_attn"),
            (rf"{layer}.ffn.layers.0.0", f"{ffn}.linear1"),
            (rf"{layer}.ffn.layers.1", f"{ffn}.linear2"),
            (rf"{layer}.norms.0", f"{cross}.norm"),
            (rf"{layer}.norms.1", f"{own}.norm"),
            (rf"{layer}.norms.2", f"{ffn}.norm"),
            (r"panoptic_head.transformer_decoder.post_norm", f"{_DECODER}.decoder_norm"),
            (r"panoptic_head.cls_embed", f"{_DECODER}.class_embed"),
            *(
                (rf"panoptic_head.mask_embed.{2 * i}", f"{_DECODER}.mask_embed.layers.{i}")
                for i in range(3)
            ),
            (r"panoptic_head.(query_embed|query_feat|level_embed)", rf"{_DECODER}.\1"),
            # Weights of the loss of classes.
            (r"panoptic_head.loss_cls", ""),
        ]
    )


_SOLOV2_RULES, _MASK2FORMER_RULES = _solov2(), _mask2former()
# A name that is in the files of a model alone -> the model.
_MARKS = {
    "mask_head.mask_feature_head.conv_pred.conv.weight": "SOLOv2",
    "panoptic_head.pixel_decoder.level_encoding.weight": "Mask2Former",
    "dn_query_generator.label_embedding.weight": "DINO",
    "bbox_head.reg_ffn.layers.0.0.weight": "DETR",
    "bbox_head.reg_branches.0.0.weight": "Deformable DETR",
}


def _kind(names: Mapping[str, object]) -> str:
    kind = next((kind for mark, kind in _MARKS.items() if mark in names), "")
    has_swin = kind == "Mask2Former" and "backbone.patch_embed.projection.weight" in names
    return kind if has_swin or "backbone.layer4.0.conv1.weight" in names else ""


def is_mmdet_query(names: Mapping[str, object]) -> bool:
    """Whether the names are MMDetection's of a model of this file; with a Swin, of Mask2Former."""
    return bool(_kind(names))


def rename_mmdet_query(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of SOLOv2, DETR, Deformable DETR, DINO or Mask2Former our names.

    Args:
        weights: by the names that MMDetection 3 saves.
    """
    kind = _kind(weights)
    if kind == "SOLOv2":
        return renamed(weights, _SOLOV2_RULES)
    if kind == "Mask2Former":
        return _merged_as_here(renamed(weights, _MASK2FORMER_RULES))
    if kind == "DETR":
        return renamed(weights, _DETR_RULES)
    maps = len({name for name in weights if name.startswith("neck.convs.")}) // 3
    queries = "transformer.tgt_embed" if kind == "DINO" else "query_embed"
    found = renamed(weights, _deformable(maps, queries))
    for name in [
        name for name in found if name.startswith("input_proj") and name.endswith("0.weight")
    ]:
        # Convolutions before a norm have no bias there.
        found.setdefault(name.replace("weight", "bias"), found[name].new_zeros(len(found[name])))
    return found
