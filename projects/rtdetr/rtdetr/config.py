"""The configuration keys of RT-DETR and D-FINE."""

from d2lite.config import CfgNode, add_new_keys

_KEYS = {
    # Object classes; follows from the data set while nobody sets it.
    "MODEL.RTDETR.NUM_CLASSES": 80,
    # Maps of the backbone, finest first; strides double from one to the next.
    "MODEL.RTDETR.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.RTDETR.ENCODER.HIDDEN_DIM": 256,
    "MODEL.RTDETR.ENCODER.FEEDFORWARD": 1024,
    "MODEL.RTDETR.ENCODER.HEADS": 8,
    "MODEL.RTDETR.ENCODER.LAYERS": 1,
    "MODEL.RTDETR.ENCODER.ATTENDED": [2],  # Numbers of the maps whose cells see each other.
    "MODEL.RTDETR.ENCODER.BLOCKS": "csp",  # Or "elan", those of D-FINE.
    "MODEL.RTDETR.ENCODER.EXPANSION": 1.0,
    "MODEL.RTDETR.ENCODER.DEPTH": 1.0,
    "MODEL.RTDETR.NORM": "BN",  # Of all convolutions after the backbone.
    "MODEL.RTDETR.DROPOUT": 0.0,
    # "rtdetr": boxes move from layer to layer; "dfine": their edges are distributions.
    "MODEL.RTDETR.DECODER.KIND": "rtdetr",
    "MODEL.RTDETR.DECODER.QUERIES": 300,
    "MODEL.RTDETR.DECODER.HIDDEN_DIM": 256,
    "MODEL.RTDETR.DECODER.FEEDFORWARD": 1024,
    "MODEL.RTDETR.DECODER.HEADS": 8,
    "MODEL.RTDETR.DECODER.LAYERS": 6,
    "MODEL.RTDETR.DECODER.POINTS": [4, 4, 4],  # Of each head, map by map.
    "MODEL.RTDETR.DECODER.OFFSET_SCALE": 0.5,
    "MODEL.RTDETR.DECODER.METHOD": "default",  # "discrete": no interpolation between cells.
    # Of "dfine": steps of a distribution, their range and how much finer they are near 0, and of
    # the head that judges a distribution: greatest values seen, channels, layers.
    "MODEL.RTDETR.DECODER.BINS": 32,
    "MODEL.RTDETR.DECODER.REACH": 0.5,
    "MODEL.RTDETR.DECODER.CURVATURE": 4.0,
    "MODEL.RTDETR.DECODER.QUALITY": [4, 64, 2],
    "MODEL.RTDETR.DENOISING.QUERIES": 100,  # 0: none.
    "MODEL.RTDETR.DENOISING.LABEL_NOISE": 0.5,
    "MODEL.RTDETR.DENOISING.BOX_NOISE": 1.0,
    "MODEL.RTDETR.MATCHER.CLASS_COST": 2.0,
    "MODEL.RTDETR.MATCHER.BBOX_COST": 5.0,
    "MODEL.RTDETR.MATCHER.GIOU_COST": 2.0,
    "MODEL.RTDETR.MATCHER.ALPHA": 0.25,
    "MODEL.RTDETR.MATCHER.GAMMA": 2.0,
    # All predictions of "dfine" vote for the assignment that the losses of boxes use.
    "MODEL.RTDETR.MATCHER.VOTES": True,
    "MODEL.RTDETR.LOSS.CLASS": "vfl",  # "mal" of DEIM, or "focal".
    "MODEL.RTDETR.LOSS.ALPHA": 0.75,
    "MODEL.RTDETR.LOSS.GAMMA": 2.0,
    "MODEL.RTDETR.LOSS.CLASS_WEIGHT": 1.0,
    "MODEL.RTDETR.LOSS.BBOX_WEIGHT": 5.0,
    "MODEL.RTDETR.LOSS.GIOU_WEIGHT": 2.0,
    "MODEL.RTDETR.LOSS.FGL_WEIGHT": 0.15,
    "MODEL.RTDETR.LOSS.DDF_WEIGHT": 1.5,
    # With MODEL.MASK_ON: channels of the vectors whose products are masks, and cells of a side.
    "MODEL.RTDETR.MASK.CHANNELS": 64,
    "MODEL.RTDETR.MASK.SIZE": 28,
    "MODEL.RTDETR.LOSS.MASK_WEIGHT": 2.0,
    "MODEL.RTDETR.LOSS.DICE_WEIGHT": 2.0,
    # Factor on the backbone's learning rate; 1.0 where it starts from random weights.
    "SOLVER.BACKBONE_MULTIPLIER": 0.1,
    # Published size, see `hgnet.VARIANTS`; STEM_WIDTHS and STAGES replace what it says.
    "MODEL.HGNET.VARIANT": "B0",
    "MODEL.HGNET.STEM_WIDTHS": [],
    "MODEL.HGNET.STAGES": [],
    "MODEL.HGNET.NORM": "BN",
    # Learn a factor and a shift after each activation, as the small published ones do.
    "MODEL.HGNET.HAS_AFFINE": True,
    "MODEL.HGNET.OUT_FEATURES": ["res3", "res4", "res5"],
}


def add_rtdetr_config(cfg: CfgNode) -> None:
    """Add the keys of RT-DETR and D-FINE, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, _KEYS)
