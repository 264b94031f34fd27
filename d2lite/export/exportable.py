"""Whether the model of a configuration can be exported, without building it."""

from typing import Any

from d2lite.config import CfgNode
from d2lite.data.dataset_mapper import build_augmentation
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.meta_arch.detector import Detector
from d2lite.modeling.meta_arch.rcnn import GeneralizedRCNN
from d2lite.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from d2lite.modeling.roi_heads.base import ROIHeads
from d2lite.modeling.roi_heads.branch_head import BranchHead
from d2lite.modeling.roi_heads.build import (
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
)
from d2lite.utils.errors import ExportError

from .preprocessing import resize_of

__all__ = ["export_fault"]


def export_fault(cfg: CfgNode, *, resize: bool = True) -> str | None:
    """Why a model cannot be exported; None where it can be.

    Args:
        cfg: MODEL and INPUT are read.
        resize: whether the file is to resize images.
    """
    if resize:
        try:
            resize_of(build_augmentation(cfg, is_train=False))
        except ExportError as error:
            return str(error)
    name = cfg.MODEL.META_ARCHITECTURE
    model: Any = META_ARCH_REGISTRY.get(name)
    if getattr(model, "predict_padded", None) in (None, Detector.predict_padded):
        return f"{name} has no fixed-size form."
    return _fault_of_parts(cfg) if issubclass(model, GeneralizedRCNN) else None


def _fault_of_parts(cfg: CfgNode) -> str | None:
    node = cfg.MODEL
    if node.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals" or node.LOAD_PROPOSALS:
        return (
            "Proposals are an input of this model, and a file takes images alone. Export a model "
            "with an RPN."
        )
    generator: Any = PROPOSAL_GENERATOR_REGISTRY.get(node.PROPOSAL_GENERATOR.NAME)
    if node.PROPOSAL_GENERATOR.NAME == "RRPN" or not hasattr(generator, "predict_padded"):
        return (
            f"{node.PROPOSAL_GENERATOR.NAME} has no fixed-size form; ONNX and OpenVINO have no "
            "suppression of rotated boxes."
        )
    heads: Any = ROI_HEADS_REGISTRY.get(node.ROI_HEADS.NAME)
    if getattr(heads, "predict_padded", None) in (None, getattr(ROIHeads, "predict_padded", None)):
        return f"{node.ROI_HEADS.NAME} has no fixed-size form."
    for is_on, registry, part in (
        (node.MASK_ON, ROI_MASK_HEAD_REGISTRY, node.ROI_MASK_HEAD),
        (node.KEYPOINT_ON, ROI_KEYPOINT_HEAD_REGISTRY, node.ROI_KEYPOINT_HEAD),
    ):
        head: Any = registry.get(part.NAME) if is_on else None
        has_rows = getattr(head, "predict_rows", None) not in (None, BranchHead.predict_rows)
        if is_on and not has_rows and not hasattr(head, "predict_regions"):
            return f"{part.NAME} has no fixed-size form."
    return None
