"""The configuration keys of EoMT."""

from d2lite.config import CfgNode, add_new_keys

_KEYS = {
    # How training samples are made, by the mappers of Mask2Former.
    "INPUT.DATASET_MAPPER_NAME": "mask_former_semantic",
    "INPUT.COLOR_AUG_SSD": False,
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": 1.0,
    # Pad samples to this side in pixels; -1 leaves them.
    "INPUT.SIZE_DIVISIBILITY": -1,
    # Large-scale jitter of the coco_..._lsj mappers: side of the square, and range of factors.
    "INPUT.IMAGE_SIZE": 1024,
    "INPUT.MIN_SCALE": 0.1,
    "INPUT.MAX_SCALE": 2.0,
    "MODEL.EOMT.QUERIES": 200,
    # So many of the last blocks see the queries.
    "MODEL.EOMT.BLOCKS": 4,
    # Each of these doubles the size of the map that masks are read from.
    "MODEL.EOMT.UPSCALES": 2,
    # Added to the variance in the norms of the backbone; 0 leaves what timm has.
    "MODEL.EOMT.NORM_EPS": 0.0,
    # Masked attention in training ends block by block in the course of the run. False keeps it, and
    # then predictions need it too, which is slower.
    "MODEL.EOMT.ANNEALED": True,
    # Power of the fall of the share of queries that are masked.
    "MODEL.EOMT.ANNEALING_POWER": 0.9,
    "MODEL.EOMT.CLASS_WEIGHT": 2.0,
    "MODEL.EOMT.MASK_WEIGHT": 5.0,
    "MODEL.EOMT.DICE_WEIGHT": 5.0,
    # Weight of "no object" among the classes.
    "MODEL.EOMT.NO_OBJECT_WEIGHT": 0.1,
    # Points of each mask that the losses look at; see `get_uncertain_point_coords_...`.
    "MODEL.EOMT.TRAIN_NUM_POINTS": 12544,
    "MODEL.EOMT.OVERSAMPLE_RATIO": 3.0,
    "MODEL.EOMT.IMPORTANCE_SAMPLE_RATIO": 0.75,
    "MODEL.EOMT.TEST.SEMANTIC_ON": False,
    "MODEL.EOMT.TEST.INSTANCE_ON": True,
    "MODEL.EOMT.TEST.PANOPTIC_ON": False,
    # Of panoptic results: least score of a query, and least share of its mask that it wins.
    "MODEL.EOMT.TEST.OBJECT_MASK_THRESHOLD": 0.8,
    "MODEL.EOMT.TEST.OVERLAP_THRESHOLD": 0.8,
}


def add_eomt_config(cfg: CfgNode) -> None:
    """Add the keys of EoMT with their defaults; keys that are there already keep their value."""
    add_new_keys(cfg, _KEYS)
