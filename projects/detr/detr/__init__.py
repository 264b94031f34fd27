"""DETR, Deformable DETR and DINO: detectors whose queries predict boxes without anchors and NMS."""

from .config import add_detr_config
from .deformable import DeformableDETR
from .detr import Detr
from .dino import DINO
from .optimizer import build_train_optimizer

__all__ = ["DINO", "DeformableDETR", "Detr", "add_detr_config", "build_train_optimizer"]
