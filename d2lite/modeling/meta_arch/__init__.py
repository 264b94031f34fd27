"""Whole models, from a batch to losses or detections; importing this registers them."""

from .build import META_ARCH_REGISTRY, build_model
from .dense_detector import DenseDetector
from .detector import Detector, TrainingState
from .fcos import FCOS
from .fcos_head import FCOSHead
from .panoptic_fpn import PanopticFPN, combine_semantic_and_instance_outputs
from .rcnn import GeneralizedRCNN, ProposalNetwork
from .retinanet import RetinaNet
from .retinanet_head import RetinaNetHead
from .semantic_seg import (
    SEM_SEG_HEADS_REGISTRY,
    SemanticSegmentor,
    SemSegFPNHead,
    build_sem_seg_head,
)

__all__ = [
    "FCOS",
    "META_ARCH_REGISTRY",
    "SEM_SEG_HEADS_REGISTRY",
    "DenseDetector",
    "Detector",
    "FCOSHead",
    "GeneralizedRCNN",
    "PanopticFPN",
    "ProposalNetwork",
    "RetinaNet",
    "RetinaNetHead",
    "SemSegFPNHead",
    "SemanticSegmentor",
    "TrainingState",
    "build_model",
    "build_sem_seg_head",
    "combine_semantic_and_instance_outputs",
]
