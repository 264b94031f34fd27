"""What dense detectors of MMDetection share: a pyramid "p3" to "p7", anchors on it, the choice."""

from d2lite.utils.errors import ConfigError

from .parts import Keys, Part, nms_keys, norm_of, pyramid_of, require_kind, resnet_keys

# Pixels a cell, of each level.
STRIDES = [8, 16, 32, 64, 128]


def body_keys(model: Part) -> Keys:
    """The backbone and the pyramid of five levels from stride 8 on."""
    neck, additions = pyramid_of(model["neck"])
    require_kind(neck, "neck", "FPN")
    extra = neck.get("add_extra_convs")
    if extra is True:
        extra = "on_input" if neck.get("extra_convs_on_inputs", True) else "on_output"
    if (
        neck.get("start_level") != 1
        or neck.get("num_outs") != 5
        or extra not in ("on_input", "on_output")
    ):
        raise ConfigError(
            "A pyramid has a counterpart whose five levels begin at stride 8, the last two by "
            "convolutions of the coarsest map of the backbone or of the pyramid."
        )
    names = ["res3", "res4", "res5"]
    return {
        **resnet_keys(model["backbone"]),
        **additions,
        "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone"
        if extra == "on_input"
        else "build_fcos_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": names,
        "MODEL.FPN.IN_FEATURES": names,
        "MODEL.FPN.OUT_CHANNELS": neck["out_channels"],
        "MODEL.FPN.NORM": norm_of(neck),
        "MODEL.FPN.RELU_BEFORE_P7": bool(neck.get("relu_before_extra_convs", False)),
    }


def choice_keys(model: Part, prefix: str) -> Keys:
    """How detections are chosen.

    Args:
        model: with `test_cfg`.
        prefix: the section of the keys, such as "MODEL.DENSE".
    """
    test = model.get("test_cfg") or {}
    return {
        f"{prefix}.SCORE_THRESH_TEST": test.get("score_thr", 0.05),
        f"{prefix}.TOPK_CANDIDATES_TEST": test.get("nms_pre", 1000),
        **nms_keys(test, f"{prefix}.NMS_THRESH_TEST"),
        "TEST.DETECTIONS_PER_IMAGE": test.get("max_per_img", 100),
    }


def anchor_sizes(anchors: Part) -> list[list[float]]:
    """The sides of anchors of each level in pixels, in order."""
    require_kind(anchors, "anchor generator", "AnchorGenerator")
    if list(anchors["strides"]) != STRIDES or anchors.get("center_offset", 0.0):
        raise ConfigError("Anchors around the corners of cells of strides 8 to 128 are here.")
    scales = anchors.get("scales")
    if scales is None:
        count = anchors["scales_per_octave"]
        scales = [anchors["octave_base_scale"] * 2 ** (i / count) for i in range(count)]
    return [[float(scale * stride) for scale in scales] for stride in STRIDES]
