"""A SOLOv2 small enough to run in milliseconds, and images for it."""

import torch

from d2lite.config import CfgNode, get_cfg
from d2lite.modeling import build_model
from d2lite.projects.solov2 import SOLOv2, add_solov2_config
from d2lite.structures import BitMasks, Boxes, Instances

NUM_CLASSES = 5


def small_cfg(*opts) -> CfgNode:
    """ResNet-18 with narrow layers; heads of 32 channels."""
    cfg = get_cfg()
    add_solov2_config(cfg)
    cfg.merge_from_list(
        [
            "MODEL.DEVICE", "cpu",
            "MODEL.META_ARCHITECTURE", "SOLOv2",
            "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone",
            "MODEL.BACKBONE.FREEZE_AT", 0,
            "MODEL.RESNETS.DEPTH", 18,
            "MODEL.RESNETS.NORM", "BN",
            "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
            "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
            "MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"],
            "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"],
            "MODEL.FPN.OUT_CHANNELS", 32,
            "MODEL.SOLOV2.NUM_CLASSES", NUM_CLASSES,
            "MODEL.SOLOV2.INSTANCE_IN_CHANNELS", 32,
            "MODEL.SOLOV2.INSTANCE_CHANNELS", 32,
            "MODEL.SOLOV2.NUM_INSTANCE_CONVS", 2,
            "MODEL.SOLOV2.MASK_IN_CHANNELS", 32,
            "MODEL.SOLOV2.MASK_CHANNELS", 32,
            "MODEL.SOLOV2.NUM_KERNELS", 32,
            "MODEL.SOLOV2.NUM_MASKS", 32,
            "MODEL.SOLOV2.FPN_SCALE_RANGES", [[1, 24], [12, 48], [24, 96], [48, 192], [96, 512]],
            *opts,
        ]
    )  # fmt: skip
    return cfg


def small_model(*opts, seed: int = 2) -> SOLOv2:
    """The model with random weights of a seed in which rounding decides no near tie."""
    torch.manual_seed(seed)
    return build_model(small_cfg(*opts))


def image(seed: int, num_objects: int, size: tuple[int, int] = (64, 96)) -> dict:
    """One training input with `num_objects` rectangles."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    low = torch.rand(num_objects, 2, generator=generator) * torch.tensor([width - 24, height - 24])
    high = low + 4 + torch.rand(num_objects, 2, generator=generator) * 20
    masks = torch.zeros(num_objects, height, width, dtype=torch.bool)
    for mask, (x0, y0), (x1, y1) in zip(masks, low.int(), high.int(), strict=True):
        mask[y0:y1, x0:x1] = True
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.cat([low, high], dim=1))
    instances.gt_classes = torch.randint(NUM_CLASSES, (num_objects,), generator=generator)
    instances.gt_masks = BitMasks(masks)
    pixels = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {"image": pixels, "height": height, "width": width, "instances": instances}
