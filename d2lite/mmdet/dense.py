"""Settings of MMDetection's dense detectors on a pyramid "p3" to "p7", as keys of ours."""

from d2lite.utils.errors import ConfigError

from .parts import (
    Keys,
    Part,
    delta_weights,
    kind_of,
    nms_keys,
    norm_of,
    note_class_weight,
    pyramid_of,
    require_kind,
    resnet_keys,
)

_STRIDES = [8, 16, 32, 64, 128]
# The types of a head and of its losses that have a counterpart.
_HEADS = {
    "ATSS": "ATSSHead",
    "GFL": "GFLHead",
    "VFNet": "VFNetHead",
    "FCOS": "FCOSHead",
    "FSAF": "FSAFHead",
    "RetinaNet": "SABLRetinaHead",
}
# What a model is called here, if not the same.
_NAMES = {"FCOS": "ScaledFCOS", "RetinaNet": "SABLRetinaNet"}
_CLASS_LOSSES = {"GFL": "QualityFocalLoss", "VFNet": "VarifocalLoss"}
_BOX_LOSSES = {"IoULoss": "iou", "GIoULoss": "giou"}
_ANCHOR_BOX_LOSSES = {
    "L1Loss": "smooth_l1",
    "SmoothL1Loss": "smooth_l1",
    "BalancedL1Loss": "balanced_l1",
    "GIoULoss": "giou",
    "GHMR": "ghm",
}
_RATIOS = 3


def dense_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """ATSS, GFL, VFNet, FSAF, FCOS or SABL on RetinaNet, and the file that the keys change."""
    kind, head = kind_of(model), model["bbox_head"]
    require_kind(head, "head", _HEADS[kind])
    keys = {
        "MODEL.META_ARCHITECTURE": _NAMES.get(kind, kind),
        **_body(model),
        "MODEL.DENSE.NUM_CLASSES": head["num_classes"],
        "MODEL.DENSE.CHANNELS": head.get("feat_channels", 256),
        "MODEL.DENSE.NUM_CONVS": head.get("stacked_convs", 4),
        "MODEL.DENSE.NORM": norm_of(head) if "norm_cfg" in head else "GN",
        "MODEL.DENSE.CONV_BIAS": head.get("conv_bias") is True,
        "MODEL.DENSE.DEFORM_LAST": bool(head.get("dcn_on_last_conv", False)),
        **_test(model, "MODEL.DENSE"),
    }
    loss = head.get("loss_cls") or {}
    require_kind(loss, "loss of classes", _CLASS_LOSSES.get(kind, "FocalLoss"))
    note_class_weight(head, left_out)
    if kind != "GFL":
        prefix = "VARIFOCAL" if kind == "VFNet" else "FOCAL_LOSS"
        keys[f"MODEL.DENSE.{prefix}_ALPHA"] = loss.get("alpha", 0.25)
        keys[f"MODEL.DENSE.{prefix}_GAMMA"] = loss.get("gamma", 2.0)
    if kind == "FCOS":
        keys |= _fcos(head)
    elif kind == "FSAF":
        keys |= _fsaf(head, model, left_out)
    elif kind == "RetinaNet":
        keys |= _sabl(head, model)
    else:
        keys |= _with_anchors(kind, head, model)
    return keys, "Base-VFNet.yaml" if kind == "VFNet" else "Base-Dense.yaml"


def _fcos(head: Part) -> Keys:
    is_in_strides = bool(head.get("norm_on_bbox", False))
    loss = head.get("loss_bbox") or {"type": "IoULoss"}
    require_kind(loss, "loss of boxes", *_BOX_LOSSES)
    if list(head.get("strides", _STRIDES)) != _STRIDES or "regress_ranges" in head:
        raise ConfigError("FCOS with other strides or `regress_ranges` has no counterpart.")
    has_centers = head.get("center_sampling", False)
    return {
        "MODEL.DENSE.DISTANCES": "relu" if is_in_strides else "exp",
        "MODEL.DENSE.CENTERNESS_TOWER": "box" if head.get("centerness_on_reg") else "class",
        "MODEL.DENSE.CENTER_SAMPLING_RADIUS": (
            head.get("center_sample_radius", 1.5) if has_centers else 0.0
        ),
        "MODEL.DENSE.BOX_LOSS": _BOX_LOSSES[kind_of(loss)],
    }


def _fsaf(head: Part, model: Part, left_out: list[str]) -> Keys:
    if norm_of(head):
        raise ConfigError("A norm in the head of FSAF has no counterpart in its weights.")
    if _sizes(head["anchor_generator"]) != [[float(stride)] for stride in _STRIDES]:
        raise ConfigError("FSAF with anchors of one stride has a counterpart, no other.")
    coder, loss = head["bbox_coder"], head.get("loss_bbox") or {}
    require_kind(coder, "coder of boxes", "TBLRBBoxCoder")
    require_kind(loss, "loss of boxes", "IoULoss")
    assigner = (model.get("train_cfg") or {}).get("assigner") or {"type": "CenterRegionAssigner"}
    require_kind(assigner, "assigner", "CenterRegionAssigner")
    effective = assigner.get("pos_scale", 0.2)
    left_out.append(
        "An object's cells learn nothing of its class on the levels beside its own; in MMDetection "
        "on all other levels."
    )
    return {
        "MODEL.DENSE.NORM": "",
        "MODEL.DENSE.NORMALIZER": float(coder.get("normalizer", 4.0)),
        "MODEL.DENSE.BOX_WEIGHT": float(loss.get("loss_weight", 1.0)),
        "MODEL.DENSE.EFFECTIVE_REGION": effective,
        "MODEL.DENSE.IGNORED_REGION": assigner.get("neg_scale", effective),
    }


def _sabl(head: Part, model: Part) -> Keys:
    coder, squares = head["bbox_coder"], _sizes(head["square_anchor_generator"])
    around, offsets = head["approx_anchor_generator"], head.get("loss_bbox_reg") or {}
    require_kind(coder, "coder of boxes", "BucketingBBoxCoder")
    require_kind(offsets, "loss of offsets", "SmoothL1Loss")
    assigner = (model.get("train_cfg") or {}).get("assigner") or {"type": "ApproxMaxIoUAssigner"}
    require_kind(assigner, "assigner", "ApproxMaxIoUAssigner")
    scales = [squares[0][0] / _STRIDES[0] * 2 ** (i / 3) for i in range(3)]
    if (
        len(squares[0]) != 1
        or _sizes(around) != [[scale * stride for scale in scales] for stride in _STRIDES]
        or list(around["ratios"]) != [0.5, 1.0, 2.0]
    ):
        raise ConfigError(
            "SABL with one square a cell, assigned by three sizes an octave and the ratios 0.5, "
            "1, 2, has a counterpart, no other."
        )
    if abs(offsets.get("beta", 1.0) - 1 / 9) > 1e-6:
        raise ConfigError("The loss of offsets with `beta` 1 / 9 has a counterpart, no other.")
    return {
        "MODEL.DENSE.NORM": norm_of(head),
        "MODEL.DENSE.ANCHOR_SCALE": float(scales[0]),
        "MODEL.DENSE.NUM_BUCKETS": coder["num_buckets"],
        "MODEL.DENSE.BUCKET_SCALE": float(coder["scale_factor"]),
        "MODEL.DENSE.BUCKET_WEIGHT": float((head.get("loss_bbox_cls") or {}).get("loss_weight", 1)),
        "MODEL.DENSE.BOX_WEIGHT": float(offsets.get("loss_weight", 1.0)),
        "MODEL.DENSE.IOU_THRESHOLDS": [
            assigner.get("neg_iou_thr", 0.4),
            assigner.get("pos_iou_thr", 0.5),
        ],
    }


def _with_anchors(kind: str, head: Part, model: Part) -> Keys:
    assigner = (model.get("train_cfg") or {}).get("assigner") or {"type": "ATSSAssigner"}
    require_kind(assigner, "assigner", "ATSSAssigner")
    if kind == "VFNet" and not head.get("use_atss", True):
        raise ConfigError("VFNet with the assignment of FCOS (`use_atss=False`) is not here.")
    loss = head.get("loss_bbox") or {"type": "GIoULoss", "loss_weight": 2.0}
    refined = head.get("loss_bbox_refine") or {"type": "GIoULoss", "loss_weight": 2.0}
    for one in (loss, refined):
        require_kind(one, "loss of boxes", "GIoULoss")
    weight = loss.get("loss_weight", 1.0)
    keys: Keys = {"MODEL.DENSE.TOPK": assigner.get("topk", 9), "MODEL.DENSE.BOX_WEIGHT": weight}
    if kind == "VFNet":
        keys["MODEL.DENSE.FIRST_BOX_WEIGHT"] = weight
        keys["MODEL.DENSE.BOX_WEIGHT"] = refined.get("loss_weight", 1.0)
        return keys
    sizes = _sizes(head["anchor_generator"])
    if len(sizes[0]) != 1 or list(head["anchor_generator"]["ratios"]) != [1.0]:
        raise ConfigError(f"{kind} with one square anchor a cell has a counterpart, no other.")
    keys["MODEL.DENSE.ANCHOR_SCALE"] = float(sizes[0][0] / _STRIDES[0])
    if kind == "ATSS":
        keys["MODEL.DENSE.BBOX_REG_WEIGHTS"] = delta_weights(head["bbox_coder"])
    else:
        keys["MODEL.DENSE.MAX_DISTANCE"] = head.get("reg_max", 16)
        share = (head.get("loss_dfl") or {}).get("loss_weight", 0.25)
        keys["MODEL.DENSE.DISTRIBUTION_WEIGHT"] = share
    return keys


def retinanet_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """RetinaNet, also with SABL, and the file that the keys change."""
    head = model["bbox_head"]
    if kind_of(head) == "SABLRetinaHead":
        return dense_keys(model, left_out)
    require_kind(head, "head", "RetinaHead", "SABLRetinaHead")
    require_kind(head.get("loss_cls") or {}, "loss of classes", "FocalLoss", "GHMC")
    if norm_of(head):
        raise ConfigError("A norm in the head of RetinaNet has no counterpart in its weights.")
    sizes, ratios = _sizes(head["anchor_generator"]), list(head["anchor_generator"]["ratios"])
    if len(sizes[0]) * len(ratios) > 1 and len(ratios) != _RATIOS:
        raise ConfigError(
            f"RetinaNet with {len(ratios)} ratios of anchors: weights are reordered for three."
        )
    width = pyramid_of(model["neck"])[0]["out_channels"]
    if head.get("feat_channels", 256) != width:
        raise ConfigError("The head of RetinaNet has as many channels as its pyramid here.")
    focal, loss = head.get("loss_cls") or {}, head.get("loss_bbox") or {}
    require_kind(loss, "loss of boxes", *_ANCHOR_BOX_LOSSES)
    note_class_weight(head, left_out)
    is_l1 = kind_of(loss) == "L1Loss"
    keys = {
        **_body(model),
        "MODEL.ANCHOR_GENERATOR.SIZES": sizes,
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [ratios],
        "MODEL.RETINANET.NUM_CLASSES": head["num_classes"],
        "MODEL.RETINANET.NUM_CONVS": head.get("stacked_convs", 4),
        "MODEL.RETINANET.BBOX_REG_WEIGHTS": delta_weights(head["bbox_coder"]),
        "MODEL.RETINANET.CLASS_LOSS": "ghm" if kind_of(focal) == "GHMC" else "focal",
        "MODEL.RETINANET.FOCAL_LOSS_ALPHA": focal.get("alpha", 0.25),
        "MODEL.RETINANET.FOCAL_LOSS_GAMMA": focal.get("gamma", 2.0),
        "MODEL.RETINANET.BBOX_REG_LOSS_TYPE": _ANCHOR_BOX_LOSSES[kind_of(loss)],
        "MODEL.RETINANET.BBOX_REG_LOSS_WEIGHT": float(loss.get("loss_weight", 1.0)),
        "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": 0.0 if is_l1 else float(loss.get("beta", 1.0)),
        "MODEL.RETINANET.CLIP_CANDIDATES": True,
        **_test(model, "MODEL.RETINANET"),
    }
    assigner = (model.get("train_cfg") or {}).get("assigner") or {}
    if assigner:
        require_kind(assigner, "assigner", "MaxIoUAssigner")
        thresholds = [assigner["neg_iou_thr"], assigner["pos_iou_thr"]]
        keys["MODEL.RETINANET.IOU_THRESHOLDS"] = thresholds
    if kind_of(focal) == "GHMC":
        _check_harmony(focal, loss)
        left_out.append("Gradients are counted over all levels together, not level by level.")
    left_out.append(
        "Losses are divided by a running number of objects' anchors; MMDetection takes the "
        "number of the batch."
    )
    return keys, "Base-RetinaNet.yaml"


def _check_harmony(class_loss: Part, box_loss: Part) -> None:
    numbers = {"bins": 30, "momentum": 0.75}, {"mu": 0.02, "bins": 10, "momentum": 0.7}
    for loss, wanted in zip((class_loss, box_loss), numbers, strict=True):
        other = {
            name: loss[name] for name in wanted if loss.get(name, wanted[name]) != wanted[name]
        }
        if other and kind_of(loss).startswith("GHM"):
            raise ConfigError(f"{kind_of(loss)} with {wanted} has a counterpart, not with {other}.")


def _body(model: Part) -> Keys:
    """The backbone and the pyramid of five levels from stride 8 on."""
    neck, additions = pyramid_of(model["neck"])
    require_kind(neck, "neck", "FPN")
    extra = neck.get("add_extra_convs")
    if extra is True:
        extra = "on_input" if neck.get("extra_convs_on_inputs", True) else "on_output"
    if (
        neck.get("start_level") != 1
        or neck.get("num_outs") != 5
        or extra
        not in (
            "on_input",
            "on_output",
        )
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


def _test(model: Part, prefix: str) -> Keys:
    test = model.get("test_cfg") or {}
    return {
        f"{prefix}.SCORE_THRESH_TEST": test.get("score_thr", 0.05),
        f"{prefix}.TOPK_CANDIDATES_TEST": test.get("nms_pre", 1000),
        **nms_keys(test, f"{prefix}.NMS_THRESH_TEST"),
        "TEST.DETECTIONS_PER_IMAGE": test.get("max_per_img", 100),
    }


def _sizes(anchors: Part) -> list[list[float]]:
    """The sides of anchors of each level in pixels, in order."""
    require_kind(anchors, "anchor generator", "AnchorGenerator")
    if list(anchors["strides"]) != _STRIDES or anchors.get("center_offset", 0.0):
        raise ConfigError("Anchors around the corners of cells of strides 8 to 128 are here.")
    scales = anchors.get("scales")
    if scales is None:
        count = anchors["scales_per_octave"]
        scales = [anchors["octave_base_scale"] * 2 ** (i / count) for i in range(count)]
    return [[float(scale * stride) for scale in scales] for stride in _STRIDES]
