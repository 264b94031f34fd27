"""How many detections of an image and category count."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)

DEFAULT_MAX_DETS = (1, 10, 100)


def detection_limits(max_dets_per_image: int | Sequence[int] | None) -> list[int]:
    """The limits of detections for each image and category.

    Args:
        max_dets_per_image: the last of them; or all of them, ascending; None for 1, 10, 100.
    """
    if max_dets_per_image is None:
        return list(DEFAULT_MAX_DETS)
    if isinstance(max_dets_per_image, int | np.integer):
        max_dets_per_image = int(max_dets_per_image)
        if max_dets_per_image < 1:
            raise ConfigError(f"max_dets_per_image={max_dets_per_image}; use 1 or more.")
        lower = [n for n in DEFAULT_MAX_DETS[:2] if n < max_dets_per_image]
        return [*lower, max_dets_per_image]
    limits = [int(n) for n in max_dets_per_image]
    if not limits or limits != sorted(set(limits)) or limits[0] < 1:
        raise ConfigError(f"max_dets_per_image={limits}; give ascending numbers of 1 or more.")
    return limits


def limits_for(
    limits: list[int],
    dataset: Mapping[str, Any],
    dataset_name: str,
    detections_per_image: int | None,
) -> list[int]:
    """Limits of detections that fit images with more than 100 objects of a class.

    Args:
        limits: those of the evaluator; others than COCO's own stay.
        dataset: COCO dict of the ground truth.
        dataset_name: for the warning.
        detections_per_image: how many the model gives at most; None if that is not known.

    Returns:
        The limits; with `detections_per_image` as the last where an image has more than 100
        objects of a class. A warning then says so, or that not all can be found.
    """
    if limits != list(DEFAULT_MAX_DETS):
        return limits
    objects = (a for a in dataset["annotations"] if not a.get("iscrowd"))
    counts = Counter((a["image_id"], a["category_id"]) for a in objects)
    most, usual = max(counts.values(), default=0), limits[-1]
    if most <= usual:
        return limits
    given = detections_per_image or 0
    if given > usual:
        limits = detection_limits(given)
        rule = f"so the best {given} detections count (TEST.DETECTIONS_PER_IMAGE), not {usual}"
    else:
        rule = (
            f"but only the best {usual} detections count. Raise TEST.DETECTIONS_PER_IMAGE "
            "(max_dets_per_image of the evaluator)"
        )
    logger.warning("'%s' has an image with %d objects of one class, %s.", dataset_name, most, rule)
    return limits
