"""Mask2Former small enough to run in milliseconds, and images for it."""

import numpy as np
import torch

from d2lite.config import CfgNode, get_cfg
from d2lite.projects.mask2former import add_maskformer2_config
from d2lite.structures import Instances

NUM_CLASSES = 5
NUM_QUERIES = 6


def small_opts() -> list:
    """Keys and values of a ResNet-18 with narrow layers and three decoder layers."""
    maps = ["res2", "res3", "res4", "res5"]
    return [
        "MODEL.DEVICE", "cpu",
        "MODEL.META_ARCHITECTURE", "MaskFormer",
        "MODEL.BACKBONE.FREEZE_AT", 0,
        "MODEL.RESNETS.DEPTH", 18,
        "MODEL.RESNETS.NORM", "BN",
        "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
        "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
        "MODEL.RESNETS.OUT_FEATURES", maps,
        "MODEL.SEM_SEG_HEAD.NAME", "MaskFormerHead",
        "MODEL.SEM_SEG_HEAD.IN_FEATURES", maps,
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES", NUM_CLASSES,
        "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "MSDeformAttnPixelDecoder",
        "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", 1,
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS", 2,
        "MODEL.SEM_SEG_HEAD.CONVS_DIM", 32,
        "MODEL.SEM_SEG_HEAD.MASK_DIM", 16,
        "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE", "multi_scale_pixel_decoder",
        "MODEL.MASK_FORMER.HIDDEN_DIM", 16,
        "MODEL.MASK_FORMER.NHEADS", 2,
        "MODEL.MASK_FORMER.DIM_FEEDFORWARD", 32,
        "MODEL.MASK_FORMER.DEC_LAYERS", 4,
        "MODEL.MASK_FORMER.DROPOUT", 0.0,
        "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", NUM_QUERIES,
        "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 64,
        "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", False,
        "MODEL.MASK_FORMER.TEST.INSTANCE_ON", True,
    ]  # fmt: skip


def small_cfg(*opts) -> CfgNode:
    """The configuration of `small_opts` and more."""
    cfg = get_cfg()
    add_maskformer2_config(cfg)
    cfg.merge_from_list([*small_opts(), *opts])
    return cfg


def image(seed: int, num_objects: int, height: int = 64, width: int = 96) -> dict:
    """One training input: rectangles as objects."""
    rng = np.random.RandomState(seed)
    masks = torch.zeros(num_objects, height, width, dtype=torch.bool)
    for mask in masks:
        y, x = rng.randint(height - 20), rng.randint(width - 20)
        mask[y : y + 15, x : x + 18] = True
    truth = Instances(
        (height, width),
        gt_classes=torch.from_numpy(rng.randint(0, NUM_CLASSES, num_objects)),
        gt_masks=masks,
    )
    pixels = torch.from_numpy(rng.randint(0, 256, (3, height, width)).astype(np.uint8))
    return {"image": pixels, "height": height, "width": width, "instances": truth}


# Further keys of a whole run whose steps take some 50 ms.
TINY = [
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.NORM", "BN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM", "32",
    "MODEL.SEM_SEG_HEAD.MASK_DIM", "16",
    "MODEL.MASK_FORMER.HIDDEN_DIM", "16",
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD", "32",
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64",
    "MODEL.MASK_FORMER.DROPOUT", "0.1",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.WARMUP_ITERS", "0",
]  # fmt: skip

PANOPTIC = [
    "DATASETS.TRAIN", "('shapes_train_panoptic_joint',)",
    "DATASETS.TEST", "('shapes_val_panoptic_joint',)",
    "INPUT.DATASET_MAPPER_NAME", "mask_former_panoptic",
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "True",
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "True",
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0",
]  # fmt: skip

SEMANTIC = [
    "DATASETS.TRAIN", "('shapes_train_sem_seg',)",
    "DATASETS.TEST", "('shapes_val_sem_seg',)",
    "INPUT.DATASET_MAPPER_NAME", "mask_former_semantic",
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "True",
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON", "False",
]  # fmt: skip
