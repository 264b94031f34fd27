"""YOLOv3 small enough to run in milliseconds, and images for it."""

import torch

from d2lite.config import CfgNode
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model

from ..runs import SHORT_RUN
from ..yolox.small import NUM_CLASSES, image

__all__ = ["NUM_CLASSES", "SMALL", "TINY", "build", "image", "small_cfg"]

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.DARKNET.WIDTH", "0.125"]


def small_cfg(name: str = "yolov3_608.yaml", *opts) -> CfgNode:
    """A published recipe with an eighth of the channels."""
    return setup_cfg(name, ["MODEL.YOLOV3.NUM_CLASSES", NUM_CLASSES, *SMALL, *opts])


def build():
    """A small model with start values of a seed, whose scores are neither 0 nor 1."""
    torch.manual_seed(0)
    model = build_model(small_cfg())
    for layer in model.head.convs_pred:
        layer.weight.data *= 0.1
    model.test_object_thresh = 0.0
    return model


# Further keys of a whole run whose steps take some 50 ms.
TINY = [*SMALL, *SHORT_RUN]
