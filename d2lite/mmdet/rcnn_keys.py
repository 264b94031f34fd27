"""MMDetection's settings of Faster, Mask and Cascade R-CNN as keys of ours."""

from collections.abc import Mapping, Sequence

from d2lite.utils.errors import ConfigError

from .parts import (
    Keys,
    Part,
    delta_weights,
    kind_of,
    nms_keys,
    nms_threshold,
    norm_of,
    note_class_weight,
    pyramid_keys,
    require_kind,
    resnet_keys,
)

_SAMPLERS = {"RandomSampler": "random", "OHEMSampler": "ohem"}
_CLASS_LOSSES = {"SeesawLoss": "seesaw", "EQLV2Loss": "equalized"}
_BOX_LOSSES = {
    "": "smooth_l1",  # L1, as the loss of a head that names none
    "L1Loss": "smooth_l1",
    "SmoothL1Loss": "smooth_l1",
    "BalancedL1Loss": "balanced_l1",
    "IoULoss": "iou",
    "BoundedIoULoss": "bounded_iou",
    "GIoULoss": "giou",
    "DIoULoss": "diou",
    "CIoULoss": "ciou",
}


def rcnn_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """Faster, Mask or Cascade R-CNN, and the file that the keys change."""
    rpn, roi = model["rpn_head"], model["roi_head"]
    require_kind(rpn, "proposal head", "RPNHead")
    require_kind(roi, "head", "StandardRoIHead", "CascadeRoIHead")
    is_cascade = kind_of(roi) == "CascadeRoIHead"
    heads = roi["bbox_head"]
    heads = list(heads) if isinstance(heads, Sequence) else [heads]
    has_masks = roi.get("mask_head") is not None
    keys = {
        **resnet_keys(model["backbone"]),
        **pyramid_keys(model["neck"]),
        **_proposals(rpn, model, left_out),
        **_box_heads(roi, heads, left_out),
        **_regions(model, is_cascade),
        "MODEL.MASK_ON": has_masks,
    }
    if has_masks:
        masks = roi["mask_head"]
        mask = masks[0] if isinstance(masks, Sequence) else masks
        require_kind(mask, "mask head", "FCNMaskHead")
        keys |= {
            "MODEL.ROI_MASK_HEAD.NUM_CONV": mask.get("num_convs", 4),
            "MODEL.ROI_MASK_HEAD.CONV_DIM": mask.get("conv_out_channels", 256),
            "MODEL.ROI_MASK_HEAD.NORM": norm_of(mask),
            "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlignV2",
            **_cosine(mask, "predictor_cfg", "MODEL.ROI_MASK_HEAD", "NormedConv2d", "Conv2d"),
        }
    if is_cascade:
        keys |= {
            "MODEL.ROI_BOX_CASCADE_HEAD.LOSS_WEIGHTS": list(roi["stage_loss_weights"]),
            "MODEL.ROI_BOX_CASCADE_HEAD.AVERAGE": "logits",
            "MODEL.ROI_BOX_CASCADE_HEAD.MASK_HEADS": has_masks,
        }
    return keys, "Base-RCNN-FPN.yaml"


def _proposals(part: Part, model: Part, left_out: list[str]) -> Keys:
    note_class_weight(part, left_out, "RPN")
    anchors = part["anchor_generator"]
    require_kind(anchors, "anchor generator", "AnchorGenerator")
    scales, strides = anchors.get("scales"), list(anchors["strides"])
    if scales is None or len(scales) != 1 or strides != [4, 8, 16, 32, 64]:
        raise ConfigError("Anchors of one scale at strides 4 to 64 have a counterpart, no others.")
    train, test = model.get("train_cfg") or {}, model.get("test_cfg") or {}
    keys: Keys = {
        "MODEL.ANCHOR_GENERATOR.SIZES": [[scales[0] * stride] for stride in strides],
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [list(anchors["ratios"])],
        "MODEL.RPN.BBOX_REG_WEIGHTS": delta_weights(part["bbox_coder"]),
        "MODEL.RPN.PRE_NMS_TOPK_TEST": test["rpn"]["nms_pre"],
        "MODEL.RPN.POST_NMS_TOPK_TEST": test["rpn"].get("max_per_img", 1000),
        "MODEL.RPN.NMS_THRESH": nms_threshold(test["rpn"]) if "nms" in test["rpn"] else 0.7,
        **_box_loss(part.get("loss_bbox") or {}, "MODEL.RPN"),
    }
    if "rpn" in train:
        assigner, sampler = train["rpn"]["assigner"], train["rpn"]["sampler"]
        keys |= {
            "MODEL.RPN.IOU_THRESHOLDS": [assigner["neg_iou_thr"], assigner["pos_iou_thr"]],
            "MODEL.RPN.BATCH_SIZE_PER_IMAGE": sampler["num"],
            "MODEL.RPN.POSITIVE_FRACTION": sampler["pos_fraction"],
        }
    if "rpn_proposal" in train:
        keys["MODEL.RPN.PRE_NMS_TOPK_TRAIN"] = train["rpn_proposal"]["nms_pre"]
        keys["MODEL.RPN.POST_NMS_TOPK_TRAIN"] = train["rpn_proposal"].get("max_per_img", 1000)
    return keys


def _box_heads(roi: Part, heads: Sequence[Part], left_out: list[str]) -> Keys:
    first = heads[0]
    require_kind(first, "box head", "Shared2FCBBoxHead", "Shared4Conv1FCBBoxHead")
    note_class_weight(first, left_out, "box head")
    is_deep = kind_of(first) == "Shared4Conv1FCBBoxHead"
    for name in ("bbox_roi_extractor", "mask_roi_extractor"):
        if kind_of(extractor := roi.get(name) or {}):
            require_kind(extractor, f"`{name}`", "SingleRoIExtractor")
    layer = roi["bbox_roi_extractor"]["roi_layer"]
    keys: Keys = {
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads" if len(heads) == 1 else "CascadeROIHeads",
        "MODEL.ROI_HEADS.NUM_CLASSES": first["num_classes"],
        "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.NUM_CONV": 4 if is_deep else 0,
        "MODEL.ROI_BOX_HEAD.CONV_DIM": first.get("conv_out_channels", 256),
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1 if is_deep else 2,
        "MODEL.ROI_BOX_HEAD.FC_DIM": first.get("fc_out_channels", 1024),
        "MODEL.ROI_BOX_HEAD.NORM": norm_of(first),
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": layer["output_size"],
        "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": max(layer.get("sampling_ratio", 0), 0),
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2"
        if layer.get("aligned", True)
        else "ROIAlign",
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": bool(first.get("reg_class_agnostic", False)),
        **_box_loss(first.get("loss_bbox") or {}, "MODEL.ROI_BOX_HEAD"),
    }
    weights = [delta_weights(head["bbox_coder"]) for head in heads]
    if len(heads) == 1:
        keys["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS"] = weights[0]
    else:
        keys["MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS"] = weights
    keys |= _cosine(first, "cls_predictor_cfg", "MODEL.ROI_BOX_HEAD", "NormedLinear", "Linear")
    if (layer := kind_of(first.get("reg_predictor_cfg") or {})) not in ("", "Linear"):
        raise ConfigError(
            f"`reg_predictor_cfg` has the type {layer!r}; only Linear can be converted."
        )
    loss = kind_of(first.get("loss_cls") or {})
    if loss in _CLASS_LOSSES:
        keys["MODEL.ROI_BOX_HEAD.CLASS_LOSS"] = _CLASS_LOSSES[loss]
        if (first["loss_cls"].get("p", 0.8), first["loss_cls"].get("q", 2.0)) != (0.8, 2.0):
            left_out.append("The seesaw loss has p=0.8 and q=2.")
    elif loss not in ("", "CrossEntropyLoss"):
        left_out.append(f"The loss of classes is cross-entropy, not {loss}.")
    return keys


def _cosine(head: Part, name: str, prefix: str, cosine: str, plain: str) -> Keys:
    """The scale of a head's last layer if it compares directions; none for a plain layer."""
    layer = head.get(name) or {"type": plain}
    require_kind(layer, f"{prefix} layer `{name}`", cosine, plain, "Conv")
    if kind_of(layer) != cosine:
        return {}
    if layer.get("power", 1.0) != 1.0 or layer.get("norm_over_kernel", False):
        raise ConfigError(
            f"{cosine} with power=1 and without norm_over_kernel has a counterpart, no other."
        )
    return {f"{prefix}.COSINE_SCALE": float(layer.get("tempearture", 20))}


def _regions(model: Part, is_cascade: bool) -> Keys:
    """How proposals are sampled in training and chosen in tests."""
    train, test = (model.get("train_cfg") or {}).get("rcnn"), model["test_cfg"]["rcnn"]
    keys: Keys = {
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": test["score_thr"],
        **nms_keys(test, "MODEL.ROI_HEADS.NMS_THRESH_TEST"),
        "TEST.DETECTIONS_PER_IMAGE": test["max_per_img"],
    }
    stages = [train] if isinstance(train, Mapping) else list(train or ())
    if stages:
        sampler = stages[0]["sampler"]
        keys["MODEL.ROI_HEADS.SAMPLER"] = _sampler(sampler)
        thresholds = [stage["assigner"]["pos_iou_thr"] for stage in stages]
        keys["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE"] = sampler["num"]
        keys["MODEL.ROI_HEADS.POSITIVE_FRACTION"] = sampler["pos_fraction"]
        keys["MODEL.ROI_HEADS.IOU_THRESHOLDS"] = thresholds[:1]
        if is_cascade:
            keys["MODEL.ROI_BOX_CASCADE_HEAD.IOUS"] = thresholds
    return keys


def _sampler(part: Part) -> str:
    if kind_of(part) != "CombinedSampler":
        require_kind(part, "sampler", *_SAMPLERS, "CombinedSampler")
        return _SAMPLERS[kind_of(part)]
    both = kind_of(part["pos_sampler"]), kind_of(part["neg_sampler"])
    if both != ("InstanceBalancedPosSampler", "IoUBalancedNegSampler"):
        raise ConfigError(f"d2lite cannot combine the samplers {' and '.join(both)}.")
    floor, bins = part["neg_sampler"].get("floor_thr", -1), part["neg_sampler"].get("num_bins", 3)
    if (floor, bins) != (-1, 3):
        raise ConfigError(
            "IoUBalancedNegSampler has a counterpart with floor_thr=-1 and num_bins=3 alone."
        )
    return "libra"


def _box_loss(part: Part, prefix: str) -> Keys:
    kind = kind_of(part)
    if kind not in _BOX_LOSSES:
        raise ConfigError(f"d2lite does not have the box loss {kind!r}.")
    keys: Keys = {
        f"{prefix}.BBOX_REG_LOSS_TYPE": _BOX_LOSSES[kind],
        f"{prefix}.BBOX_REG_LOSS_WEIGHT": float(part.get("loss_weight", 1.0)),
    }
    if kind in ("", "L1Loss"):
        keys[f"{prefix}.SMOOTH_L1_BETA"] = 0.0
    elif kind in ("SmoothL1Loss", "BalancedL1Loss"):
        keys[f"{prefix}.SMOOTH_L1_BETA"] = float(part.get("beta", 1.0))
    return keys
