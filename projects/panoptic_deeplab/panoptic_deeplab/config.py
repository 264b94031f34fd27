"""The configuration keys of Panoptic-DeepLab, as the published files write them."""

from d2lite.config import CfgNode, add_new_keys
from d2lite.modeling.deeplab import add_deeplab_keys

_KEYS = {
    # The truth: deviation, in pixels, of the Gaussian that is drawn at each object's centre;
    # whether pixels of stuff are left out of the loss of offsets; objects of fewer pixels weigh
    # more in the semantic loss; whether groups of objects are left out of it.
    "INPUT.GAUSSIAN_SIGMA": 10,
    "INPUT.IGNORE_STUFF_IN_OFFSET": True,
    "INPUT.SMALL_INSTANCE_AREA": 4096,
    "INPUT.SMALL_INSTANCE_WEIGHT": 3,
    "INPUT.IGNORE_CROWD_IN_SEMANTIC": False,
    "MODEL.SEM_SEG_HEAD.HEAD_CHANNELS": 256,
    "MODEL.SEM_SEG_HEAD.LOSS_TOP_K": 0.2,  # Share of the pixels that hard_pixel_mining takes.
    # The branch that predicts centres, and at each pixel the way to its object's centre.
    "MODEL.INS_EMBED_HEAD.NAME": "PanopticDeepLabInsEmbedHead",
    "MODEL.INS_EMBED_HEAD.IN_FEATURES": ["res2", "res3", "res5"],
    "MODEL.INS_EMBED_HEAD.PROJECT_FEATURES": ["res2", "res3"],
    "MODEL.INS_EMBED_HEAD.PROJECT_CHANNELS": [32, 64],
    "MODEL.INS_EMBED_HEAD.ASPP_CHANNELS": 256,
    "MODEL.INS_EMBED_HEAD.ASPP_DILATIONS": [6, 12, 18],
    "MODEL.INS_EMBED_HEAD.ASPP_DROPOUT": 0.1,
    "MODEL.INS_EMBED_HEAD.HEAD_CHANNELS": 32,
    "MODEL.INS_EMBED_HEAD.CONVS_DIM": 128,
    "MODEL.INS_EMBED_HEAD.COMMON_STRIDE": 4,
    "MODEL.INS_EMBED_HEAD.NORM": "SyncBN",
    "MODEL.INS_EMBED_HEAD.CENTER_LOSS_WEIGHT": 200.0,
    "MODEL.INS_EMBED_HEAD.OFFSET_LOSS_WEIGHT": 0.01,
    # From predictions to segments; see `get_panoptic_segmentation`.
    "MODEL.PANOPTIC_DEEPLAB.STUFF_AREA": 2048,
    "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD": 0.1,
    "MODEL.PANOPTIC_DEEPLAB.NMS_KERNEL": 7,
    "MODEL.PANOPTIC_DEEPLAB.TOP_K_INSTANCE": 200,
    "MODEL.PANOPTIC_DEEPLAB.PREDICT_INSTANCES": True,  # Give objects with scores as well.
    "MODEL.PANOPTIC_DEEPLAB.USE_DEPTHWISE_SEPARABLE_CONV": False,  # In the branch of objects.
    # Sides of the network's input are multiples of this; -1 for what the backbone needs.
    "MODEL.PANOPTIC_DEEPLAB.SIZE_DIVISIBILITY": -1,
    "MODEL.PANOPTIC_DEEPLAB.BENCHMARK_NETWORK_SPEED": False,  # Run the network, give no result.
    # Where the result has another size than the network's input, the published numbers come from
    # offsets in pixels of the input. True scales them too, as is right.
    "MODEL.PANOPTIC_DEEPLAB.SCALE_OFFSETS": False,
}


def add_panoptic_deeplab_config(cfg: CfgNode) -> None:
    """Add the keys of Panoptic-DeepLab and those that it shares with DeepLab, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value, but SOLVER.OPTIMIZER
            becomes ADAM where nobody has set it.
    """
    add_deeplab_keys(cfg)
    add_new_keys(cfg, _KEYS)
    if cfg.is_default("SOLVER.OPTIMIZER"):
        cfg.SOLVER.OPTIMIZER = "ADAM"
