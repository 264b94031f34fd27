"""The configuration keys of RTMDet and CSPNeXt."""

from d2lite.config import CfgNode, add_new_keys

_KEYS = {
    # Object classes; follows from the data set while nobody sets it.
    "MODEL.RTMDET.NUM_CLASSES": 80,
    "MODEL.RTMDET.IN_FEATURES": ["p3", "p4", "p5"],  # Of doubling strides, finest first.
    "MODEL.RTMDET.CHANNELS": 0,  # Of the towers; 0: those of the pyramid.
    "MODEL.RTMDET.NUM_CONVS": 2,
    "MODEL.RTMDET.NORM": "BN",
    # What a predicted number means: "exp", "linear" or "relu"; in strides.
    "MODEL.RTMDET.DISTANCES": "exp",
    "MODEL.RTMDET.NUM_MASK_CONVS": 4,  # With MODEL.MASK_ON.
    "MODEL.RTMDET.PROTOTYPES": 8,
    # Which cells learn an object: "soft_label" or "task_aligned" (as in TOOD).
    "MODEL.RTMDET.ASSIGNER": "soft_label",
    # An object is learnt by the sum of so many best IoUs; if "task_aligned" by so many cells.
    "MODEL.RTMDET.TOPK": 13,
    "MODEL.RTMDET.BOX_WEIGHT": 2.0,
    "MODEL.RTMDET.MASK_WEIGHT": 2.0,
    # Cells of an image whose masks a step computes, at most; 0: all that learn an object.
    "MODEL.RTMDET.MAX_MASKS": 0,
    "MODEL.RTMDET.SCORE_THRESH_TEST": 0.05,
    "MODEL.RTMDET.TOPK_CANDIDATES_TEST": 1000,
    "MODEL.RTMDET.NMS_THRESH_TEST": 0.6,
    "MODEL.RTMDET.MASK_THRESH_TEST": 0.5,
    # Factors on blocks and channels.
    "MODEL.CSPNEXT.DEPTH": 1.0,
    "MODEL.CSPNEXT.WIDTH": 1.0,
    "MODEL.CSPNEXT.NORM": "BN",
    "MODEL.CSPNEXT.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.CSPNEXT.PYRAMID_CHANNELS": 0,  # 0: those of "res3".
}


def add_rtmdet_config(cfg: CfgNode) -> None:
    """Add the keys of RTMDet and CSPNeXt, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, _KEYS)
