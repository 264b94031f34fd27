"""Rules about the data: task, image size, augmentation, repeats, workers.

Each takes the facts, the keys that are decided already, and the name of the recipe; it returns a
`Setting`, or None where nothing has to be said.
"""

from typing import Any

import numpy as np

from .facts import Facts
from .keys import Keys
from .setting import Setting

# From this share of the objects on, what they have is what is learned.
_MOST = 0.95
# Pixels that an object needs on its shorter scale to be found by features of stride 4.
_SMALL_OBJECT = 20
# Recipe -> the least and the largest shorter side, in pixels.
_SIDES = {"fast": (240, 400), "balanced": (320, 640), "accurate": (480, 800)}
# Fewer images than this are varied more.
_FEW_IMAGES = 1000


def task(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Learn what the objects are annotated with; masks bring boxes along."""
    wants_masks = keys["MODEL.MASK_ON"] and keys.cfg.origin("MODEL.MASK_ON") == "command line"
    if facts.rotated >= 0.5 and not wants_masks:
        changes: dict[str, Any] = {
            "MODEL.PROPOSAL_GENERATOR.NAME": "RRPN",
            "MODEL.MASK_ON": False,
            "MODEL.ANCHOR_GENERATOR.NAME": "RotatedAnchorGenerator",
            "MODEL.ANCHOR_GENERATOR.ANGLES": [[-75, -45, -15, 15, 45, 75]],
            "MODEL.RPN.BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0, 1.0),
            "MODEL.ROI_HEADS.NAME": "RROIHeads",
            "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignRotated",
            "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0, 1.0),
        }
        evidence = f"{facts.rotated:.0%} have an angle"
        if facts.with_masks:
            evidence += ", as rectangles of four corners; MODEL.MASK_ON True takes these for masks"
        return Setting("task", changes, "rotated boxes", evidence)
    has_masks = facts.with_masks >= _MOST
    changes = {"MODEL.MASK_ON": has_masks}
    if has_masks and facts.with_bitmaps:
        changes["INPUT.MASK_FORMAT"] = "bitmask"
    names = ["boxes", *(["masks"] if has_masks else [])]
    evidence = f"{facts.with_masks:.0%} of the objects have masks"
    if facts.with_keypoints >= 0.5:
        names.append("keypoints")
        evidence += f", {facts.with_keypoints:.0%} have keypoints"
        changes |= {
            "MODEL.KEYPOINT_ON": True,
            "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": facts.num_keypoints,
            "MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE": 0,
        }
        if facts.num_keypoints != 17:
            # COCO's sigmas are those of its 17 points.
            changes["TEST.KEYPOINT_OKS_SIGMAS"] = [0.05] * facts.num_keypoints
    return Setting("task", changes, " and ".join(names), evidence)


def image_size(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Choose the size at which nine of ten objects are large enough, within what is affordable."""
    least, largest = _SIDES[recipe]
    small = float(np.quantile(facts.relative_sizes(), 0.1))
    wanted = float(np.clip(_SMALL_OBJECT / small, least, largest))
    # An image that is enlarged has more pixels, and shows nothing more.
    side = max(32, 16 * round(min(wanted, max(facts.short_side, 96)) / 16))
    long = float(np.quantile(facts.image_sizes.max(axis=1) / facts.image_sizes.min(axis=1), 0.95))
    most = 16 * round(side * min(max(long, 5 / 3), 2.5) / 16)
    spread = 0.15 if facts.num_images < _FEW_IMAGES else 0.07
    sides = tuple(16 * round(side * scale / 16) for scale in (1 - spread, 1, 1 + spread))
    changes = {
        "INPUT.MIN_SIZE_TEST": side,
        "INPUT.MAX_SIZE_TEST": most,
        "INPUT.MIN_SIZE_TRAIN": tuple(sorted(set(sides))),
        "INPUT.MAX_SIZE_TRAIN": round(most * (1 + spread)),
    }
    evidence = (
        f"one object in ten is smaller than {small:.1%} of the image's shorter side "
        f"({facts.short_side:.0f} pixels), and {_SMALL_OBJECT} pixels are wanted for it "
        f"({least} to {largest} with {recipe}; images are not enlarged)"
    )
    return Setting("image size", changes, f"{side} pixels", evidence)


def augmentation(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Vary few images more: brightness and contrast besides flips and sizes."""
    steps: tuple[str, ...] = ("Default",)
    value = "flips and sizes"
    if facts.num_images < _FEW_IMAGES:
        steps += ("RandomBrightness(0.8, 1.2)", "RandomContrast(0.8, 1.2)")
        value += ", brightness and contrast"
    changes = {"INPUT.AUGMENTATIONS": steps}
    return Setting("augmentation", changes, value, f"there are {facts.num_images} images")


def repeats(facts: Facts, keys: Keys, recipe: str) -> Setting | None:
    """Show images of rare classes more often where classes are unbalanced."""
    counts = [count for count in facts.images_of_class if count]
    if len(counts) < 2 or max(counts) < 10 * min(counts):
        return None
    # A class in a tenth of the images and more is not repeated.
    threshold = round(min(0.1, float(np.median(counts)) / facts.num_images), 4)
    rarest = facts.classes[list(facts.images_of_class).index(min(counts))]
    changes = {
        "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler",
        "DATALOADER.REPEAT_THRESHOLD": threshold,
    }
    evidence = f"{rarest} is in {min(counts)} images and the most frequent class in {max(counts)}"
    return Setting("repeats", changes, f"classes below {threshold:.1%} repeated", evidence)


def workers(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Leave a core to each training process, and share the others among their loaders."""
    free = facts.cores // facts.processes - 1
    count = int(np.clip(free, 1, 8))
    evidence = f"{facts.cores} cores are there for the training processes ({facts.processes})"
    return Setting("workers", {"DATALOADER.NUM_WORKERS": count}, str(count), evidence)
