"""The configuration keys of YOLOX and CSPDarknet."""

from d2lite.config import CfgNode, add_new_keys

_KEYS = {
    # Object classes; follows from the data set while nobody sets it.
    "MODEL.YOLOX.NUM_CLASSES": 80,
    "MODEL.YOLOX.IN_FEATURES": ["p3", "p4", "p5"],  # Of doubling strides, finest first.
    "MODEL.YOLOX.CHANNELS": 0,  # Of the towers; 0: those of the pyramid.
    "MODEL.YOLOX.NUM_CONVS": 2,
    "MODEL.YOLOX.NORM": "BN",
    "MODEL.YOLOX.DEPTHWISE": False,
    "MODEL.YOLOX.TOPK": 10,  # An object is learnt by the sum of so many best IoUs.
    "MODEL.YOLOX.CENTER_RADIUS": 2.5,  # In strides.
    "MODEL.YOLOX.BOX_WEIGHT": 5.0,
    # Share of the training, at its end, in which boxes are also compared by L1.
    "MODEL.YOLOX.L1_LAST_PART": 0.05,
    "MODEL.YOLOX.SCORE_THRESH_TEST": 0.01,
    "MODEL.YOLOX.TOPK_CANDIDATES_TEST": 10000,  # Of each level.
    "MODEL.YOLOX.NMS_THRESH_TEST": 0.65,
    # Factors on blocks and channels.
    "MODEL.CSPDARKNET.DEPTH": 1.0,
    "MODEL.CSPDARKNET.WIDTH": 1.0,
    "MODEL.CSPDARKNET.NORM": "BN",
    "MODEL.CSPDARKNET.DEPTHWISE": False,
    "MODEL.CSPDARKNET.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.CSPDARKNET.PYRAMID_CHANNELS": 0,  # 0: those of "res3".
}


def add_yolox_config(cfg: CfgNode) -> None:
    """Add the keys of YOLOX and CSPDarknet, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, _KEYS)
