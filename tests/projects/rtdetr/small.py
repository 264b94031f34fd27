"""RT-DETR and D-FINE small enough to run in milliseconds, and images for them."""

import numpy as np
import torch

from d2lite.config import CfgNode
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model
from d2lite.structures import PolygonMasks

from ..yolox.small import image as image_with_boxes

NUM_CLASSES = 5
NUM_QUERIES = 12
KINDS = ("rtdetr", "dfine")


def base_cfg(*opts) -> CfgNode:
    """The base file of all recipes, on the CPU."""
    return setup_cfg("Base-RTDETR.yaml", ["MODEL.DEVICE", "cpu", *opts])


def small_opts(kind: str = "rtdetr") -> list:
    """Keys and values of a narrow model of two decoder layers."""
    opts = [
        "MODEL.RTDETR.NUM_CLASSES", NUM_CLASSES,
        "MODEL.RTDETR.NORM", "BN",
        "MODEL.RTDETR.ENCODER.HIDDEN_DIM", 16,
        "MODEL.RTDETR.ENCODER.FEEDFORWARD", 24,
        "MODEL.RTDETR.ENCODER.HEADS", 2,
        "MODEL.RTDETR.DECODER.HIDDEN_DIM", 16,
        "MODEL.RTDETR.DECODER.FEEDFORWARD", 24,
        "MODEL.RTDETR.DECODER.HEADS", 2,
        "MODEL.RTDETR.DECODER.LAYERS", 2,
        "MODEL.RTDETR.DECODER.QUERIES", NUM_QUERIES,
        "MODEL.RTDETR.DENOISING.QUERIES", 4,
        "TEST.DETECTIONS_PER_IMAGE", 10,
    ]  # fmt: skip
    if kind == "dfine":
        return [
            *opts,
            "MODEL.BACKBONE.NAME", "build_hgnet_backbone",
            "MODEL.HGNET.STEM_WIDTHS", [4, 8],
            "MODEL.HGNET.STAGES", [
                [8, 4, 8, 1, 0, 0, 3, 2],
                [8, 4, 16, 1, 1, 0, 3, 2],
                [16, 4, 16, 1, 1, 1, 5, 2],
                [16, 4, 32, 1, 1, 1, 5, 2],
            ],
            "MODEL.RTDETR.ENCODER.BLOCKS", "elan",
            "MODEL.RTDETR.DECODER.KIND", "dfine",
            "MODEL.RTDETR.DECODER.POINTS", [3, 6, 3],
            "MODEL.RTDETR.DECODER.BINS", 8,
        ]  # fmt: skip
    return [
        *opts,
        "MODEL.RESNETS.DEPTH", 18,
        "MODEL.RESNETS.NORM", "BN",
        "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
        "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
    ]  # fmt: skip


def small_cfg(kind: str = "rtdetr", *opts) -> CfgNode:
    """The configuration of `small_opts` and more."""
    return base_cfg(*small_opts(kind), *opts)


def build(kind: str, *opts):
    """A small model with start values of a seed."""
    torch.manual_seed(0)
    return build_model(small_cfg(kind, *opts))


def image(seed: int, num_objects: int, height: int = 64, width: int = 96) -> dict:
    """One training input with boxes as objects, each filled by its mask but for a corner."""
    size = (height, width)
    item = image_with_boxes(seed, num_objects, *size, num_classes=NUM_CLASSES, smallest=4)
    boxes = item["instances"].gt_boxes.tensor.tolist()
    item["instances"].gt_masks = PolygonMasks(
        [[np.array([x0, y0, x1, y0, x0, y1])] for x0, y0, x1, y1 in boxes]
    )
    return item


# Further keys of a whole run whose steps take some 50 ms.
TINY = [
    *(str(opt) for opt in small_opts()[2:]),
    "MODEL.DEVICE", "cpu",
    "INPUT.AUGMENTATIONS", "['RandomFlip', 'Resize(64)']",
    "INPUT.AUGMENTATIONS_TEST", "['Resize(64)']",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.WARMUP_ITERS", "0",
    "TEST.EVAL_PERIOD", "0",
]  # fmt: skip
