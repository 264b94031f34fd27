"""Settings of MMDetection's dense detectors, as keys of MODEL.DENSE."""

from d2lite.utils.errors import ConfigError

from .five_levels import STRIDES, anchor_sizes, body_keys, choice_keys
from .parts import (
    Keys,
    Part,
    assigner_of,
    delta_weights,
    kind_of,
    loss_weight,
    norm_of,
    note_class_weight,
    require_kind,
)

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


def dense_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """ATSS, GFL, VFNet, FSAF, FCOS or SABL on RetinaNet, and the file that the keys change."""
    kind, head = kind_of(model), model["bbox_head"]
    require_kind(head, "head", _HEADS[kind])
    keys = {
        "MODEL.META_ARCHITECTURE": _NAMES.get(kind, kind),
        **body_keys(model),
        "MODEL.DENSE.NUM_CLASSES": head["num_classes"],
        "MODEL.DENSE.CHANNELS": head.get("feat_channels", 256),
        "MODEL.DENSE.NUM_CONVS": head.get("stacked_convs", 4),
        "MODEL.DENSE.NORM": norm_of(head) if "norm_cfg" in head else "GN",
        "MODEL.DENSE.CONV_BIAS": head.get("conv_bias") is True,
        "MODEL.DENSE.DEFORM_LAST": bool(head.get("dcn_on_last_conv", False)),
        **choice_keys(model, "MODEL.DENSE"),
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
    if list(head.get("strides", STRIDES)) != STRIDES or "regress_ranges" in head:
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
    if anchor_sizes(head["anchor_generator"]) != [[float(stride)] for stride in STRIDES]:
        raise ConfigError("FSAF with anchors of one stride has a counterpart, no other.")
    coder, loss = head["bbox_coder"], head.get("loss_bbox") or {}
    require_kind(coder, "coder of boxes", "TBLRBBoxCoder")
    require_kind(loss, "loss of boxes", "IoULoss")
    assigner = assigner_of(model) or {"type": "CenterRegionAssigner"}
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
    coder, squares = head["bbox_coder"], anchor_sizes(head["square_anchor_generator"])
    around, offsets = head["approx_anchor_generator"], head.get("loss_bbox_reg") or {}
    require_kind(coder, "coder of boxes", "BucketingBBoxCoder")
    require_kind(offsets, "loss of offsets", "SmoothL1Loss")
    assigner = assigner_of(model) or {"type": "ApproxMaxIoUAssigner"}
    require_kind(assigner, "assigner", "ApproxMaxIoUAssigner")
    scales = [squares[0][0] / STRIDES[0] * 2 ** (i / 3) for i in range(3)]
    if (
        len(squares[0]) != 1
        or anchor_sizes(around) != [[scale * stride for scale in scales] for stride in STRIDES]
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
        "MODEL.DENSE.BUCKET_WEIGHT": float(loss_weight(head, "bbox_cls")),
        "MODEL.DENSE.BOX_WEIGHT": float(offsets.get("loss_weight", 1.0)),
        "MODEL.DENSE.IOU_THRESHOLDS": [
            assigner.get("neg_iou_thr", 0.4),
            assigner.get("pos_iou_thr", 0.5),
        ],
    }


def _with_anchors(kind: str, head: Part, model: Part) -> Keys:
    assigner = assigner_of(model) or {"type": "ATSSAssigner"}
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
    sizes = anchor_sizes(head["anchor_generator"])
    if len(sizes[0]) != 1 or list(head["anchor_generator"]["ratios"]) != [1.0]:
        raise ConfigError(f"{kind} with one square anchor a cell has a counterpart, no other.")
    keys["MODEL.DENSE.ANCHOR_SCALE"] = float(sizes[0][0] / STRIDES[0])
    if kind == "ATSS":
        keys["MODEL.DENSE.BBOX_REG_WEIGHTS"] = delta_weights(head["bbox_coder"])
    else:
        keys["MODEL.DENSE.MAX_DISTANCE"] = head.get("reg_max", 16)
        keys["MODEL.DENSE.DISTRIBUTION_WEIGHT"] = loss_weight(head, "dfl", 0.25)
    return keys
