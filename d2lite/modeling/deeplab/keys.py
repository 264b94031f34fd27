"""The configuration keys of the DeepLab family."""

from d2lite.config import CfgNode, add_new_keys

_KEYS = {
    # Greatest share of a crop's labelled pixels that one class may have; 1 for any.
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": 1.0,
    # The schedule WarmupPolyLR: rate = (share of training left) ** POWER, and where it ends.
    "SOLVER.POLY_LR_POWER": 0.9,
    "SOLVER.POLY_LR_CONSTANT_ENDING": 0.0,
    "MODEL.SEM_SEG_HEAD.LOSS_TYPE": "hard_pixel_mining",  # Or cross_entropy.
    # The finer maps that the decoder adds, and the channels that each is reduced to before.
    "MODEL.SEM_SEG_HEAD.PROJECT_FEATURES": ["res2"],
    "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS": [48],
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS": 256,
    "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS": [6, 12, 18],
    "MODEL.SEM_SEG_HEAD.ASPP_DROPOUT": 0.1,
    "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV": False,
    # Of build_resnet_deeplab_backbone.
    "MODEL.RESNETS.RES4_DILATION": 1,
    "MODEL.RESNETS.RES5_MULTI_GRID": [1, 2, 4],  # Factor on RES5_DILATION of each block.
    "MODEL.RESNETS.STEM_TYPE": "deeplab",  # Three 3 x 3 convolutions; basic: one of 7 x 7.
}


def add_deeplab_keys(cfg: CfgNode) -> None:
    """Add the keys that `build_resnet_deeplab_backbone` and the heads read, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, _KEYS)
