"""The box stages of a cascade, as `MODEL.ROI_BOX_CASCADE_HEAD` describes them."""

from typing import Any

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError

from ..box_regression import Box2BoxTransform
from ..matcher import Matcher
from .build import build_box_head
from .fast_rcnn import FastRCNNOutputLayers
from .standard import build_pooler


def cascade_box_arguments(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
    """The arguments of `CascadeROIHeads` for its box stages.

    Args:
        cfg: the whole config.
        input_shape: the feature maps of the backbone, by name.

    Raises:
        ConfigError: if the settings of the stages do not fit together.
    """
    node, cascade = cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_BOX_CASCADE_HEAD
    if not node.CLS_AGNOSTIC_BBOX_REG:
        raise ConfigError(
            "CascadeROIHeads passes one box of each region to the next stage; set "
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG True."
        )
    if cascade.IOUS[0] != cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS[0]:
        raise ConfigError(
            f"MODEL.ROI_BOX_CASCADE_HEAD.IOUS starts with {cascade.IOUS[0]}, but the first "
            "stage's proposals are drawn with MODEL.ROI_HEADS.IOU_THRESHOLDS "
            f"{list(cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS)}; make them equal."
        )
    if len(cascade.IOUS) != len(cascade.BBOX_REG_WEIGHTS):
        raise ConfigError(
            f"MODEL.ROI_BOX_CASCADE_HEAD has {len(cascade.IOUS)} IOUS and "
            f"{len(cascade.BBOX_REG_WEIGHTS)} BBOX_REG_WEIGHTS; give one of each a stage."
        )
    if (joined_by := cascade.AVERAGE) not in ("probabilities", "logits"):
        raise ConfigError(
            f'MODEL.ROI_BOX_CASCADE_HEAD.AVERAGE={joined_by!r}: use "probabilities" or "logits".'
        )
    names, pooler, shape = build_pooler(cfg, node, input_shape)
    heads, predictors = [], []
    # Stage by stage, so that a seed gives the same start values as in detectron2.
    for weights in cascade.BBOX_REG_WEIGHTS:
        head: Any = build_box_head(cfg, shape)
        heads.append(head)
        predictors.append(
            FastRCNNOutputLayers(
                cfg, head.output_shape, box2box_transform=Box2BoxTransform(weights=weights)
            )
        )
    return {
        "box_in_features": names,
        "box_pooler": pooler,
        "box_heads": heads,
        "box_predictors": predictors,
        "proposal_matchers": [Matcher([iou], [0, 1]) for iou in cascade.IOUS],
        "stage_loss_weights": cascade.LOSS_WEIGHTS,
        "averages_logits": joined_by == "logits",
    }
