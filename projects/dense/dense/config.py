"""The configuration keys of the dense detectors."""

from d2lite.config import CfgNode, add_new_keys

_KEYS = {
    # Object classes; follows from the data set while nobody sets it.
    "MODEL.DENSE.NUM_CLASSES": 80,
    "MODEL.DENSE.IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "MODEL.DENSE.CHANNELS": 0,  # Of the towers; 0: those of the pyramid.
    "MODEL.DENSE.NUM_CONVS": 4,
    "MODEL.DENSE.NORM": "GN",
    # Beside a norm; without a norm, and in FSAF, there is always one.
    "MODEL.DENSE.CONV_BIAS": False,
    "MODEL.DENSE.DEFORM_LAST": False,  # The last convolution of a tower moves its taps; not FSAF.
    "MODEL.DENSE.PRIOR_PROB": 0.01,
    # ATSS, GFL, VFNet and SABLRetinaNet: the side of an anchor in strides.
    "MODEL.DENSE.ANCHOR_SCALE": 8.0,
    # ATSS, GFL and VFNet: candidates of an object a level.
    "MODEL.DENSE.TOPK": 9,
    "MODEL.DENSE.BOX_WEIGHT": 2.0,
    # ATSS, FSAF, SABLRetinaNet and ScaledFCOS.
    "MODEL.DENSE.FOCAL_LOSS_ALPHA": 0.25,
    "MODEL.DENSE.FOCAL_LOSS_GAMMA": 2.0,
    # ATSS.
    "MODEL.DENSE.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    # GFL: the largest distance in strides.
    "MODEL.DENSE.MAX_DISTANCE": 16,
    "MODEL.DENSE.DISTRIBUTION_WEIGHT": 0.25,
    # VFNet.
    "MODEL.DENSE.VARIFOCAL_ALPHA": 0.75,
    "MODEL.DENSE.VARIFOCAL_GAMMA": 2.0,
    "MODEL.DENSE.FIRST_BOX_WEIGHT": 1.5,
    # FSAF: shares of the sides of an object, its regions that learn it and that are ignored; and
    # what distances, in strides, are divided by.
    "MODEL.DENSE.EFFECTIVE_REGION": 0.2,
    "MODEL.DENSE.IGNORED_REGION": 0.5,
    "MODEL.DENSE.NORMALIZER": 4.0,
    # SABLRetinaNet: slices of an anchor along an axis, half of them for each side; what the anchor
    # is scaled by before; the weight of their loss, where BOX_WEIGHT is that of offsets; and below
    # which IoU a cell learns that there is nothing, and from which on that there is an object.
    "MODEL.DENSE.NUM_BUCKETS": 14,
    "MODEL.DENSE.BUCKET_SCALE": 3.0,
    "MODEL.DENSE.BUCKET_WEIGHT": 1.5,
    "MODEL.DENSE.IOU_THRESHOLDS": [0.4, 0.5],
    # ScaledFCOS: "exp" (pixels) or "relu" (strides), what a predicted number means.
    "MODEL.DENSE.DISTANCES": "exp",
    "MODEL.DENSE.CENTERNESS_TOWER": "class",  # Or "box".
    "MODEL.DENSE.CENTER_SAMPLING_RADIUS": 0.0,  # In strides; 0: anywhere in the object.
    "MODEL.DENSE.BOX_LOSS": "iou",  # Or "giou".
    "MODEL.DENSE.SCORE_THRESH_TEST": 0.05,
    "MODEL.DENSE.TOPK_CANDIDATES_TEST": 1000,
    "MODEL.DENSE.NMS_THRESH_TEST": 0.6,
}


def add_dense_config(cfg: CfgNode) -> None:
    """Add the keys of ATSS, GFL, VFNet, FSAF, SABLRetinaNet and ScaledFCOS, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, _KEYS)
