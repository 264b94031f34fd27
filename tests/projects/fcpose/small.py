"""FCPose small enough to run in milliseconds, and samples for it."""

import numpy as np
import torch

from d2lite.config import CfgNode
from d2lite.engine import setup_cfg
from d2lite.projects.fcpose import draw_heatmaps
from d2lite.structures import Boxes, Instances, Keypoints

from ..runs import SHORT_RUN

NUM_CLASSES, NUM_KEYPOINTS = 5, 5
SMALL = [
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.NORM", "FrozenBN",
    "MODEL.FPN.OUT_CHANNELS", 32,
    "MODEL.FPN.NORM", "",
    "MODEL.FCPOSE.DYNAMIC_CHANNELS", 8,
    "MODEL.FCPOSE.BASIS_MODULE.CONVS_DIM", 32,
    "MODEL.FCPOSE.BASIS_MODULE.NUM_BASES", 8,
]  # fmt: skip


TINY = [
    *SMALL,
    "MODEL.FCOS.NUM_CONVS", "1",
    "MODEL.FCPOSE.BASIS_MODULE.BN_TYPE", "",
    "TEST.DETECTIONS_PER_IMAGE", "20",
    *SHORT_RUN,
]  # fmt: skip


def small_cfg(*opts) -> CfgNode:
    """The quick recipe with few channels."""
    return setup_cfg("fcpose_shapes.yaml", [*SMALL, "MODEL.FCOS.NUM_CLASSES", NUM_CLASSES, *opts])


def image(seed: int, num_objects: int, height: int = 64, width: int = 96) -> dict:
    """One training input; a third of the keypoints is not labelled."""
    rng = np.random.RandomState(seed)
    first = rng.rand(num_objects, 2) * [width * 0.6, height * 0.6]
    sides = 8 + rng.rand(num_objects, 2) * width * 0.3
    inside = rng.rand(num_objects, NUM_KEYPOINTS, 2)
    points = np.minimum(first[:, None] + inside * sides[:, None], [width, height])
    seen = rng.randint(0, 3, (num_objects, NUM_KEYPOINTS, 1))
    keypoints = torch.from_numpy(np.concatenate([points * (seen > 0), seen], axis=2)).float()
    truth = Instances(
        (height, width),
        gt_boxes=Boxes(torch.from_numpy(np.concatenate([first, first + sides], axis=1)).float()),
        gt_classes=torch.from_numpy(rng.randint(0, NUM_CLASSES, num_objects)),
        gt_keypoints=Keypoints(keypoints),
    )
    return {
        "image": torch.from_numpy(rng.randint(0, 256, (3, height, width)).astype(np.uint8)),
        "height": height,
        "width": width,
        "instances": truth,
        "keypoint_heatmaps": draw_heatmaps(keypoints, (height, width), 2, [1.8] * NUM_KEYPOINTS),
    }
