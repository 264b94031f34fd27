"""Keys of the configuration that follow from the `config.json` of Hugging Face's weights."""

from collections.abc import Mapping
from typing import Any

from d2lite.checkpoint.hugging_face import RESNET_DEPTHS, follow_hugging_face, refuse_other_forms
from d2lite.config import CfgNode
from d2lite.utils.errors import ConfigError

ARCHITECTURES = {"detr": "Detr", "deformable_detr": "DeformableDETR"}

# Our key under MODEL.DETR -> theirs.
_SAME = {
    "NUM_OBJECT_QUERIES": "num_queries",
    "HIDDEN_DIM": "d_model",
    "NHEADS": "encoder_attention_heads",
    "DIM_FEEDFORWARD": "encoder_ffn_dim",
    "ENC_LAYERS": "encoder_layers",
    "DEC_LAYERS": "decoder_layers",
    "DROPOUT": "dropout",
    "NUM_FEATURE_LEVELS": "num_feature_levels",
    "ENC_POINTS": "encoder_n_points",
    "DEC_POINTS": "decoder_n_points",
    "WITH_BOX_REFINE": "with_box_refine",
    "TWO_STAGE": "two_stage",
    "MATCHER.CLASS_COST": "class_cost",
    "MATCHER.BBOX_COST": "bbox_cost",
    "MATCHER.GIOU_COST": "giou_cost",
    "L1_WEIGHT": "bbox_loss_coefficient",
    "GIOU_WEIGHT": "giou_loss_coefficient",
    "NO_OBJECT_WEIGHT": "eos_coefficient",
    "FOCAL_ALPHA": "focal_alpha",
}
# What our model has in one form: name -> the values that are that form.
_FIXED: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("sine",),
    "activation_function": ("relu",),
    "encoder_layerdrop": (0.0, 0),
    "decoder_layerdrop": (0.0, 0),
    "num_channels": (3,),
}


def follow_published_config(cfg: CfgNode) -> None:
    """Derive the keys of the model from the weights that it starts from, where these say them.

    Values of the command line and of code stay.

    Args:
        cfg: the whole config; may be frozen. MODEL.WEIGHTS is read.

    Raises:
        ConfigError: if the weights are of a model that is not built here, or of another one than
            MODEL.META_ARCHITECTURE.
    """

    def options(content: Mapping[str, Any]) -> dict[str, Any]:
        wanted = ARCHITECTURES[content["model_type"]]
        if wanted != cfg.MODEL.META_ARCHITECTURE:
            raise ConfigError(
                f"{cfg.MODEL.WEIGHTS} is a {content['model_type']}; set MODEL.META_ARCHITECTURE "
                f"to {wanted}, not {cfg.MODEL.META_ARCHITECTURE}, or use a config file of it."
            )
        return options_of(content)

    follow_hugging_face(cfg, tuple(ARCHITECTURES), options, "MODEL.DETR.NUM_CLASSES")


def options_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that a `config.json` says.

    Args:
        content: of a model of one of `ARCHITECTURES`.

    Raises:
        ConfigError: for a form that our model does not have.
    """
    refuse_other_forms(content, _FIXED)
    unequal = [
        part
        for part in ("attention_heads", "ffn_dim")
        if content.get(f"encoder_{part}") != content.get(f"decoder_{part}")
    ]
    if unequal:
        raise ConfigError(
            f"config.json says other {unequal} for the encoder than for the decoder; this model "
            "has one for both."
        )
    options = {ours: content[theirs] for ours, theirs in _SAME.items() if theirs in content}
    if content.get("two_stage"):
        options["NUM_OBJECT_QUERIES"] = content["two_stage_num_proposals"]
    is_deformable = content["model_type"] == "deformable_detr"
    count = 3 if is_deformable and content.get("num_feature_levels", 4) > 1 else 1
    names = ["res3", "res4", "res5"][-count:]
    options["IN_FEATURES"] = names
    options["POSITION_OFFSET"] = -0.5 if is_deformable else 0.0
    for key, value in options.items():
        if key.endswith(("_COST", "_WEIGHT", "DROPOUT", "_ALPHA")):
            options[key] = float(value)
    options = {f"MODEL.DETR.{key}": value for key, value in options.items()}
    return options | _backbone_options(content) | {"MODEL.RESNETS.OUT_FEATURES": names}


def _backbone_options(content: Mapping[str, Any]) -> dict[str, Any]:
    """A ResNet of timm by its name, or one of transformers by its sizes."""
    backbone = content.get("backbone_config") or {}
    name = backbone.get("backbone") or content.get("backbone")
    is_dilated = content.get("dilation") or backbone.get("output_stride") == 16
    options: dict[str, Any] = {
        "MODEL.BACKBONE.NAME": "build_resnet_backbone",
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RESNETS.NORM": "FrozenBN",
        "MODEL.RESNETS.RES5_DILATION": 2 if is_dilated else 1,
    }
    if name in ("resnet18", "resnet34", "resnet50", "resnet101"):
        depth = int(name.removeprefix("resnet"))
        return options | {
            "MODEL.RESNETS.DEPTH": depth,
            "MODEL.RESNETS.RES2_OUT_CHANNELS": 256 if depth >= 50 else 64,
        }
    form = (backbone.get("layer_type"), tuple(backbone.get("depths", ())))
    if backbone.get("model_type") != "resnet" or form not in RESNET_DEPTHS:
        raise ConfigError(
            f"config.json describes the backbone {name or backbone.get('model_type')!r} "
            f"({form[0]}, {form[1]}); this model has ResNets of 18, 34, 50 or 101 layers."
        )
    width = backbone["hidden_sizes"][0]
    return options | {
        "MODEL.RESNETS.DEPTH": RESNET_DEPTHS[form],
        "MODEL.RESNETS.STEM_OUT_CHANNELS": backbone["embedding_size"],
        "MODEL.RESNETS.RES2_OUT_CHANNELS": width,
        "MODEL.RESNETS.WIDTH_PER_GROUP": width // 4,
    }
