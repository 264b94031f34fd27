"""What the settings of a part of a network say, in MMDetection's form."""

from collections.abc import Mapping, Sequence
from typing import Any

from d2lite.utils.errors import ConfigError

Keys = dict[str, Any]
# Settings of a part of a network, as a file has them.
Part = Mapping[str, Any]


def kind_of(part: Part) -> str:
    """The type of a part; a class of a package by its last name."""
    return str(part.get("type", "")).rsplit(".", 1)[-1]


def require_kind(part: Part, what: str, *kinds: str) -> None:
    """Check the type of a part of a network.

    Args:
        part: its settings.
        what: the part in words.
        *kinds: the types that have a counterpart.

    Raises:
        ConfigError: for another type.
    """
    if kind_of(part) not in kinds:
        raise ConfigError(
            f"There is no counterpart of the {what} {kind_of(part)!r}; there is {', '.join(kinds)}."
        )


def require_five_stages(backbone: Part) -> None:
    """Check the layout of CSPNeXt or CSPDarknet.

    Raises:
        ConfigError: for one of six stages, or of stages of its own.
    """
    if backbone.get("arch", "P5") != "P5" or backbone.get("arch_ovewrite"):
        raise ConfigError(f"There is no counterpart of arch={backbone.get('arch')!r}; there is P5.")


def norm_of(part: Part) -> str:
    """The type of the norms of a part; "" for none, "GN_WS" where weights are standardised, too.

    Raises:
        ConfigError: for standardised weights with another norm than GN.
    """
    norm = str((part.get("norm_cfg") or {}).get("type", ""))
    if kind_of(part.get("conv_cfg") or {}) != "ConvWS":
        return norm
    if norm != "GN":
        raise ConfigError(f"ConvWS has a counterpart with the norm GN, not {norm!r}.")
    return "GN_WS"


def weight_keys(head: Part, names: Mapping[str, str]) -> Keys:
    """The weights of a head's losses.

    Args:
        head: its settings.
        names: what a loss is of -> key in MODEL; a loss that is not there keeps our weight.
    """
    losses = {key: head.get(f"loss_{name}") or {} for name, key in names.items()}
    return {
        f"MODEL.{key}": float(loss.get("loss_weight", 1.0)) for key, loss in losses.items() if loss
    }


def loss_weight(head: Part, name: str, default: float = 1.0) -> float:
    """The weight of the loss `loss_NAME` of a head; `default` where the head does not say it."""
    weight: float = (head.get(f"loss_{name}") or {}).get("loss_weight", default)
    return weight


def assigner_of(model: Part) -> Part:
    """How predictions are assigned to objects in training; empty where a model does not say it."""
    assigner: Part = (model.get("train_cfg") or {}).get("assigner") or {}
    return assigner


def loader_of(content: Part) -> Part:
    """The loader of training images, of version 3 or 2."""
    loader: Part = content.get("train_dataloader") or content.get("data") or {}
    return loader


def outer_set_of(content: Part) -> Any:
    """The training set, which may hold others; None if there is none."""
    loader = loader_of(content)
    return loader.get("dataset") or loader.get("train")


def loop_of(content: Part) -> Part:
    """How long a training is, of version 3 or 2."""
    loop: Part = content.get("train_cfg") or content.get("runner") or {}
    return loop


def note_class_weight(head: Part, left_out: list[str], of: str = "") -> None:
    """Say that the loss of classes of a head has another weight here.

    Args:
        head: its settings.
        left_out: gets the sentence.
        of: the head in words, where there are several.
    """
    if loss_weight(head, "cls") != 1.0:
        left_out.append(f"The loss of classes{f' of the {of}' if of else ''} has the weight 1.")


def nms_threshold(part: Part) -> float:
    """The IoU of the suppression in the settings of a test.

    Raises:
        ConfigError: for another kind of suppression.
    """
    return float(nms_keys(part, "")[""])


def nms_keys(part: Part, key: str) -> Keys:
    """The suppression in the settings of a test, hard or soft.

    Args:
        part: settings with `nms`.
        key: of the threshold; "" for models without soft suppression.

    Raises:
        ConfigError: for another kind of suppression.
    """
    nms = part.get("nms") or {}
    kind = nms.get("type", "nms")
    keys: Keys = {key: float(nms.get("iou_threshold", nms.get("iou_thr", 0.5)))}
    if kind == "soft_nms" and key and nms.get("method", "linear") in ("linear", "gaussian"):
        keys["TEST.SOFT_NMS.METHOD"] = nms.get("method", "linear")
        keys["TEST.SOFT_NMS.SIGMA"] = float(nms.get("sigma", 0.5))
        keys["TEST.SOFT_NMS.MIN_SCORE"] = float(nms.get("min_score", 0.001))
    elif kind != "nms":
        raise ConfigError(f"There is no counterpart of the suppression {kind!r}.")
    return keys


def resnet_keys(part: Part) -> Keys:
    """A ResNet or ResNeXt, also with deformable stages."""
    require_kind(part, "backbone", "ResNet", "ResNeXt")
    norm = norm_of(part) or "BN"
    indices = part.get("out_indices", (0, 1, 2, 3))
    keys: Keys = {
        "MODEL.RESNETS.DEPTH": part["depth"],
        # Norms that are never in training mode keep the statistics that they were loaded with.
        "MODEL.RESNETS.NORM": norm
        if norm.startswith("GN") or not part.get("norm_eval", True)
        else "FrozenBN",
        # Version 2 and 3 begin a block at its 3 x 3 convolution, Caffe's style at the first.
        "MODEL.RESNETS.STRIDE_IN_1X1": part.get("style", "pytorch") == "caffe",
        "MODEL.RESNETS.OUT_FEATURES": [f"res{index + 2}" for index in indices],
        "MODEL.BACKBONE.FREEZE_AT": part.get("frozen_stages", -1) + 1,
    }
    if "base_channels" in part or "stem_channels" in part:
        base = part.get("base_channels", 64)
        keys["MODEL.RESNETS.STEM_OUT_CHANNELS"] = part.get("stem_channels") or base
    if part["depth"] in (18, 34):
        keys["MODEL.RESNETS.RES2_OUT_CHANNELS"] = part.get("base_channels", 64)
    if kind_of(part) == "ResNeXt":
        keys["MODEL.RESNETS.NUM_GROUPS"] = part.get("groups", 1)
        keys["MODEL.RESNETS.WIDTH_PER_GROUP"] = part.get("base_width", 4)
    if part.get("dcn"):
        stages = part.get("stage_with_dcn", (False,) * 4)
        keys["MODEL.RESNETS.DEFORM_ON_PER_STAGE"] = list(stages)
        keys["MODEL.RESNETS.DEFORM_MODULATED"] = part["dcn"].get("type") == "DCNv2"
    conv = kind_of(part.get("conv_cfg") or {})
    if conv not in ("", "Conv", "Conv2d", "ConvWS"):
        raise ConfigError(f"There is no counterpart of the convolutions {conv!r} of the backbone.")
    for name in ("avg_down", "deep_stem"):
        if part.get(name):
            raise ConfigError(f"There is no counterpart of `{name}` of the backbone.")
    return keys | _plugin_keys(part.get("plugins") or ())


def _plugin_keys(plugins: Sequence[Part]) -> Keys:
    """Global context after the last convolution of the blocks."""
    if not plugins:
        return {}
    first = plugins[0]
    layer = first["cfg"]
    if len(plugins) > 1 or first.get("position", "after_conv3") != "after_conv3":
        raise ConfigError("One plugin, after the third convolution of blocks, has a counterpart.")
    require_kind(layer, "plugin", "ContextBlock")
    if layer.get("pooling_type", "att") != "att" or list(
        layer.get("fusion_types", ["channel_add"])
    ) != ["channel_add"]:
        raise ConfigError("A ContextBlock that pools by attention and adds has a counterpart.")
    return {
        "MODEL.RESNETS.PLUGIN": "global_context",
        "MODEL.RESNETS.PLUGIN_RATIO": float(layer["ratio"]),
        "MODEL.RESNETS.PLUGIN_ON_PER_STAGE": list(first.get("stages") or (True,) * 4),
    }


def delta_weights(coder: Part) -> list[float]:
    """One divided by the deviations by which targets are divided."""
    if any(coder.get("target_means", ())):
        raise ConfigError("There is no counterpart of `target_means` that are not 0.")
    return [round(1 / value, 6) for value in coder["target_stds"]]


def pyramid_of(neck: Part | Sequence[Part]) -> tuple[Part, Keys]:
    """The pyramid of a network, and as keys what is put on its maps."""
    first, *others = [neck] if isinstance(neck, Mapping) else neck
    keys: Keys = {}
    for other in others:
        require_kind(other, "neck", "BFP")
        if norm_of(other):
            raise ConfigError("A BFP with a norm has no counterpart.")
        keys["MODEL.FPN.BALANCE_LEVEL"] = other.get("refine_level", 2)
        keys["MODEL.FPN.BALANCE"] = other.get("refine_type") or "mean"
    return first, keys


def pyramid_keys(neck: Part | Sequence[Part]) -> Keys:
    """A pyramid of five levels from stride 4 on."""
    part, keys = pyramid_of(neck)
    require_kind(part, "neck", "FPN", "PAFPN")
    if part.get("add_extra_convs") or part.get("start_level", 0) or part.get("num_outs") != 5:
        raise ConfigError("The pyramid of this model has five levels, from stride 4 on.")
    if kind_of(part) == "PAFPN":
        keys["MODEL.FPN.BOTTOM_UP_PATH"] = True
    return keys | {"MODEL.FPN.OUT_CHANNELS": part["out_channels"], "MODEL.FPN.NORM": norm_of(part)}
