"""The configuration keys of SSD."""

from d2lite.config import CfgNode, add_new_keys

_KEYS = {
    # Object classes; follows from the data set while nobody sets it.
    "MODEL.SSD.NUM_CLASSES": 80,
    "MODEL.SSD.STRIDES": [8, 16, 32, 64, 100, 300],  # Of the anchors of each map, in pixels.
    "MODEL.SSD.BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
    "MODEL.SSD.IOU_THRESHOLD": 0.5,  # Anchors of a larger IoU learn an object.
    "MODEL.SSD.NEGATIVES_PER_POSITIVE": 3,
    "MODEL.SSD.SMOOTH_L1_BETA": 1.0,
    "MODEL.SSD.SCORE_THRESH_TEST": 0.02,
    "MODEL.SSD.TOPK_CANDIDATES_TEST": 1000,
    "MODEL.SSD.NMS_THRESH_TEST": 0.45,
    "MODEL.SSD.LITE": False,  # Separable convolutions in the head.
    "MODEL.SSD.NORM": "BN",  # Of SSDLite and MobileNetV2.
    "MODEL.SSD.WIDTH": 1.0,  # Factor on the channels of MobileNetV2.
    # Layers after the backbone, each with a map of its own: channels, size, stride, padding.
    "MODEL.SSD.EXTRA_LAYERS": [[512, 3, 2, 1], [256, 3, 2, 1], [256, 3, 1, 0], [256, 3, 1, 0]],
}


def add_ssd_config(cfg: CfgNode) -> None:
    """Add the keys of SSD, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, _KEYS)
