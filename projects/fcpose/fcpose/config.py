"""The configuration keys of FCPose, by AdelaiDet's names."""

from d2lite.config import CfgNode, add_new_keys

_KEYS = {
    # Train samples get heat maps of their keypoints; needed by MODEL.META_ARCHITECTURE FCPose.
    "MODEL.FCPOSE_ON": False,
    # Numbers of the three convolutions of an object. They follow from the number of keypoints and
    # the two widths below while nobody sets this; 2737 is for 17 keypoints.
    "MODEL.FCPOSE.ATTN_LEN": 2737,
    "MODEL.FCPOSE.DYNAMIC_CHANNELS": 32,  # Between the convolutions of an object.
    # Cells whose poses a step compares, at most: of an image, and of one object.
    "MODEL.FCPOSE.MAX_PROPOSALS": 70,
    "MODEL.FCPOSE.PROPOSALS_PER_INST": 70,
    "MODEL.FCPOSE.LOSS_WEIGHT_KEYPOINT": 2.5,
    "MODEL.FCPOSE.LOSS_WEIGHT_DIRECTION": 9.0,
    # Pixels of the network's input: how far from a keypoint cells learn the way to it.
    "MODEL.FCPOSE.DISTANCE_NORM": 12.0,
    "MODEL.FCPOSE.GT_HEATMAP_STRIDE": 2,  # Pixels of a cell of the heat maps that are learnt.
    # Deviations of their bumps, in cells: of all keypoints, and of nose, eyes and ears.
    "MODEL.FCPOSE.HEATMAP_SIGMA": [1.8, 0.01],
    # The features that all objects share.
    "MODEL.FCPOSE.BASIS_MODULE.IN_FEATURES": ["p3", "p4", "p5"],  # Of MODEL.FCOS.IN_FEATURES.
    "MODEL.FCPOSE.BASIS_MODULE.CONVS_DIM": 128,
    "MODEL.FCPOSE.BASIS_MODULE.NUM_BASES": 32,
    "MODEL.FCPOSE.BASIS_MODULE.BN_TYPE": "SyncBN",
    "MODEL.FCPOSE.BASIS_MODULE.LOSS_WEIGHT": 0.2,  # Of the heat maps of all objects together.
    # The shared features also learn the class of each cell, from masks (MODEL.MASK_ON).
    "MODEL.BASIS_MODULE.LOSS_ON": False,
    "MODEL.BASIS_MODULE.LOSS_WEIGHT": 0.3,
}


def add_fcpose_config(cfg: CfgNode) -> None:
    """Add the keys of FCPose, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, _KEYS)
