"""RTMDet small enough to run in milliseconds, and images for it."""

import torch

from d2lite.config import CfgNode
from d2lite.engine import setup_cfg
from d2lite.structures import BitMasks

from ..runs import SHORT_RUN
from ..yolox.small import NUM_CLASSES
from ..yolox.small import image as image_with_boxes

SMALL = [
    "MODEL.DEVICE", "cpu",
    "MODEL.CSPNEXT.DEPTH", "0.167",
    "MODEL.CSPNEXT.WIDTH", "0.125",
    "MODEL.CSPNEXT.NORM", "BN",
    "MODEL.RTMDET.NORM", "BN",
]  # fmt: skip


def small_cfg(name: str = "rtmdet_ins_tiny.yaml", *opts) -> CfgNode:
    """A published recipe with an eighth of the channels."""
    return setup_cfg(name, ["MODEL.RTMDET.NUM_CLASSES", NUM_CLASSES, *SMALL, *opts])


def image(seed: int, num_objects: int, height: int = 64, width: int = 96) -> dict:
    """One training input with ellipses as objects."""
    item = image_with_boxes(seed, num_objects, height, width)
    boxes = item["instances"].gt_boxes.tensor
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    masks = torch.zeros(num_objects, height, width, dtype=torch.bool)
    for mask, (left, top, right, low) in zip(masks, boxes.tolist(), strict=True):
        a, b = (x - (left + right) / 2) / (right - left), (y - (top + low) / 2) / (low - top)
        mask |= a**2 + b**2 < 0.25
    item["instances"].gt_masks = BitMasks(masks)
    return item


def their_name(name: str) -> str:
    """MMDetection's name of one of our weights."""
    for ours, theirs in (
        ("backbone.bottom_up.", "backbone."),
        ("backbone.", "neck."),
        ("mask_head.", "bbox_head.mask_head."),
        ("head.", "bbox_head."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise ValueError(name)


# Further keys of a whole run whose steps take some 50 ms.
TINY = [*SMALL, *SHORT_RUN]
