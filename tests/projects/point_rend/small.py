"""PointRend small enough to run in milliseconds, and images for it."""

import torch

from d2lite.config import CfgNode, get_cfg
from d2lite.projects.point_rend import add_pointrend_config
from d2lite.structures import BitMasks, Boxes, Instances

NUM_CLASSES = 3

IMPLICIT = (
    "MODEL.ROI_MASK_HEAD.NAME", "ImplicitPointRendMaskHead",
    "MODEL.POINT_HEAD.NAME", "ImplicitPointHead",
    "MODEL.POINT_HEAD.SUBDIVISION_STEPS", 2,
)  # fmt: skip

SEMANTIC = (
    "MODEL.META_ARCHITECTURE", "SemanticSegmentor",
    "MODEL.SEM_SEG_HEAD.NAME", "PointRendSemSegHead",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES", NUM_CLASSES,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8,
    "MODEL.SEM_SEG_HEAD.NORM", "BN",
    "MODEL.POINT_HEAD.COARSE_PRED_EACH_LAYER", False,
    "MODEL.POINT_HEAD.SUBDIVISION_STEPS", 2,
)  # fmt: skip


def small_cfg(*opts) -> CfgNode:
    """ResNet-18 with narrow layers and a pyramid of 8 channels."""
    cfg = get_cfg()
    add_pointrend_config(cfg)
    maps = ["res2", "res3", "res4", "res5"]
    cfg.merge_from_list(
        [
            "MODEL.DEVICE", "cpu",
            "MODEL.MASK_ON", True,
            "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone",
            "MODEL.BACKBONE.FREEZE_AT", 0,
            "MODEL.RESNETS.DEPTH", 18,
            "MODEL.RESNETS.NORM", "BN",
            "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
            "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
            "MODEL.RESNETS.OUT_FEATURES", maps,
            "MODEL.FPN.IN_FEATURES", maps,
            "MODEL.FPN.OUT_CHANNELS", 8,
            "MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64], [128]],
            "MODEL.RPN.IN_FEATURES", ["p2", "p3", "p4", "p5", "p6"],
            "MODEL.RPN.POST_NMS_TOPK_TRAIN", 40,
            "MODEL.RPN.POST_NMS_TOPK_TEST", 20,
            "MODEL.ROI_HEADS.NAME", "StandardROIHeads",
            "MODEL.ROI_HEADS.IN_FEATURES", ["p2", "p3", "p4", "p5"],
            "MODEL.ROI_HEADS.NUM_CLASSES", NUM_CLASSES,
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
            "MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead",
            "MODEL.ROI_BOX_HEAD.NUM_FC", 1,
            "MODEL.ROI_BOX_HEAD.FC_DIM", 16,
            "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7,
            "MODEL.ROI_MASK_HEAD.NAME", "PointRendMaskHead",
            "MODEL.ROI_MASK_HEAD.POOLER_TYPE", "",
            "MODEL.ROI_MASK_HEAD.POINT_HEAD_ON", True,
            "MODEL.ROI_MASK_HEAD.CONV_DIM", 8,
            "MODEL.ROI_MASK_HEAD.FC_DIM", 16,
            "MODEL.POINT_HEAD.FC_DIM", 8,
            "MODEL.POINT_HEAD.TRAIN_NUM_POINTS", 20,
            "MODEL.POINT_HEAD.SUBDIVISION_STEPS", 3,
            "MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS", 100,
            "TEST.DETECTIONS_PER_IMAGE", 6,
            *opts,
        ]
    )  # fmt: skip
    return cfg


def image(seed: int, num_objects: int, height: int = 64, width: int = 96) -> dict:
    """One training input with `num_objects` rectangles and a map of labels."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(num_objects, 2, generator=generator) * torch.tensor([width - 34, height - 34])
    high = low + 12 + torch.rand(num_objects, 2, generator=generator) * 20
    masks = torch.zeros(num_objects, height, width, dtype=torch.bool)
    for mask, (x0, y0), (x1, y1) in zip(masks, low.int(), high.int(), strict=True):
        mask[y0:y1, x0:x1] = True
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.cat([low, high], dim=1))
    instances.gt_classes = torch.randint(NUM_CLASSES, (num_objects,), generator=generator)
    instances.gt_masks = BitMasks(masks)
    pixels = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, NUM_CLASSES, (height, width), generator=generator)
    labels[:4] = 255
    sizes = {"height": height, "width": width}
    return {"image": pixels, "instances": instances, "sem_seg": labels, **sizes}
