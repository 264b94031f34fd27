"""MMDetection's settings of YOLOX, YOLOv3 and RTMDet as keys of ours."""

from d2lite.utils.errors import ConfigError

from .parts import (
    Keys,
    Part,
    assigner_of,
    kind_of,
    loop_of,
    loss_weight,
    nms_keys,
    norm_of,
    note_class_weight,
    require_five_stages,
    require_kind,
    weight_keys,
)

# Of YOLOv3: class, object, place and size.
_LOSSES = ("cls", "conf", "xy", "wh")


def yolox_keys(model: Part, left_out: list[str], content: Part) -> tuple[Keys, str]:
    """The keys of the model, and the file of ours that they change.

    Args:
        model: its settings.
        left_out: gets a sentence for each setting without a counterpart.
        content: the settings of the whole file.

    Raises:
        ConfigError: if a part has no counterpart.
    """
    backbone, neck, head = model["backbone"], model["neck"], model["bbox_head"]
    require_kind(backbone, "backbone", "CSPDarknet")
    require_kind(neck, "neck", "YOLOXPAFPN")
    require_kind(head, "head", "YOLOXHead")
    require_five_stages(backbone)
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
    test, assigner = model.get("test_cfg") or {}, assigner_of(model)
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
        **nms_keys(test, "MODEL.YOLOX.NMS_THRESH_TEST"),
        **weight_keys(head, {"bbox": "YOLOX.BOX_WEIGHT"}),
    }
    note_class_weight(head, left_out)
    loop = loop_of(content)
    for hook in content.get("custom_hooks") or ():
        if kind_of(hook) == "YOLOXModeSwitchHook" and loop.get("max_epochs"):
            share = hook.get("num_last_epochs", 15) / loop["max_epochs"]
            keys["MODEL.YOLOX.L1_LAST_PART"] = round(share, 6)
    return keys, "Base-YOLOX.yaml"


def yolov3_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """The keys of YOLOv3, and the file of ours that they change.

    Args:
        model: its settings.
        left_out: not used.

    Raises:
        ConfigError: if a part has no counterpart.
    """
    backbone, neck, head = model["backbone"], model["neck"], model["bbox_head"]
    require_kind(backbone, "backbone", "Darknet")
    require_kind(neck, "neck", "YOLOV3Neck")
    require_kind(head, "head", "YOLOV3Head")
    widths = (list(neck["out_channels"]), list(head["out_channels"]))
    if backbone.get("depth", 53) != 53 or widths != ([512, 256, 128], [1024, 512, 256]):
        raise ConfigError("YOLOv3 has a counterpart over Darknet-53 with its channels alone.")
    anchors = head["anchor_generator"]
    require_kind(anchors, "anchor generator", "YOLOAnchorGenerator")
    test, assigner = model.get("test_cfg") or {}, assigner_of(model)
    weights = [loss_weight(head, part) for part in _LOSSES]
    is_published = weights[:2] == [1.0, 1.0] and weights[2] == weights[3]
    if head.get("one_hot_smoother") or not is_published:
        raise ConfigError(
            "The losses of class and object of YOLOv3 have the weight 1, those of place and size "
            "one weight, and labels are not smoothed."
        )
    keys: Keys = {
        "MODEL.DARKNET.NORM": norm_of(backbone) or "BN",
        "MODEL.YOLOV3.NORM": norm_of(head) or "BN",
        "MODEL.YOLOV3.NUM_CLASSES": head["num_classes"],
        "MODEL.YOLOV3.ANCHORS": [[list(one) for one in level] for level in anchors["base_sizes"]],
        "MODEL.YOLOV3.IOU_THRESHOLD": assigner.get("pos_iou_thr", 0.5),
        "MODEL.YOLOV3.BOX_WEIGHT": weights[2],
        "MODEL.YOLOV3.SCORE_THRESH_TEST": test.get("score_thr", 0.05),
        "MODEL.YOLOV3.OBJECT_THRESH_TEST": test.get("conf_thr", 0.005),
        "MODEL.YOLOV3.TOPK_CANDIDATES_TEST": test.get("nms_pre", 1000),
        **nms_keys(test, "MODEL.YOLOV3.NMS_THRESH_TEST"),
        "TEST.DETECTIONS_PER_IMAGE": test.get("max_per_img", 100),
    }
    return keys, "Base-YOLOv3.yaml"


def rtmdet_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """The keys of RTMDet or RTMDet-Ins, and the file of ours that they change; as above."""
    backbone, neck, head = model["backbone"], model["neck"], model["bbox_head"]
    require_kind(backbone, "backbone", "CSPNeXt")
    require_kind(neck, "neck", "CSPNeXtPAFPN")
    require_kind(head, "head", "RTMDetSepBNHead", "RTMDetInsSepBNHead")
    require_five_stages(backbone)
    has_masks = kind_of(head) == "RTMDetInsSepBNHead"
    distances = "relu" if has_masks else "exp" if head.get("exp_on_reg", True) else "linear"
    test = model.get("test_cfg") or {}
    keys: Keys = {
        "MODEL.MASK_ON": has_masks,
        "MODEL.CSPNEXT.DEPTH": float(backbone.get("deepen_factor", 1.0)),
        "MODEL.CSPNEXT.WIDTH": float(backbone.get("widen_factor", 1.0)),
        "MODEL.CSPNEXT.NORM": norm_of(backbone) or "BN",
        "MODEL.CSPNEXT.PYRAMID_CHANNELS": neck["out_channels"],
        "MODEL.RTMDET.NUM_CLASSES": head["num_classes"],
        "MODEL.RTMDET.CHANNELS": head.get("feat_channels", 256),
        "MODEL.RTMDET.NUM_CONVS": head.get("stacked_convs", 2),
        "MODEL.RTMDET.NORM": norm_of(head) or "BN",
        "MODEL.RTMDET.DISTANCES": distances,
        "MODEL.RTMDET.SCORE_THRESH_TEST": test.get("score_thr", 0.05),
        "MODEL.RTMDET.TOPK_CANDIDATES_TEST": test.get("nms_pre", 1000),
        **nms_keys(test, "MODEL.RTMDET.NMS_THRESH_TEST"),
        "TEST.DETECTIONS_PER_IMAGE": test.get("max_per_img", 100),
    }
    keys |= weight_keys(head, {"bbox": "RTMDET.BOX_WEIGHT", "mask": "RTMDET.MASK_WEIGHT"})
    note_class_weight(head, left_out)
    assigner = assigner_of(model)
    if "topk" in assigner:
        keys["MODEL.RTMDET.TOPK"] = assigner["topk"]
    return keys, "Base-RTMDet-Ins.yaml" if has_masks else "Base-RTMDet.yaml"
