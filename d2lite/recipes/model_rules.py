"""Rules about the network: its size, and its anchors."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .facts import Facts
from .keys import Keys
from .setting import Setting

_ZOO = (
    "detectron2://COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl"
)
_LEVELS: list[str] = ["p2", "p3", "p4", "p5", "p6"]
_STAGES: list[str] = ["res2", "res3", "res4", "res5"]

# Objects a class from which training from scratch learns: 55 are enough (fruit_nuts), 9 are not
# (coco_tiny; docs/results.md).
_FEW_OBJECTS = 20

# A box is learned well if an anchor in the middle of it overlaps by this much.
_OVERLAP = 0.5
# Share of the boxes that should have such an anchor.
_COVERED = 0.95
# Height / width, from few to many.
_RATIOS = ([1.0], [0.5, 1.0, 2.0], [0.25, 0.5, 1.0, 2.0, 4.0])


def model_size(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Take the network that the recipe names; all but "accurate" are trained from scratch.

    "fast" is the network of quick_start.yaml, which on BCCD reaches in the same time 58.6 AP where
    a ResNet-18 of full width with batch norm reaches 52.3 (docs/results.md).
    """
    if recipe == "fast":
        changes: dict[str, Any] = {"MODEL.RESNETS.DEPTH": 18}
        value = "ResNet-18 of half width, 3 levels, from scratch"
    elif recipe == "balanced":
        changes = {
            "MODEL.RESNETS.DEPTH": 18,
            "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
            "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
            "MODEL.RESNETS.OUT_FEATURES": _STAGES,
            "MODEL.FPN.IN_FEATURES": _STAGES,
            "MODEL.FPN.OUT_CHANNELS": 128,
            "MODEL.RPN.IN_FEATURES": _LEVELS,
            "MODEL.ANCHOR_GENERATOR.SIZES": [[16 * 2**i, 23 * 2**i] for i in range(len(_LEVELS))],
            "MODEL.ROI_HEADS.IN_FEATURES": _LEVELS[:-1],
            "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 64,
            "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 256,
            "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 1000,
            "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
            "MODEL.RPN.POST_NMS_TOPK_TRAIN": 500,
            "MODEL.RPN.POST_NMS_TOPK_TEST": 300,
        }
        value = "ResNet-18, 5 levels, from scratch"
    else:
        changes = {
            "MODEL.WEIGHTS": _ZOO,
            "MODEL.RESNETS.DEPTH": 50,
        }
        value = "ResNet-50 with the published weights for COCO (CC BY-SA 3.0), fetched once"
    evidence = f"the recipe is {recipe}"
    objects = len(facts.box_sizes) / max(len(facts.classes), 1)
    if recipe != "accurate" and objects < _FEW_OBJECTS:
        evidence += (
            f"; {objects:.0f} objects a class are too few to learn from scratch: --recipe accurate "
            "begins with trained weights, and so does MODEL.WEIGHTS"
        )
    return Setting("model", changes, value, evidence)


def anchors(facts: Facts, keys: Keys, recipe: str) -> Setting | None:
    """Take the anchors that fit the boxes at the size of training, the fewest that do."""
    levels = len(keys["MODEL.RPN.IN_FEATURES"])
    side = float(keys["INPUT.MIN_SIZE_TEST"])
    scale = side / facts.image_sizes.min(axis=1)[facts.box_image]
    boxes = facts.box_sizes * scale[:, None]
    now = keys["MODEL.ANCHOR_GENERATOR.SIZES"], keys["MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"]
    covered = coverage(boxes, *now)
    if facts.rotated >= 0.5 or covered >= _COVERED:
        return None
    scales = np.sqrt(boxes.prod(axis=1))
    least = float(max(np.quantile(scales, 0.05), 8))
    most = float(max(np.quantile(scales, 0.95), 2 * least))
    best, best_share = now, covered
    choices = [(steps, ratios) for steps in (1, 2, 3) for ratios in _RATIOS]
    # From few anchors to many; more of them must cover more by more than a little.
    for steps, ratios in sorted(choices, key=lambda choice: choice[0] * len(choice[1])):
        sizes = np.geomspace(least, most, levels * steps).round().astype(int)
        rows = sizes.reshape(levels, steps).tolist()
        share = coverage(boxes, rows, [ratios])
        if share > best_share + 0.01 and best_share < _COVERED:
            best, best_share = (rows, [ratios]), share
    if best is now:
        return None
    changes = {
        "MODEL.ANCHOR_GENERATOR.SIZES": best[0],
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": best[1],
    }
    evidence = (
        f"{best_share:.0%} of the boxes overlap one by a half and more; those of the base config "
        f"did for {covered:.0%}"
    )
    return Setting("anchors", changes, f"sizes {best[0]}, ratios {best[1][0]}", evidence)


def coverage(
    boxes: np.ndarray, sizes: Sequence[Sequence[float]], ratios: Sequence[Sequence[float]]
) -> float:
    """The share of boxes that an anchor with the same middle overlaps by a half.

    Args:
        boxes: (M, 2) width and height in pixels.
        sizes: square roots of areas, for each level.
        ratios: height / width; the first list is that of all levels.
    """
    pairs = [
        (size / ratio**0.5, size * ratio**0.5)
        for row in sizes
        for size in row
        for ratio in ratios[0]
    ]
    shapes = np.array(pairs)
    common = np.minimum(boxes[:, None], shapes[None]).prod(axis=2)
    union = boxes.prod(axis=1)[:, None] + shapes.prod(axis=1)[None] - common
    return float(((common / union).max(axis=1) >= _OVERLAP).mean())
