"""Panoptic-DeepLab small enough to run in milliseconds, and images for it."""

import numpy as np
import torch

from d2lite.config import CfgNode, get_cfg
from d2lite.projects.panoptic_deeplab import (
    PanopticDeepLabTargetGenerator,
    add_panoptic_deeplab_config,
)

NUM_CLASSES = 6


def small_cfg(*opts) -> CfgNode:
    """ResNet-50 with narrow layers, for the five figures and the ground of the shapes."""
    cfg = get_cfg()
    add_panoptic_deeplab_config(cfg)
    heads = []
    for name in ("SEM_SEG_HEAD", "INS_EMBED_HEAD"):
        heads += [
            f"MODEL.{name}.IN_FEATURES", ["res2", "res3", "res5"],
            f"MODEL.{name}.PROJECT_FEATURES", ["res2", "res3"],
            f"MODEL.{name}.PROJECT_CHANNELS", [4, 6],
            f"MODEL.{name}.ASPP_CHANNELS", 8,
            f"MODEL.{name}.CONVS_DIM", 8,
            f"MODEL.{name}.HEAD_CHANNELS", 8,
            f"MODEL.{name}.NORM", "BN",
        ]  # fmt: skip
    cfg.merge_from_list(
        [
            "DATASETS.TRAIN", ["shapes_train_panoptic_joint"],
            "MODEL.DEVICE", "cpu",
            "MODEL.META_ARCHITECTURE", "PanopticDeepLab",
            "MODEL.BACKBONE.NAME", "build_resnet_deeplab_backbone",
            "MODEL.BACKBONE.FREEZE_AT", 0,
            "MODEL.RESNETS.NORM", "BN",
            "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
            "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
            "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
            "MODEL.RESNETS.RES5_DILATION", 2,
            "MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res5"],
            "MODEL.SEM_SEG_HEAD.NAME", "PanopticDeepLabSemSegHead",
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES", NUM_CLASSES,
            *heads,
            *opts,
        ]
    )  # fmt: skip
    return cfg


def image(seed: int, num_objects: int, height: int = 64, width: int = 96) -> dict:
    """One training input: rectangles of figures on the ground, and some void."""
    rng = np.random.RandomState(seed)
    panoptic = np.full((height, width), 99)
    panoptic[:4] = 0
    segments = [{"id": 99, "category_id": 5, "iscrowd": 0}]
    for number in range(1, num_objects + 1):
        y, x = rng.randint(height - 20), rng.randint(width - 20)
        panoptic[y : y + 15, x : x + 18] = number
        segments.append({"id": number, "category_id": int(rng.randint(5)), "iscrowd": 0})
    targets = PanopticDeepLabTargetGenerator(255, range(5), sigma=4)(panoptic, segments)
    pixels = torch.from_numpy(rng.randint(0, 256, (3, height, width)).astype(np.uint8))
    return {"image": pixels, "height": height, "width": width, **targets}
