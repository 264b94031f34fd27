"""The configuration keys of Mask2Former, as the published files write them."""

from d2lite.config import CfgNode, add_new_keys
from d2lite.modeling.deeplab import add_deeplab_keys

_KEYS = {
    # How training samples are made; see `build_train_mapper`.
    "INPUT.DATASET_MAPPER_NAME": "mask_former_semantic",
    "INPUT.COLOR_AUG_SSD": False,
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": 1.0,
    # Pad samples to this side in pixels; -1 leaves them.
    "INPUT.SIZE_DIVISIBILITY": -1,
    # Large-scale jitter of the coco_..._lsj mappers: side of the square, and range of factors.
    "INPUT.IMAGE_SIZE": 1024,
    "INPUT.MIN_SCALE": 0.1,
    "INPUT.MAX_SCALE": 2.0,
    # Weight decay of embeddings and learned positions; factor on the backbone's learning rate.
    "SOLVER.WEIGHT_DECAY_EMBED": 0.0,
    "SOLVER.BACKBONE_MULTIPLIER": 0.1,
    "MODEL.MASK_FORMER.DEEP_SUPERVISION": True,  # Give each decoder layer its losses.
    "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT": 0.1,
    "MODEL.MASK_FORMER.CLASS_WEIGHT": 1.0,
    "MODEL.MASK_FORMER.DICE_WEIGHT": 1.0,
    "MODEL.MASK_FORMER.MASK_WEIGHT": 20.0,
    "MODEL.MASK_FORMER.NHEADS": 8,
    "MODEL.MASK_FORMER.DROPOUT": 0.1,  # In the pixel decoder.
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 2048,
    "MODEL.MASK_FORMER.ENC_LAYERS": 0,
    "MODEL.MASK_FORMER.DEC_LAYERS": 6,  # Predictions: one of the start values, one a layer.
    "MODEL.MASK_FORMER.PRE_NORM": False,
    "MODEL.MASK_FORMER.HIDDEN_DIM": 256,
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 100,
    "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": "res5",
    "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ": False,
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": True,
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON": False,
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON": False,
    # Of panoptic results: least score of a query, and least share of its mask that it wins.
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD": 0.0,
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD": 0.0,
    "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": False,
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": 32,
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "MultiScaleMaskedTransformerDecoder",
    # Points of each mask that the losses look at; see `get_uncertain_point_coords_...`.
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 112 * 112,
    "MODEL.MASK_FORMER.OVERSAMPLE_RATIO": 3.0,
    "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO": 0.75,
    "MODEL.SEM_SEG_HEAD.MASK_DIM": 256,
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 0,
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": "BasePixelDecoder",
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": 4,
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": 8,
    "MODEL.SWIN.PRETRAIN_IMG_SIZE": 224,
    "MODEL.SWIN.PATCH_SIZE": 4,
    "MODEL.SWIN.MLP_RATIO": 4.0,
    "MODEL.SWIN.QKV_BIAS": True,
    "MODEL.SWIN.QK_SCALE": None,
    "MODEL.SWIN.DROP_RATE": 0.0,
    "MODEL.SWIN.ATTN_DROP_RATE": 0.0,
    "MODEL.SWIN.APE": False,
    "MODEL.SWIN.PATCH_NORM": True,
}

# Keys that the core has already, with another default.
_OWN_DEFAULTS = {
    "SOLVER.OPTIMIZER": "ADAMW",
    "MODEL.SWIN.DROP_PATH_RATE": 0.3,
    "MODEL.SWIN.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
}


def add_maskformer2_config(cfg: CfgNode) -> None:
    """Add the keys of Mask2Former and those that it shares with DeepLab, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value, but for those of
            `_OWN_DEFAULTS` that nobody has set.
    """
    add_deeplab_keys(cfg)
    add_new_keys(cfg, _KEYS)
    for key, value in _OWN_DEFAULTS.items():
        if cfg.is_default(key):
            cfg.merge_from_list([key, value], origin="default")


def follow_own_defaults(cfg: CfgNode, *keys: str) -> None:
    """Derive the project's own defaults where nobody has set a key, as the tools leave the core's.

    Args:
        cfg: the whole config; may be frozen.
        *keys: of `_OWN_DEFAULTS`.
    """
    for key in keys:
        if cfg.is_default(key):
            cfg.derive(key, _OWN_DEFAULTS[key], "the recipe of Mask2Former")
