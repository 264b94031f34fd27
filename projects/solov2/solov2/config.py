"""The configuration keys of SOLOv2, as AdelaiDet's files write them."""

from functools import reduce
from operator import getitem

from d2lite.config import CfgNode, add_new_keys
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError

# Key of MODEL.SOLOV2 -> default; comments say what it means.
_SOLOV2 = {
    # Size range of an object, sqrt(w * h) of its box in pixels of the network input, for every
    # level. Ranges overlap: an object may be learnt on two levels.
    "FPN_SCALE_RANGES": ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
    "FPN_INSTANCE_STRIDES": [8, 8, 16, 32, 32],  # Stride of each level's feature map.
    "SIGMA": 0.2,  # Share of an object's box, around its centre of mass, whose cells learn it.
    "NUM_GRIDS": [40, 36, 24, 16, 12],  # Cells along each side, for every level.
    "NUM_CLASSES": 80,
    "NUM_KERNELS": 256,  # Numbers that a cell predicts: one 1 x 1 kernel over the mask features.
    "NUM_MASKS": 256,  # Channels of the mask features; equal to NUM_KERNELS.
    "NORM": "GN",  # Of heads and mask branch: GN, or "" for none.
    # First weights of the heads' convolutions: normal (of deviation 0.01, as published) or kaiming.
    # A norm follows, so that only the speed of learning changes: Adam's steps are too large for
    # small weights.
    "CONV_INIT": "normal",
    "PRIOR_PROB": 0.01,  # Score of every category at the start of training.
    "USE_COORD_CONV": True,  # Give the kernel tower the x and y of every pixel.
    # The instance head.
    "INSTANCE_IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "INSTANCE_IN_CHANNELS": 256,
    "INSTANCE_CHANNELS": 512,
    "NUM_INSTANCE_CONVS": 4,
    "USE_DCN_IN_INSTANCE": False,  # Make the last convolution of both towers deformable.
    "TYPE_DCN": "DCN",  # DCN (version 1) or DCNv2 (modulated).
    # The mask branch.
    "MASK_IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MASK_IN_CHANNELS": 256,
    "MASK_CHANNELS": 128,
    # Inference.
    "NMS_PRE": 500,  # Candidates that enter the NMS.
    "SCORE_THR": 0.1,  # Category score of a candidate.
    "UPDATE_THR": 0.05,  # Score that must remain after the Matrix NMS.
    "MASK_THR": 0.5,  # Probability from which a pixel belongs to the object.
    "MAX_PER_IMG": 100,
    "NMS_TYPE": "matrix",  # matrix or mask.
    "NMS_KERNEL": "gaussian",  # Decay of the Matrix NMS: gaussian or linear.
    "NMS_SIGMA": 2,  # Steepness of the gaussian decay.
    # Scale masks by the image's height without padding, as AdelaiDet does: wrong for an image much
    # flatter than its batch, and there to compare numbers. The configurations here turn it off.
    "PASTE_AS_PUBLISHED": True,
    # Predict from each image and its mirror image together: twice the time.
    "TEST_FLIP": False,
    "LOSS.FOCAL_USE_SIGMOID": True,  # The only form; False is refused.
    "LOSS.FOCAL_ALPHA": 0.25,
    "LOSS.FOCAL_GAMMA": 2.0,
    "LOSS.FOCAL_WEIGHT": 1.0,
    "LOSS.DICE_WEIGHT": 3.0,
}

# Keys that AdelaiDet's files may carry for its other models and its loader. They are known so
# that these files load; another value is refused.
_ADELAIDET = {
    "MODEL.MOBILENET": False,
    "MODEL.BACKBONE.ANTI_ALIAS": False,
    "MODEL.RESNETS.DEFORM_INTERVAL": 1,
    "INPUT.HFLIP_TRAIN": True,
    "INPUT.CROP.CROP_INSTANCE": True,
    "INPUT.IS_ROTATE": False,
}


# What to do about another value of these keys.
_FIXES = {
    "MODEL.MOBILENET": "Leave it False; MODEL.BACKBONE.NAME 'timm:NAME' has small networks.",
    "MODEL.BACKBONE.ANTI_ALIAS": "Leave it False.",
    "MODEL.RESNETS.DEFORM_INTERVAL": "Leave it 1: every block of a stage is deformable, or none.",
    "INPUT.HFLIP_TRAIN": "Leave it True, and set INPUT.RANDOM_FLIP none for images as they are.",
    "INPUT.IS_ROTATE": "Leave it False.",
}


def add_solov2_config(cfg: CfgNode) -> None:
    """Add `MODEL.SOLOV2` and the keys that AdelaiDet's configuration files carry, with defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, {f"MODEL.SOLOV2.{name}": default for name, default in _SOLOV2.items()})
    add_new_keys(cfg, _ADELAIDET)


def check_solov2_config(cfg: CfgNode, shapes: dict[str, ShapeSpec]) -> None:
    """Refuse what cannot work; the message names the key to change.

    Args:
        cfg: the whole config.
        shapes: of the backbone's maps.

    Raises:
        ConfigError: for options that contradict each other or the backbone.
    """
    _check_adelaidet(cfg)
    solo = cfg.MODEL.SOLOV2
    if not solo.LOSS.FOCAL_USE_SIGMOID:
        raise ConfigError(
            "MODEL.SOLOV2.LOSS.FOCAL_USE_SIGMOID is False; SOLOv2's focal loss has only the "
            "sigmoid form. Leave it True."
        )
    if solo.NUM_KERNELS != solo.NUM_MASKS:
        raise ConfigError(
            f"MODEL.SOLOV2.NUM_KERNELS={solo.NUM_KERNELS} and NUM_MASKS={solo.NUM_MASKS}: a kernel "
            "has one number for each channel of the mask features, so both must be equal."
        )
    num_levels = len(solo.INSTANCE_IN_FEATURES)
    for key in ("NUM_GRIDS", "FPN_INSTANCE_STRIDES", "FPN_SCALE_RANGES"):
        if len(solo[key]) != num_levels:
            raise ConfigError(
                f"MODEL.SOLOV2.{key} has {len(solo[key])} entries for {num_levels} levels in "
                "INSTANCE_IN_FEATURES; give one a level."
            )
    for key, width in (
        ("INSTANCE_IN_FEATURES", solo.INSTANCE_IN_CHANNELS),
        ("MASK_IN_FEATURES", solo.MASK_IN_CHANNELS),
    ):
        for name in solo[key]:
            if name not in shapes:
                raise ConfigError(
                    f"MODEL.SOLOV2.{key} names {name!r}; the backbone has {', '.join(shapes)}."
                )
            if shapes[name].channels != width:
                raise ConfigError(
                    f"MODEL.SOLOV2 expects {width} channels in {name!r} ({key}), the backbone "
                    f"gives {shapes[name].channels}. Make INSTANCE_IN_CHANNELS, MASK_IN_CHANNELS "
                    "and MODEL.FPN.OUT_CHANNELS equal."
                )


def _check_adelaidet(cfg: CfgNode) -> None:
    """Refuse options of AdelaiDet that would change a training there and do nothing here."""
    for name, fix in _FIXES.items():
        value = reduce(getitem, name.split("."), cfg)
        if value != _ADELAIDET[name]:
            raise ConfigError(f"{name} is {value!r}, an option of AdelaiDet. {fix}")
    if cfg.INPUT.CROP.ENABLED and cfg.INPUT.CROP.CROP_INSTANCE:
        raise ConfigError(
            "INPUT.CROP.ENABLED with CROP_INSTANCE True keeps an object in each crop, as AdelaiDet "
            "does; here a crop is taken anywhere. Set INPUT.CROP.CROP_INSTANCE False for that."
        )
