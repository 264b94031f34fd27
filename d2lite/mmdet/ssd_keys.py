"""MMDetection's settings of SSD and SSDLite as keys of ours."""

from itertools import pairwise

from d2lite.utils.errors import ConfigError

from .parts import Keys, Part, assigner_of, delta_weights, kind_of, nms_keys, norm_of, require_kind

# Least sizes of the finest map, as shares of the image in percent: by image size and the least
# share of the other maps. Those of published configs, for which no setting exists.
_FINEST = {(300, 15): 7, (300, 20): 10, (512, 10): 4, (512, 15): 7}


def ssd_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """The keys of the model, and the file of ours that they change.

    Args:
        model: its settings.
        left_out: not used.

    Raises:
        ConfigError: if a part has no counterpart.
    """
    backbone, head = model["backbone"], model["bbox_head"]
    require_kind(head, "head of a SingleStageDetector", "SSDHead")
    require_kind(backbone, "backbone", "SSDVGG", "MobileNetV2")
    is_lite = kind_of(backbone) == "MobileNetV2"
    neck = model["neck"]
    require_kind(neck, "neck", "SSDNeck")
    if bool(head.get("use_depthwise")) != is_lite or bool(neck.get("use_depthwise")) != is_lite:
        raise ConfigError(
            "Separable convolutions of SSD have a counterpart over MobileNetV2 alone."
        )
    if head.get("stacked_convs") or backbone.get("depth", 16) != 16:
        raise ConfigError("SSD has a counterpart over VGG-16, with one convolution a map.")
    indices = tuple(backbone.get("out_indices", ()))
    norms = [part.get("norm_cfg") or {} for part in (backbone, neck, head)]
    numbers = {(norm.get("eps", 1e-5), norm.get("momentum", 0.1)) for norm in norms}
    if is_lite and (indices != (4, 7) or numbers != {(1e-3, 0.03)}):
        raise ConfigError(
            "SSDLite has a counterpart with the maps (4, 7) of MobileNetV2, and norms of eps=0.001 "
            "and momentum=0.03."
        )
    anchors = head["anchor_generator"]
    require_kind(anchors, "anchor generator", "SSDAnchorGenerator")
    strides = list(anchors["strides"])
    extra = [
        [channels, 3, stride, padding]
        for channels, stride, padding in zip(
            neck["out_channels"][2:], neck["level_strides"], neck["level_paddings"], strict=True
        )
    ]
    extra[-1][1] = neck.get("last_kernel_size", 3)
    if is_lite and any(size != 3 or padding != 1 for _, size, _, padding in extra):
        raise ConfigError("Further layers of SSDLite have a counterpart with 3 x 3 cells alone.")
    train, test = model.get("train_cfg") or {}, model.get("test_cfg") or {}
    keys: Keys = {
        "MODEL.SSD.NUM_CLASSES": head["num_classes"],
        "MODEL.SSD.STRIDES": strides,
        "MODEL.SSD.EXTRA_LAYERS": extra,
        "MODEL.SSD.BBOX_REG_WEIGHTS": delta_weights(head["bbox_coder"]),
        "MODEL.SSD.IOU_THRESHOLD": assigner_of(model).get("pos_iou_thr", 0.5),
        "MODEL.SSD.NEGATIVES_PER_POSITIVE": train.get("neg_pos_ratio", 3),
        "MODEL.SSD.SMOOTH_L1_BETA": train.get("smoothl1_beta", 1.0),
        "MODEL.SSD.SCORE_THRESH_TEST": test.get("score_thr", 0.02),
        "MODEL.SSD.TOPK_CANDIDATES_TEST": test.get("nms_pre", 1000),
        **nms_keys(test, "MODEL.SSD.NMS_THRESH_TEST"),
        "MODEL.ANCHOR_GENERATOR.SIZES": _sizes(anchors, len(strides)),
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [list(ratios) for ratios in anchors["ratios"]],
        "TEST.DETECTIONS_PER_IMAGE": test.get("max_per_img", 200),
    }
    if is_lite:
        keys |= {
            "MODEL.BACKBONE.NAME": "build_ssd_mobilenetv2_backbone",
            "MODEL.BACKBONE.FREEZE_AT": backbone.get("frozen_stages", -1) + 1,
            "MODEL.SSD.LITE": True,
            "MODEL.SSD.NORM": norm_of(head),
            "MODEL.SSD.WIDTH": float(backbone.get("widen_factor", 1.0)),
        }
    return keys, "Base-SSD.yaml"


def _sizes(anchors: Part, levels: int) -> list[list[int]]:
    """The least size of each map and the one of the next, in pixels."""
    if anchors.get("min_sizes"):
        pairs = zip(anchors["min_sizes"], anchors["max_sizes"], strict=True)
        return [list(pair) for pair in pairs]
    side = anchors.get("input_size", 300)
    low, high = (int(100 * share) for share in anchors.get("basesize_ratio_range", (0.15, 0.9)))
    if (side, low) not in _FINEST:
        raise ConfigError(
            f"Anchors of input_size={side} from {low} % on have no published least size; give "
            "min_sizes and max_sizes."
        )
    # The shares rise evenly from the second map on; what is left of the division is dropped.
    step = (high - low) // (levels - 2)
    shares = [_FINEST[side, low], *(low + step * i for i in range(levels))]
    sizes = [side * share // 100 for share in shares]
    return [[size, following] for size, following in pairwise(sizes)]
