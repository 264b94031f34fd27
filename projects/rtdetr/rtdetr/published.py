"""Keys of the configuration that follow from the `config.json` of Hugging Face's weights."""

from collections.abc import Mapping
from typing import Any

from d2lite.checkpoint.hugging_face import RESNET_DEPTHS, follow_hugging_face, refuse_other_forms
from d2lite.config import CfgNode
from d2lite.utils.errors import ConfigError

MODEL_TYPES = ("rt_detr", "rt_detr_v2", "d_fine")

# Our key under MODEL.RTDETR -> theirs.
_SAME = {
    "ENCODER.HIDDEN_DIM": "encoder_hidden_dim",
    "ENCODER.FEEDFORWARD": "encoder_ffn_dim",
    "ENCODER.HEADS": "encoder_attention_heads",
    "ENCODER.LAYERS": "encoder_layers",
    "ENCODER.ATTENDED": "encode_proj_layers",
    "ENCODER.EXPANSION": "hidden_expansion",
    "ENCODER.DEPTH": "depth_mult",
    "DROPOUT": "dropout",
    "DECODER.QUERIES": "num_queries",
    "DECODER.HIDDEN_DIM": "d_model",
    "DECODER.FEEDFORWARD": "decoder_ffn_dim",
    "DECODER.HEADS": "decoder_attention_heads",
    "DECODER.LAYERS": "decoder_layers",
    "DECODER.OFFSET_SCALE": "decoder_offset_scale",
    "DECODER.METHOD": "decoder_method",
    "DECODER.BINS": "max_num_bins",
    "DECODER.REACH": "up",
    "DECODER.CURVATURE": "reg_scale",
    "DENOISING.QUERIES": "num_denoising",
    "DENOISING.LABEL_NOISE": "label_noise_ratio",
    "DENOISING.BOX_NOISE": "box_noise_scale",
    "MATCHER.CLASS_COST": "matcher_class_cost",
    "MATCHER.BBOX_COST": "matcher_bbox_cost",
    "MATCHER.GIOU_COST": "matcher_giou_cost",
    "MATCHER.ALPHA": "matcher_alpha",
    "MATCHER.GAMMA": "matcher_gamma",
    "LOSS.ALPHA": "focal_loss_alpha",
    "LOSS.GAMMA": "focal_loss_gamma",
    "LOSS.CLASS_WEIGHT": "weight_loss_vfl",
    "LOSS.BBOX_WEIGHT": "weight_loss_bbox",
    "LOSS.GIOU_WEIGHT": "weight_loss_giou",
    "LOSS.FGL_WEIGHT": "weight_loss_fgl",
    "LOSS.DDF_WEIGHT": "weight_loss_ddf",
}
# What our model has in one form: name -> the values that are that form.
_FIXED: dict[str, tuple[Any, ...]] = {
    "normalize_before": (False,),
    "learn_initial_query": (False,),
    "encoder_activation_function": ("gelu",),
    "activation_function": ("silu",),
    "decoder_activation_function": ("relu",),
    "positional_encoding_temperature": (10000,),
    "eval_idx": (-1,),
    "layer_scale": (1, 1.0),
    "with_box_refine": (True,),
    "batch_norm_eps": (1e-05,),
    "layer_norm_eps": (1e-05,),
}


def follow_published_config(cfg: CfgNode) -> None:
    """Derive the keys of the model from the weights that it starts from, where these say them.

    Values of the command line and of code stay.

    Args:
        cfg: the whole config; may be frozen. MODEL.WEIGHTS is read.

    Raises:
        ConfigError: if the weights are of a model that is not built here.
    """
    follow_hugging_face(cfg, MODEL_TYPES, options_of, "MODEL.RTDETR.NUM_CLASSES")


def options_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that a `config.json` says.

    Args:
        content: of a model of one of `MODEL_TYPES`.

    Raises:
        ConfigError: for a form that our model does not have.
    """
    refuse_other_forms(content, _FIXED)
    is_fine = content["model_type"] == "d_fine"
    points = content.get("decoder_n_points", 4)
    levels = len(content.get("feat_strides", (8, 16, 32)))
    options = {
        "ENCODER.BLOCKS": "elan" if is_fine else "csp",
        "DECODER.KIND": "dfine" if is_fine else "rtdetr",
        "DECODER.POINTS": [points] * levels if isinstance(points, int) else list(points),
        "DECODER.QUALITY": [
            content.get("top_prob_values", 4),
            content.get("lqe_hidden_dim", 64),
            content.get("lqe_layers", 2),
        ],
        "LOSS.CLASS": "vfl",
    }
    for ours, theirs in _SAME.items():
        if theirs in content:
            options[ours] = content[theirs]
    for key in ("ENCODER.EXPANSION", "ENCODER.DEPTH", "DECODER.REACH", "DECODER.CURVATURE"):
        if key in options:
            options[key] = float(options[key])
    options = {f"MODEL.RTDETR.{key}": value for key, value in options.items()}
    return options | _backbone_options(content)


def _backbone_options(content: Mapping[str, Any]) -> dict[str, Any]:
    backbone = content.get("backbone_config") or {}
    kind = backbone.get("model_type")
    names = [
        f"res{int(name.removeprefix('stage')) + 1}"
        for name in backbone.get("out_features", ("stage2", "stage3", "stage4"))
    ]
    options: dict[str, Any] = {"MODEL.RTDETR.IN_FEATURES": names}
    norm = "FrozenBN" if content.get("freeze_backbone_batch_norms", True) else "BN"
    if kind == "hgnet_v2":
        columns = ("in_channels", "mid_channels", "out_channels", "num_blocks", "downsample")
        columns = (*columns, "light_block", "kernel_size", "numb_of_layers")
        stages = zip(*(backbone[f"stage_{column}"] for column in columns), strict=True)
        return options | {
            "MODEL.BACKBONE.NAME": "build_hgnet_backbone",
            "MODEL.HGNET.STEM_WIDTHS": list(backbone["stem_channels"][1:]),
            "MODEL.HGNET.STAGES": [[int(value) for value in stage] for stage in stages],
            "MODEL.HGNET.HAS_AFFINE": bool(backbone.get("use_learnable_affine_block")),
            "MODEL.HGNET.NORM": norm,
            "MODEL.HGNET.OUT_FEATURES": names,
        }
    form = (backbone.get("layer_type"), tuple(backbone.get("depths", ())))
    if (
        kind != "rt_detr_resnet"
        or form not in RESNET_DEPTHS
        or backbone.get("downsample_in_bottleneck")
    ):
        raise ConfigError(
            f"config.json describes a backbone of the type {kind!r} ({form[0]}, {form[1]}); this "
            "model has hgnet_v2, and rt_detr_resnet of 18, 34, 50 or 101 layers."
        )
    width = backbone["hidden_sizes"][0]
    return options | {
        "MODEL.BACKBONE.NAME": "build_resnet_backbone",
        "MODEL.RESNETS.DEPTH": RESNET_DEPTHS[form],
        "MODEL.RESNETS.DEEP_STEM": True,
        "MODEL.RESNETS.AVG_DOWN": True,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RESNETS.NORM": norm,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": backbone["embedding_size"],
        "MODEL.RESNETS.RES2_OUT_CHANNELS": width,
        "MODEL.RESNETS.WIDTH_PER_GROUP": width // 4,
        "MODEL.RESNETS.OUT_FEATURES": names,
    }
