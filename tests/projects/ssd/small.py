"""SSD at small images, and images for it."""

import torch

from d2lite.config import CfgNode
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model

from ..yolox.small import NUM_CLASSES, image

__all__ = ["NUM_CLASSES", "SMALL", "build", "image", "small_cfg"]

# Two further layers, for images from 64 pixels on.
SMALL = [
    "MODEL.DEVICE", "cpu",
    "MODEL.SSD.STRIDES", "[8, 16, 32, 64]",
    "MODEL.SSD.EXTRA_LAYERS", "[[32, 3, 2, 1], [32, 3, 2, 1]]",
    "MODEL.ANCHOR_GENERATOR.SIZES", "[[10, 20], [20, 40], [40, 60], [60, 80]]",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[2], [2, 3], [2, 3], [2]]",
]  # fmt: skip


def small_cfg(name: str = "ssd300.yaml", *opts) -> CfgNode:
    """A published recipe with fewer layers."""
    return setup_cfg(name, ["MODEL.SSD.NUM_CLASSES", NUM_CLASSES, *opts])


def build(name: str):
    """A narrow model of a recipe with start values of a seed, whose scores are not all alike."""
    torch.manual_seed(0)
    model = build_model(small_cfg(name, *SMALL, "MODEL.SSD.WIDTH", 0.5))
    for layer in model.head.cls_convs.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.std() < 0.002:
            layer.weight.data *= 300
    return model
