"""YOLOX small enough to run in milliseconds, and images for it."""

import numpy as np
import torch

from d2lite.config import CfgNode
from d2lite.engine import setup_cfg
from d2lite.structures import Boxes, Instances

from ..runs import SHORT_RUN

NUM_CLASSES = 3
SMALL = [
    "MODEL.DEVICE", "cpu",
    "MODEL.CSPDARKNET.DEPTH", "0.33",
    "MODEL.CSPDARKNET.WIDTH", "0.125",
]  # fmt: skip


def small_cfg(name: str = "yolox_s.yaml", *opts) -> CfgNode:
    """A published recipe with an eighth of the channels."""
    return setup_cfg(name, ["MODEL.YOLOX.NUM_CLASSES", NUM_CLASSES, *SMALL, *opts])


def image(
    seed: int,
    num_objects: int,
    height: int = 64,
    width: int = 96,
    *,
    num_classes: int = NUM_CLASSES,
    smallest: int = 8,
) -> dict:
    """One training input."""
    rng = np.random.RandomState(seed)
    first = rng.rand(num_objects, 2) * [width * 0.6, height * 0.6]
    sides = smallest + rng.rand(num_objects, 2) * [width * 0.3, height * 0.3]
    boxes = torch.from_numpy(np.concatenate([first, first + sides], axis=1)).float()
    truth = Instances(
        (height, width),
        gt_boxes=Boxes(boxes.reshape(-1, 4)),
        gt_classes=torch.from_numpy(rng.randint(0, num_classes, num_objects)),
    )
    pixels = torch.from_numpy(rng.randint(0, 256, (3, height, width)).astype(np.uint8))
    return {"image": pixels, "height": height, "width": width, "instances": truth}


# Further keys of a whole run whose steps take some 50 ms.
TINY = [*SMALL, *SHORT_RUN]
