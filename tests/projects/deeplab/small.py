"""DeepLab V3+ small enough to run in milliseconds, and images for it."""

import torch

from d2lite.config import CfgNode, get_cfg
from d2lite.projects.deeplab import add_deeplab_config

NUM_CLASSES = 4


def small_cfg(*opts) -> CfgNode:
    """ResNet-50 with narrow layers."""
    cfg = get_cfg()
    add_deeplab_config(cfg)
    cfg.merge_from_list(
        [
            "MODEL.DEVICE", "cpu",
            "MODEL.META_ARCHITECTURE", "SemanticSegmentor",
            "MODEL.BACKBONE.NAME", "build_resnet_deeplab_backbone",
            "MODEL.BACKBONE.FREEZE_AT", 0,
            "MODEL.RESNETS.DEPTH", 50,
            "MODEL.RESNETS.NORM", "BN",
            "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
            "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
            "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
            "MODEL.RESNETS.RES5_DILATION", 2,
            "MODEL.RESNETS.OUT_FEATURES", ["res2", "res5"],
            "MODEL.SEM_SEG_HEAD.NAME", "DeepLabV3PlusHead",
            "MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res2", "res5"],
            "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS", [6],
            "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS", 8,
            "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8,
            "MODEL.SEM_SEG_HEAD.NORM", "BN",
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES", NUM_CLASSES,
            *opts,
        ]
    )  # fmt: skip
    return cfg


# One map at stride 16 in place of two.
V3 = (
    "MODEL.RESNETS.OUT_FEATURES", ["res5"],
    "MODEL.SEM_SEG_HEAD.NAME", "DeepLabV3Head",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res5"],
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE", 16,
)  # fmt: skip


def image(seed: int = 0, height: int = 64, width: int = 96) -> dict:
    """One training input with random labels, some of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, NUM_CLASSES, (height, width), generator=generator)
    labels[:4] = 255
    return {"image": pixels, "height": height, "width": width, "sem_seg": labels}
