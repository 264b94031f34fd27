"""The configuration keys of YOLOv3 and Darknet-53."""

from d2lite.config import CfgNode, add_new_keys

_KEYS = {
    # Object classes; follows from the data set while nobody sets it.
    "MODEL.YOLOV3.NUM_CLASSES": 80,
    # Width and height of the anchors of each map in pixels, from the coarsest map on.
    "MODEL.YOLOV3.ANCHORS": [
        [[116, 90], [156, 198], [373, 326]],
        [[30, 61], [62, 45], [59, 119]],
        [[10, 13], [16, 30], [33, 23]],
    ],
    "MODEL.YOLOV3.NORM": "BN",
    "MODEL.YOLOV3.IOU_THRESHOLD": 0.5,
    "MODEL.YOLOV3.BOX_WEIGHT": 2.0,
    "MODEL.YOLOV3.SCORE_THRESH_TEST": 0.05,  # Of the class.
    "MODEL.YOLOV3.OBJECT_THRESH_TEST": 0.005,  # Of the object.
    "MODEL.YOLOV3.TOPK_CANDIDATES_TEST": 1000,
    "MODEL.YOLOV3.NMS_THRESH_TEST": 0.45,
    "MODEL.DARKNET.WIDTH": 1.0,  # Factor on the channels, also of the pyramid.
    "MODEL.DARKNET.NORM": "BN",
    "MODEL.DARKNET.OUT_FEATURES": ["res3", "res4", "res5"],
}


def add_yolov3_config(cfg: CfgNode) -> None:
    """Add the keys of YOLOv3 and Darknet-53, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, _KEYS)
