"""Settings of MMDetection's RetinaNet, as keys of ours."""

from d2lite.utils.errors import ConfigError

from .dense_keys import dense_keys
from .five_levels import anchor_sizes, body_keys, choice_keys
from .parts import (
    Keys,
    Part,
    assigner_of,
    delta_weights,
    kind_of,
    norm_of,
    note_class_weight,
    pyramid_of,
    require_kind,
)

# The losses that have a counterpart.
_BOX_LOSSES = {
    "L1Loss": "smooth_l1",
    "SmoothL1Loss": "smooth_l1",
    "BalancedL1Loss": "balanced_l1",
    "GIoULoss": "giou",
    "GHMR": "ghm",
}
_RATIOS = 3


def retinanet_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """RetinaNet, also with SABL, and the file that the keys change."""
    head = model["bbox_head"]
    if kind_of(head) == "SABLRetinaHead":
        return dense_keys(model, left_out)
    require_kind(head, "head", "RetinaHead", "SABLRetinaHead")
    require_kind(head.get("loss_cls") or {}, "loss of classes", "FocalLoss", "GHMC")
    if norm_of(head):
        raise ConfigError("A norm in the head of RetinaNet has no counterpart in its weights.")
    sizes, ratios = anchor_sizes(head["anchor_generator"]), list(head["anchor_generator"]["ratios"])
    if len(sizes[0]) * len(ratios) > 1 and len(ratios) != _RATIOS:
        raise ConfigError(
            f"RetinaNet with {len(ratios)} ratios of anchors: weights are reordered for three."
        )
    width = pyramid_of(model["neck"])[0]["out_channels"]
    if head.get("feat_channels", 256) != width:
        raise ConfigError("The head of RetinaNet has as many channels as its pyramid here.")
    focal, loss = head.get("loss_cls") or {}, head.get("loss_bbox") or {}
    require_kind(loss, "loss of boxes", *_BOX_LOSSES)
    note_class_weight(head, left_out)
    is_l1 = kind_of(loss) == "L1Loss"
    keys = {
        **body_keys(model),
        "MODEL.ANCHOR_GENERATOR.SIZES": sizes,
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [ratios],
        "MODEL.RETINANET.NUM_CLASSES": head["num_classes"],
        "MODEL.RETINANET.NUM_CONVS": head.get("stacked_convs", 4),
        "MODEL.RETINANET.BBOX_REG_WEIGHTS": delta_weights(head["bbox_coder"]),
        "MODEL.RETINANET.CLASS_LOSS": "ghm" if kind_of(focal) == "GHMC" else "focal",
        "MODEL.RETINANET.FOCAL_LOSS_ALPHA": focal.get("alpha", 0.25),
        "MODEL.RETINANET.FOCAL_LOSS_GAMMA": focal.get("gamma", 2.0),
        "MODEL.RETINANET.BBOX_REG_LOSS_TYPE": _BOX_LOSSES[kind_of(loss)],
        "MODEL.RETINANET.BBOX_REG_LOSS_WEIGHT": float(loss.get("loss_weight", 1.0)),
        "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": 0.0 if is_l1 else float(loss.get("beta", 1.0)),
        "MODEL.RETINANET.CLIP_CANDIDATES": True,
        **choice_keys(model, "MODEL.RETINANET"),
    }
    if assigner := assigner_of(model):
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
