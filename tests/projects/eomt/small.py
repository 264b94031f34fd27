"""EoMT small enough to run in milliseconds, published models of its size, and images."""

import numpy as np
import pytest
import torch

from d2lite.config import CfgNode, get_cfg
from d2lite.projects.eomt import add_eomt_config
from d2lite.structures import Instances

from ..runs import SHORT_RUN

NUM_CLASSES = 5
NUM_QUERIES = 6


def small_cfg(*opts) -> CfgNode:
    """Three blocks of 48 channels, two of which see the queries."""
    cfg = get_cfg()
    add_eomt_config(cfg)
    sizes = {"embed_dim": 48, "depth": 3, "num_heads": 2, "img_size": 64, "patch_size": 16}
    cfg.MODEL.ADAPTER.OPTIONS.update(sizes)
    cfg.merge_from_list(
        [
            "MODEL.DEVICE", "cpu",
            "MODEL.META_ARCHITECTURE", "EoMT",
            "MODEL.BACKBONE.NAME", "timm_vit:vit_small_patch14_reg4_dinov2",
            "MODEL.BACKBONE.FREEZE_AT", 0,
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES", NUM_CLASSES,
            "MODEL.EOMT.QUERIES", NUM_QUERIES,
            "MODEL.EOMT.BLOCKS", 2,
            "MODEL.EOMT.TRAIN_NUM_POINTS", 64,
            "MODEL.EOMT.TEST.OBJECT_MASK_THRESHOLD", 0.0,
            *opts,
        ]
    )  # fmt: skip
    return cfg


def image(seed: int, num_objects: int, height: int = 64, width: int = 96) -> dict:
    """One training input: rectangles as objects."""
    rng = np.random.RandomState(seed)
    masks = torch.zeros(num_objects, height, width, dtype=torch.bool)
    for mask in masks:
        y, x = rng.randint(max(height - 20, 1)), rng.randint(max(width - 20, 1))
        mask[y : y + 15, x : x + 18] = True
    truth = Instances(
        (height, width),
        gt_classes=torch.from_numpy(rng.randint(0, NUM_CLASSES, num_objects)),
        gt_masks=masks,
    )
    pixels = torch.from_numpy(rng.randint(0, 256, (3, height, width)).astype(np.uint8))
    return {"image": pixels, "height": height, "width": width, "instances": truth}


def published_model(kind: str):
    """A model of transformers with random weights; `kind` is "Eomt" or "EomtDinov3"."""
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    more = {"intermediate_size": 96} if kind == "EomtDinov3" else {}
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=16,
        num_blocks=2, num_queries=NUM_QUERIES, num_labels=NUM_CLASSES, train_num_points=200, **more,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForUniversalSegmentation")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


# Further keys of a whole run whose steps take some 50 ms.
TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.TIMM_VIT.STEM", "",
    "MODEL.ADAPTER.OPTIONS.patch_size", "16",
    "MODEL.ADAPTER.OPTIONS.embed_dim", "48",
    "MODEL.ADAPTER.OPTIONS.depth", "3",
    "MODEL.ADAPTER.OPTIONS.num_heads", "2",
    "MODEL.EOMT.BLOCKS", "2",
    "MODEL.EOMT.QUERIES", "6",
    "MODEL.EOMT.TRAIN_NUM_POINTS", "64",
    *SHORT_RUN,
]  # fmt: skip
