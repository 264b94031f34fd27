"""Settings of SOLOv2, Mask2Former, DETR, Deformable DETR and DINO of MMDetection, as our keys."""

from d2lite.utils.errors import ConfigError

from .parts import (
    Keys,
    Part,
    assigner_of,
    kind_of,
    loss_weight,
    norm_of,
    pyramid_keys,
    require_kind,
    resnet_keys,
)

# Of `match_costs`, whatever loss the costs follow.
_COSTS = {
    "ClassificationCost": "CLASS_COST",
    "FocalLossCost": "CLASS_COST",
    "BBoxL1Cost": "BBOX_COST",
    "IoUCost": "GIOU_COST",
}
# Our file of each model.
_BASES = {
    "DETR": "Base-DETR.yaml",
    "DeformableDETR": "Base-DeformableDETR.yaml",
    "DINO": "dino_r50_4scale_12ep.yaml",
}
_LEVELS = ["p2", "p3", "p4", "p5", "p6"]


def solov2_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """SOLOv2, and the file that the keys change."""
    head, test = model["mask_head"], model.get("test_cfg") or {}
    require_kind(head, "head", "SOLOV2Head")
    masks = head["mask_feature_head"]
    if head.get("dcn_cfg") or masks.get("conv_cfg"):
        raise ConfigError("There is no counterpart of deformable convolutions in SOLOv2's head.")
    if masks.get("start_level", 0) != 0 or masks.get("end_level", 3) != 3:
        raise ConfigError("The masks of SOLOv2 are made of the maps of strides 4 to 32 here.")
    width = model["neck"]["out_channels"]
    focal = head.get("loss_cls") or {}
    keys = {
        **resnet_keys(model["backbone"]),
        **pyramid_keys(model["neck"]),
        "MODEL.SOLOV2.NUM_CLASSES": head["num_classes"],
        "MODEL.SOLOV2.NUM_GRIDS": list(head["num_grids"]),
        "MODEL.SOLOV2.FPN_SCALE_RANGES": [list(pair) for pair in head["scale_ranges"]],
        "MODEL.SOLOV2.FPN_INSTANCE_STRIDES": list(head["strides"]),
        "MODEL.SOLOV2.SIGMA": head.get("pos_scale", 0.2),
        "MODEL.SOLOV2.INSTANCE_IN_FEATURES": _LEVELS,
        "MODEL.SOLOV2.INSTANCE_IN_CHANNELS": width,
        "MODEL.SOLOV2.INSTANCE_CHANNELS": head.get("feat_channels", 256),
        "MODEL.SOLOV2.NUM_INSTANCE_CONVS": head.get("stacked_convs", 4),
        "MODEL.SOLOV2.MASK_IN_FEATURES": _LEVELS[:4],
        "MODEL.SOLOV2.MASK_IN_CHANNELS": width,
        "MODEL.SOLOV2.MASK_CHANNELS": masks["feat_channels"],
        "MODEL.SOLOV2.NUM_KERNELS": masks["out_channels"],
        "MODEL.SOLOV2.NUM_MASKS": masks["out_channels"],
        "MODEL.SOLOV2.NMS_PRE": test.get("nms_pre", 500),
        "MODEL.SOLOV2.SCORE_THR": test.get("score_thr", 0.1),
        "MODEL.SOLOV2.MASK_THR": test.get("mask_thr", 0.5),
        "MODEL.SOLOV2.UPDATE_THR": test.get("filter_thr", 0.05),
        "MODEL.SOLOV2.NMS_KERNEL": test.get("kernel", "gaussian"),
        "MODEL.SOLOV2.NMS_SIGMA": test.get("sigma", 2.0),
        "MODEL.SOLOV2.MAX_PER_IMG": test.get("max_per_img", 100),
        "MODEL.SOLOV2.LOSS.DICE_WEIGHT": loss_weight(head, "mask", 3.0),
        "MODEL.SOLOV2.LOSS.FOCAL_WEIGHT": loss_weight(head, "cls"),
        "MODEL.SOLOV2.LOSS.FOCAL_ALPHA": focal.get("alpha", 0.25),
        "MODEL.SOLOV2.LOSS.FOCAL_GAMMA": focal.get("gamma", 2.0),
    }
    return keys, "Base-SOLOv2.yaml"


def _backbone(model: Part, names: str) -> Keys:
    """A ResNet alone, and the key of the maps that are used."""
    keys = resnet_keys(model["backbone"])
    return {**keys, names: keys["MODEL.RESNETS.OUT_FEATURES"]}


def _swin(part: Part) -> Keys:
    """A Swin of Mask2Former."""
    if part.get("use_abs_pos_embed") or not part.get("patch_norm", True):
        raise ConfigError("A Swin with absolute positions or without `patch_norm` is not here.")
    return {
        "MODEL.BACKBONE.NAME": "D2SwinTransformer",
        "MODEL.SWIN.EMBED_DIM": part.get("embed_dims", 96),
        "MODEL.SWIN.DEPTHS": list(part.get("depths", (2, 2, 6, 2))),
        "MODEL.SWIN.NUM_HEADS": list(part.get("num_heads", (3, 6, 12, 24))),
        "MODEL.SWIN.WINDOW_SIZE": part.get("window_size", 7),
        "MODEL.SWIN.MLP_RATIO": float(part.get("mlp_ratio", 4)),
        "MODEL.SWIN.DROP_PATH_RATE": part.get("drop_path_rate", 0.1),
        "MODEL.SWIN.PRETRAIN_IMG_SIZE": part.get("pretrain_img_size", 224),
    }


def detr_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """DETR, Deformable DETR or DINO, and the file that the keys change."""
    kind, head, neck = kind_of(model), model["bbox_head"], model["neck"]
    require_kind(neck, "neck", "ChannelMapper")
    if norm_of(neck) not in ("", "GN") or (kind == "DETR") != (norm_of(neck) == ""):
        raise ConfigError(f"The maps of {kind} have no norm in DETR, and group norm otherwise.")
    layer, position = model["decoder"]["layer_cfg"], model["positional_encoding"]
    feed = layer["ffn_cfg"]
    loss = head.get("loss_cls") or {}
    prefix = "MODEL.DETR"
    keys: Keys = {
        **_backbone(model, f"{prefix}.IN_FEATURES"),
        f"{prefix}.NUM_CLASSES": head["num_classes"],
        f"{prefix}.NUM_OBJECT_QUERIES": model.get("num_queries", 300),
        f"{prefix}.HIDDEN_DIM": neck["out_channels"],
        f"{prefix}.NHEADS": layer["self_attn_cfg"].get("num_heads", 8),
        f"{prefix}.DIM_FEEDFORWARD": feed["feedforward_channels"],
        f"{prefix}.DROPOUT": feed.get("ffn_drop", 0.0),
        f"{prefix}.ENC_LAYERS": model["encoder"].get("num_layers", 6),
        f"{prefix}.DEC_LAYERS": model["decoder"].get("num_layers", 6),
        f"{prefix}.POSITION_TEMPERATURE": float(position.get("temperature", 10000)),
        f"{prefix}.POSITION_OFFSET": float(position.get("offset", 0.0)),
        f"{prefix}.CLASS_WEIGHT": loss.get("loss_weight", 1.0),
        f"{prefix}.L1_WEIGHT": loss_weight(head, "bbox", 5.0),
        f"{prefix}.GIOU_WEIGHT": loss_weight(head, "iou", 2.0),
        "TEST.DETECTIONS_PER_IMAGE": (model.get("test_cfg") or {}).get("max_per_img", 100),
    }
    if kind == "DETR":
        keys[f"{prefix}.NO_OBJECT_WEIGHT"] = loss.get("bg_cls_weight", 0.1)
    else:
        keys[f"{prefix}.NUM_FEATURE_LEVELS"] = neck.get("num_outs", 4)
        keys[f"{prefix}.FOCAL_ALPHA"] = loss.get("alpha", 0.25)
        for ours, part in (
            ("ENC_POINTS", model["encoder"]["layer_cfg"].get("self_attn_cfg") or {}),
            ("DEC_POINTS", layer.get("cross_attn_cfg") or {}),
        ):
            keys[f"{prefix}.{ours}"] = part.get("num_points", 4)
    if kind == "DeformableDETR":
        keys[f"{prefix}.WITH_BOX_REFINE"] = bool(model.get("with_box_refine", False))
        keys[f"{prefix}.TWO_STAGE"] = bool(model.get("as_two_stage", False))
    elif kind == "DINO":
        noise = model.get("dn_cfg") or {}
        keys[f"{prefix}.DENOISING.QUERIES"] = (noise.get("group_cfg") or {}).get(
            "num_dn_queries", 100
        )
        keys[f"{prefix}.DENOISING.LABEL_NOISE"] = noise.get("label_noise_scale", 0.5)
        keys[f"{prefix}.DENOISING.BOX_NOISE"] = noise.get("box_noise_scale", 1.0)
    for cost in assigner_of(model).get("match_costs") or ():
        require_kind(cost, "cost", *_COSTS)
        keys[f"{prefix}.MATCHER.{_COSTS[kind_of(cost)]}"] = cost.get("weight", 1.0)
    return keys, _BASES[kind]


def mask2former_keys(model: Part, left_out: list[str]) -> tuple[Keys, str]:
    """Mask2Former with a ResNet or a Swin, and the file that the keys change."""
    head, train = model["panoptic_head"], model.get("train_cfg") or {}
    require_kind(head, "head", "Mask2FormerHead")
    pixels, decoder = head["pixel_decoder"], head["transformer_decoder"]
    require_kind(pixels, "pixel decoder", "MSDeformAttnPixelDecoder")
    layer = decoder["layer_cfg"]
    is_panoptic = head.get("num_stuff_classes", 0) > 0
    prefix = "MODEL.MASK_FORMER"
    has_swin = kind_of(model["backbone"]) == "SwinTransformer"
    keys: Keys = {
        **(
            _swin(model["backbone"])
            if has_swin
            else _backbone(model, "MODEL.SEM_SEG_HEAD.IN_FEATURES")
        ),
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": (
            head["num_things_classes"] + head.get("num_stuff_classes", 0)
        ),
        "MODEL.SEM_SEG_HEAD.CONVS_DIM": head["feat_channels"],
        "MODEL.SEM_SEG_HEAD.MASK_DIM": head["out_channels"],
        "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": pixels["encoder"].get("num_layers", 6),
        f"{prefix}.HIDDEN_DIM": head["feat_channels"],
        f"{prefix}.NUM_OBJECT_QUERIES": head["num_queries"],
        f"{prefix}.NHEADS": layer["self_attn_cfg"].get("num_heads", 8),
        f"{prefix}.DIM_FEEDFORWARD": layer["ffn_cfg"]["feedforward_channels"],
        # One prediction is made before the first layer.
        f"{prefix}.DEC_LAYERS": decoder["num_layers"] + 1,
        "TEST.DETECTIONS_PER_IMAGE": (model.get("test_cfg") or {}).get("max_per_image", 100),
    }
    for name, part in (("CLASS", "cls"), ("MASK", "mask"), ("DICE", "dice")):
        keys[f"{prefix}.{name}_WEIGHT"] = loss_weight(head, part)
    for ours, theirs in (
        ("TRAIN_NUM_POINTS", "num_points"),
        ("OVERSAMPLE_RATIO", "oversample_ratio"),
        ("IMPORTANCE_SAMPLE_RATIO", "importance_sample_ratio"),
    ):
        if theirs in train:
            keys[f"{prefix}.{ours}"] = train[theirs]
    task = "panoptic" if is_panoptic else "instance"
    return keys, f"coco/{task}-segmentation/maskformer2_R50_bs16_50ep.yaml"
