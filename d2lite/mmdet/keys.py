"""MMDetection's settings of a model, its data and its training, as keys of ours.

What has no counterpart is listed in words. Numbers that mean the same in both are carried over;
`docs/mmdetection_models.md` says on which facts each rests.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from d2lite.utils.errors import ConfigError

from .dense_keys import dense_keys
from .parts import (
    Keys,
    Part,
    assigner_of,
    delta_weights,
    kind_of,
    nms_keys,
    nms_threshold,
    norm_of,
    note_class_weight,
    pyramid_keys,
    require_five_stages,
    require_kind,
    resnet_keys,
    weight_keys,
)
from .query_keys import detr_keys, mask2former_keys, solov2_keys
from .retinanet_keys import retinanet_keys
from .ssd_keys import ssd_keys
from .training import training_keys
from .yolo_keys import yolov3_keys, yolox_keys

MODELS = {
    "RTMDet": "RTMDet and RTMDet-Ins",
    "FasterRCNN": "Faster R-CNN",
    "MaskRCNN": "Mask R-CNN",
    "CascadeRCNN": "Cascade R-CNN",
    "YOLOX": "YOLOX",
    "YOLOV3": "YOLOv3",
    "SingleStageDetector": "SSD",
    "RetinaNet": "RetinaNet",
    "FCOS": "FCOS",
    "ATSS": "ATSS",
    "GFL": "GFL",
    "VFNet": "VFNet",
    "FSAF": "FSAF",
    "SOLOv2": "SOLOv2",
    "Mask2Former": "Mask2Former",
    "DETR": "DETR",
    "DeformableDETR": "Deformable DETR",
    "DINO": "DINO",
}

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


class Converted(NamedTuple):
    """A configuration of ours.

    keys: dotted key -> value.
    base: the file of ours that they change.
    left_out: what has no counterpart, a sentence each.
    """

    keys: Keys
    base: str
    left_out: list[str]


def convert_mmdet_config(content: Part) -> Converted:
    """The keys that build, train and test the same model.

    Args:
        content: what `read_mmdet_config` returned.

    Raises:
        ConfigError: if the model, or a part of it that decides its numbers, has no counterpart.
    """
    model = content.get("model")
    if not isinstance(model, Mapping) or "type" not in model:
        raise ConfigError("The file has no `model = dict(type=...)`; give a config of a detector.")
    kind = kind_of(model)
    left_out: list[str] = []
    if kind not in MODELS:
        known = ", ".join(MODELS.values())
        raise ConfigError(f"There is no counterpart of the model {kind!r} yet; there are {known}.")
    try:
        if kind == "YOLOX":
            keys, base = yolox_keys(model, content, left_out)
        else:
            keys, base = _CONVERT[kind](model, left_out)
        keys |= _pixels(content, model)
        keys |= training_keys(content, left_out)
    except ConfigError:
        raise
    except KeyError as err:
        raise ConfigError(
            f"The setting {err} that a {MODELS[kind]} of MMDetection has is not there."
        ) from err
    except (AttributeError, IndexError, TypeError, ValueError, ArithmeticError) as err:
        raise ConfigError(
            f"A setting has another form than in a {MODELS[kind]} of MMDetection "
            f"({type(err).__name__}: {err})."
        ) from err
    return Converted(keys, base, left_out)


def _pixels(content: Part, model: Part) -> Keys:
    """Means and deviations, of version 3 in the model, of version 2 in the data's steps."""
    found = model.get("data_preprocessor") or content.get("img_norm_cfg") or {}
    if "mean" not in found:
        return {}
    is_rgb = found.get("bgr_to_rgb", found.get("to_rgb", False))
    return {
        "INPUT.FORMAT": "RGB" if is_rgb else "BGR",
        "MODEL.PIXEL_MEAN": list(found["mean"]),
        "MODEL.PIXEL_STD": list(found["std"]),
    }


def _rtmdet(model: Part, left_out: list[str]) -> tuple[Keys, str]:
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


def _two_stages(model: Part, left_out: list[str]) -> tuple[Keys, str]:
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
        raise ConfigError(f"There is no counterpart of a sampler of {' and '.join(both)}.")
    floor, bins = part["neg_sampler"].get("floor_thr", -1), part["neg_sampler"].get("num_bins", 3)
    if (floor, bins) != (-1, 3):
        raise ConfigError(
            "IoUBalancedNegSampler has a counterpart with floor_thr=-1 and num_bins=3 alone."
        )
    return "libra"


def _box_loss(part: Part, prefix: str) -> Keys:
    kind = kind_of(part)
    if kind not in _BOX_LOSSES:
        raise ConfigError(f"There is no counterpart of the loss of boxes {kind!r}.")
    keys: Keys = {
        f"{prefix}.BBOX_REG_LOSS_TYPE": _BOX_LOSSES[kind],
        f"{prefix}.BBOX_REG_LOSS_WEIGHT": float(part.get("loss_weight", 1.0)),
    }
    if kind in ("", "L1Loss"):
        keys[f"{prefix}.SMOOTH_L1_BETA"] = 0.0
    elif kind in ("SmoothL1Loss", "BalancedL1Loss"):
        keys[f"{prefix}.SMOOTH_L1_BETA"] = float(part.get("beta", 1.0))
    return keys


# Each gives the keys of a model and our file that they change.
_CONVERT: dict[str, Callable[[Part, list[str]], tuple[Keys, str]]] = {
    "RTMDet": _rtmdet,
    **dict.fromkeys(("FasterRCNN", "MaskRCNN", "CascadeRCNN"), _two_stages),
    "YOLOV3": yolov3_keys,
    "SingleStageDetector": ssd_keys,
    "RetinaNet": retinanet_keys,
    **dict.fromkeys(("FCOS", "ATSS", "GFL", "VFNet", "FSAF"), dense_keys),
    "SOLOv2": solov2_keys,
    "Mask2Former": mask2former_keys,
    **dict.fromkeys(("DETR", "DeformableDETR", "DINO"), detr_keys),
}
