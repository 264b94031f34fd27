"""The configuration keys of DETR, Deformable DETR and DINO."""

from typing import Any

from d2lite.config import CfgNode, add_new_keys
from d2lite.modeling.meta_arch.detector import common_arguments
from d2lite.modeling.transformer import SetCriterion, SetMatcher

_KEYS = {
    # Object classes; follows from the data set while nobody sets it.
    "MODEL.DETR.NUM_CLASSES": 80,
    # Maps of the backbone, finest first; DETR uses the last alone.
    "MODEL.DETR.IN_FEATURES": ["res5"],
    "MODEL.DETR.NUM_OBJECT_QUERIES": 100,
    "MODEL.DETR.HIDDEN_DIM": 256,
    "MODEL.DETR.NHEADS": 8,
    "MODEL.DETR.DIM_FEEDFORWARD": 2048,
    "MODEL.DETR.ENC_LAYERS": 6,
    "MODEL.DETR.DEC_LAYERS": 6,
    "MODEL.DETR.DROPOUT": 0.1,
    # Waves of the position encoding: the longest over the shortest; -0.5 for centres of cells.
    "MODEL.DETR.POSITION_TEMPERATURE": 10000.0,
    "MODEL.DETR.POSITION_OFFSET": 0.0,
    # Of Deformable DETR and DINO. Maps beyond IN_FEATURES are halved again and again.
    "MODEL.DETR.NUM_FEATURE_LEVELS": 4,
    "MODEL.DETR.ENC_POINTS": 4,
    "MODEL.DETR.DEC_POINTS": 4,
    # Of Deformable DETR; DINO has both.
    "MODEL.DETR.WITH_BOX_REFINE": False,
    "MODEL.DETR.TWO_STAGE": False,
    # Of DINO.
    "MODEL.DETR.DENOISING.QUERIES": 100,  # 0: none.
    "MODEL.DETR.DENOISING.LABEL_NOISE": 0.5,
    "MODEL.DETR.DENOISING.BOX_NOISE": 1.0,
    "MODEL.DETR.MATCHER.CLASS_COST": 1.0,
    "MODEL.DETR.MATCHER.BBOX_COST": 5.0,
    "MODEL.DETR.MATCHER.GIOU_COST": 2.0,
    "MODEL.DETR.CLASS_WEIGHT": 1.0,
    "MODEL.DETR.L1_WEIGHT": 5.0,
    "MODEL.DETR.GIOU_WEIGHT": 2.0,
    "MODEL.DETR.NO_OBJECT_WEIGHT": 0.1,  # Of DETR, in the cross-entropy.
    "MODEL.DETR.FOCAL_ALPHA": 0.25,  # Of the other models.
    # Losses of all layers of the decoder, not of the last alone.
    "MODEL.DETR.DEEP_SUPERVISION": True,
    # Factors on the learning rates of the backbone, and of offsets and first places.
    "SOLVER.BACKBONE_MULTIPLIER": 0.1,
    "SOLVER.LINEAR_PROJ_MULTIPLIER": 1.0,
}


def add_detr_config(cfg: CfgNode) -> None:
    """Add the keys of DETR, Deformable DETR and DINO, with their defaults.

    Args:
        cfg: changed in place; keys that it has already keep their value.
    """
    add_new_keys(cfg, _KEYS)


def build_criterion(node: CfgNode, *, is_softmax: bool) -> SetCriterion:
    """The losses that `MODEL.DETR` describes.

    Args:
        node: `cfg.MODEL.DETR`.
        is_softmax: cross-entropy with a class for no object, instead of the focal loss.
    """
    costs = node.MATCHER
    matcher = SetMatcher(
        costs.CLASS_COST,
        costs.BBOX_COST,
        costs.GIOU_COST,
        alpha=node.FOCAL_ALPHA,
        is_softmax=is_softmax,
    )
    return SetCriterion(
        node.NUM_CLASSES,
        matcher,
        {"class": node.CLASS_WEIGHT, "bbox": node.L1_WEIGHT, "giou": node.GIOU_WEIGHT},
        class_loss="ce" if is_softmax else "focal",
        alpha=node.NO_OBJECT_WEIGHT if is_softmax else node.FOCAL_ALPHA,
    )


def detector_arguments(cfg: CfgNode, *, is_softmax: bool) -> dict[str, Any]:
    """The arguments that all models of this project have.

    Args:
        cfg: the whole config.
        is_softmax: see `build_criterion`.
    """
    node = cfg.MODEL.DETR
    common = common_arguments(cfg)
    if cfg.MODEL.RESNETS.RES5_DILATION == 2:
        # Published DC5 models dilate res5 after its first block.
        first: Any = common["backbone"].get_submodule("res5.0.conv2")
        first.dilation = first.padding = (1, 1)
    return {
        **common,
        "criterion": build_criterion(node, is_softmax=is_softmax),
        "num_classes": node.NUM_CLASSES,
        "num_queries": node.NUM_OBJECT_QUERIES,
        "in_features": node.IN_FEATURES,
        "temperature": node.POSITION_TEMPERATURE,
        "offset": node.POSITION_OFFSET,
        "deep_supervision": node.DEEP_SUPERVISION,
        "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
    }
