"""MMDetection's settings of YOLOX as keys of ours."""

from d2lite.utils.errors import ConfigError

from .parts import Keys, Part, kind_of, nms_threshold, norm_of, require_kind


def yolox_keys(model: Part, content: Part) -> tuple[Keys, str]:
    """The keys of the model, and the file of ours that they change.

    Args:
        model: its settings.
        content: those of the whole file.

    Raises:
        ConfigError: if a part has no counterpart.
    """
    backbone, neck, head = model["backbone"], model["neck"], model["bbox_head"]
    require_kind(backbone, "backbone", "CSPDarknet")
    require_kind(neck, "neck", "YOLOXPAFPN")
    require_kind(head, "head", "YOLOXHead")
    depth, width = backbone.get("deepen_factor", 1.0), backbone.get("widen_factor", 1.0)
    is_separable = bool(backbone.get("use_depthwise", False))
    if is_separable != bool(neck.get("use_depthwise", False)):
        raise ConfigError("Separable convolutions are in backbone and neck together, or in none.")
    if neck.get("num_csp_blocks", 3) != max(round(3 * depth), 1):
        raise ConfigError(
            f"`num_csp_blocks` of the neck follows from `deepen_factor` of the backbone: "
            f"{max(round(3 * depth), 1)} with {depth}, not {neck.get('num_csp_blocks', 3)}."
        )
    for part in (backbone, neck, head):
        norm = part.get("norm_cfg") or {}
        if norm.get("eps", 1e-3) != 1e-3 or norm.get("momentum", 0.03) != 0.03:
            raise ConfigError("Norms have eps=0.001 and momentum=0.03, as published.")
    test = model.get("test_cfg") or {}
    assigner = (model.get("train_cfg") or {}).get("assigner") or {}
    keys: Keys = {
        "MODEL.CSPDARKNET.DEPTH": float(depth),
        "MODEL.CSPDARKNET.WIDTH": float(width),
        "MODEL.CSPDARKNET.NORM": norm_of(backbone) or "BN",
        "MODEL.CSPDARKNET.DEPTHWISE": is_separable,
        "MODEL.CSPDARKNET.PYRAMID_CHANNELS": neck["out_channels"],
        "MODEL.YOLOX.NUM_CLASSES": head["num_classes"],
        "MODEL.YOLOX.CHANNELS": head.get("feat_channels", 256),
        "MODEL.YOLOX.NUM_CONVS": head.get("stacked_convs", 2),
        "MODEL.YOLOX.NORM": norm_of(head) or "BN",
        "MODEL.YOLOX.DEPTHWISE": bool(head.get("use_depthwise", False)),
        "MODEL.YOLOX.TOPK": assigner.get("candidate_topk", 10),
        "MODEL.YOLOX.CENTER_RADIUS": float(assigner.get("center_radius", 2.5)),
        "MODEL.YOLOX.SCORE_THRESH_TEST": test.get("score_thr", 0.01),
        "MODEL.YOLOX.NMS_THRESH_TEST": nms_threshold(test),
    }
    loop = content.get("train_cfg") or content.get("runner") or {}
    for hook in content.get("custom_hooks") or ():
        if kind_of(hook) == "YOLOXModeSwitchHook" and loop.get("max_epochs"):
            share = hook.get("num_last_epochs", 15) / loop["max_epochs"]
            keys["MODEL.YOLOX.L1_LAST_PART"] = round(share, 6)
    return keys, "Base-YOLOX.yaml"


def sizes_by_batch(model: Part) -> list[int]:
    """The sides of which each batch has one, drawn; none where images keep their size."""
    steps = (model.get("data_preprocessor") or {}).get("batch_augments") or ()
    # Version 2 has them among the settings of the model.
    ranges = [step["random_size_range"] for step in steps if "random_size_range" in step]
    ranges += [model["random_size_range"]] if "random_size_range" in model else []
    return [side for low, high in ranges[:1] for side in range(low // 32 * 32, high + 1, 32)]
