"""The registries of region heads, and how each is made from a configuration."""

from torch import nn

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.registry import Registry

ROI_HEADS_REGISTRY = Registry(
    "ROI_HEADS",
    reserved=(
        "CascadeROIHeads",
        "RROIHeads",
        "Res5ROIHeads",
        "StandardROIHeads",
    ),
)
ROI_HEADS_REGISTRY.__doc__ = """
All that is done with proposals, by name: callables of (cfg, input_shape: dict[str, ShapeSpec])
that return a `ROIHeads`, chosen by `MODEL.ROI_HEADS.NAME`.
"""

ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD", reserved=("FastRCNNConvFCHead",))
ROI_BOX_HEAD_REGISTRY.__doc__ = """
Region features -> features for class and box, by name: callables of (cfg, input_shape: ShapeSpec)
that return a module with an `output_shape`, chosen by `MODEL.ROI_BOX_HEAD.NAME`.
"""

ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD", reserved=("MaskRCNNConvUpsampleHead",))
ROI_MASK_HEAD_REGISTRY.__doc__ = """
Region features and instances -> mask losses or instances with masks, by name: callables of
(cfg, input_shape: ShapeSpec), chosen by `MODEL.ROI_MASK_HEAD.NAME`.
"""

ROI_KEYPOINT_HEAD_REGISTRY = Registry(
    "ROI_KEYPOINT_HEAD", reserved=("KRCNNConvDeconvUpsampleHead",)
)
ROI_KEYPOINT_HEAD_REGISTRY.__doc__ = """
Region features and instances -> keypoint losses or instances with keypoints, by name: callables of
(cfg, input_shape: ShapeSpec), chosen by `MODEL.ROI_KEYPOINT_HEAD.NAME`.
"""


def build_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Make the heads that `MODEL.ROI_HEADS.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: the feature maps of the backbone, by name.
    """
    return ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape)


def build_box_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """Make the box head that `MODEL.ROI_BOX_HEAD.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: of one region's features.
    """
    return ROI_BOX_HEAD_REGISTRY.get(cfg.MODEL.ROI_BOX_HEAD.NAME)(cfg, input_shape)


def build_mask_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """Make the mask head that `MODEL.ROI_MASK_HEAD.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: of one region's features.
    """
    return ROI_MASK_HEAD_REGISTRY.get(cfg.MODEL.ROI_MASK_HEAD.NAME)(cfg, input_shape)


def build_keypoint_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """Make the keypoint head that `MODEL.ROI_KEYPOINT_HEAD.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: of one region's features.
    """
    return ROI_KEYPOINT_HEAD_REGISTRY.get(cfg.MODEL.ROI_KEYPOINT_HEAD.NAME)(cfg, input_shape)
