"""Keys of the configuration that follow from the `config.json` of Hugging Face's EoMT."""

from collections.abc import Mapping
from typing import Any

from d2lite.checkpoint.hugging_face import follow_hugging_face, refuse_other_forms
from d2lite.config import CfgNode

MODEL_TYPES = ("eomt", "eomt_dinov3")

_SAME = {
    "MODEL.EOMT.QUERIES": "num_queries",
    "MODEL.EOMT.BLOCKS": "num_blocks",
    "MODEL.EOMT.UPSCALES": "num_upscale_blocks",
    "MODEL.EOMT.NORM_EPS": "layer_norm_eps",
    "MODEL.EOMT.CLASS_WEIGHT": "class_weight",
    "MODEL.EOMT.MASK_WEIGHT": "mask_weight",
    "MODEL.EOMT.DICE_WEIGHT": "dice_weight",
    "MODEL.EOMT.NO_OBJECT_WEIGHT": "no_object_weight",
    "MODEL.EOMT.TRAIN_NUM_POINTS": "train_num_points",
    "MODEL.EOMT.OVERSAMPLE_RATIO": "oversample_ratio",
    "MODEL.EOMT.IMPORTANCE_SAMPLE_RATIO": "importance_sample_ratio",
}
# What our model has in one form: name -> the value that is that form.
_FIXED = {
    "use_swiglu_ffn": (False,),
    "use_gated_mlp": (False,),
    "num_register_tokens": (4,),
    "hidden_act": ("gelu",),
}


def follow_published_config(cfg: CfgNode) -> None:
    """Derive the keys of the model from the weights that it starts from, where these say them.

    Values of the command line and of code stay.

    Args:
        cfg: the whole config; may be frozen. MODEL.WEIGHTS is read.

    Raises:
        ConfigError: if the weights are of a form that is not built here.
    """
    follow_hugging_face(cfg, MODEL_TYPES, options_of, "MODEL.SEM_SEG_HEAD.NUM_CLASSES")


def options_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that a `config.json` says.

    Args:
        content: of a model of one of `MODEL_TYPES`.

    Raises:
        ConfigError: for a form that our model does not have.
    """
    refuse_other_forms(content, _FIXED)
    is_dinov3 = content["model_type"] == "eomt_dinov3"
    width = content["hidden_size"]
    network = "vit_small_patch16_dinov3_qkvb" if is_dinov3 else "vit_small_patch14_reg4_dinov2"
    options: dict[str, Any] = {
        "embed_dim": width,
        "depth": content["num_hidden_layers"],
        "num_heads": content["num_attention_heads"],
        "mlp_ratio": content["intermediate_size"] / width
        if is_dinov3
        else float(content.get("mlp_ratio", 4)),
        "patch_size": content["patch_size"],
        "img_size": content["image_size"],
    }
    return {
        "MODEL.BACKBONE.NAME": f"timm_vit:{network}",
        **{f"MODEL.ADAPTER.OPTIONS.{key}": value for key, value in options.items()},
        **{ours: content[theirs] for ours, theirs in _SAME.items() if theirs in content},
    }
