"""The augmentations with which models of pixels' classes were published."""

from collections.abc import Sequence
from typing import Any

from d2lite.data import transforms as T

from .config import build_augmentation


def semantic_augmentations(cfg: Any) -> Sequence[Any]:
    """Resize, then crop, then colours, then flip; or INPUT.AUGMENTATIONS, where that is set.

    A detector's crop comes before the resize. Here the crop has the size of the network's input.

    Args:
        cfg: INPUT is read, of the projects' keys CROP.SINGLE_CATEGORY_MAX_AREA and COLOR_AUG_SSD.
    """
    steps = build_augmentation(cfg, True)
    crop = cfg.INPUT.CROP
    if len(cfg.INPUT.AUGMENTATIONS):
        return steps
    added: list[T.Augmentation] = []
    if crop.ENABLED:
        added.append(
            T.RandomCrop_CategoryAreaConstraint(
                crop.TYPE,
                crop.SIZE,
                crop.get("SINGLE_CATEGORY_MAX_AREA", 1.0),
                cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            )
        )
    if cfg.INPUT.get("COLOR_AUG_SSD", False):
        added.append(T.PhotometricDistortion(hue=36.0))  # SSD's 18 steps of OpenCV's two degrees
    flips = [step for step in steps if isinstance(step, T.RandomFlip)]
    return [*(step for step in steps if step not in flips), *added, *flips]
