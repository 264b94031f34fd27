"""Images by how well the model does on them: the best, the worst and typical ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .matches import Matches


@dataclass(frozen=True)
class ImageResult:
    """What was found in one image, at the IoU and score thresholds of the ranking.

    Attributes:
        position: in `Matches.image_ids`.
        image_id: of the image.
        num_right: detections that found an object.
        num_wrong: false alarms.
        num_missed: objects that were not found.
    """

    position: int
    image_id: Any
    num_right: int
    num_wrong: int
    num_missed: int

    @property
    def f1(self) -> float:
        """In [0, 1]; 1 for an image without objects and without detections."""
        total = 2 * self.num_right + self.num_wrong + self.num_missed
        return 2 * self.num_right / total if total else 1.0


def image_results(matches: Matches, *, iou: float, min_score: float) -> list[ImageResult]:
    """Count right and wrong detections and missed objects in each image."""
    size = len(matches.image_ids)
    used = matches.dt_score >= min_score
    is_missed = matches.is_missed(iou, min_score)
    right = np.bincount(matches.dt_image[matches.is_right(iou) & used], minlength=size)
    wrong = np.bincount(matches.dt_image[matches.is_wrong(iou) & used], minlength=size)
    missed = np.bincount(matches.gt_image[is_missed], minlength=size)
    return [
        ImageResult(i, image_id, int(right[i]), int(wrong[i]), int(missed[i]))
        for i, image_id in enumerate(matches.image_ids)
    ]


def chosen_images(results: list[ImageResult], count: int) -> dict[str, list[ImageResult]]:
    """Pick the worst, typical and best images; none is in two groups.

    Images that have neither objects nor detections are left out, since they show nothing.

    Args:
        results: of all images.
        count: at most so many in each group.
    """
    shown = [r for r in results if r.num_right or r.num_wrong or r.num_missed]
    # Of equal images, more errors are worse and more found objects are better.
    shown.sort(key=lambda r: (r.f1, -(r.num_wrong + r.num_missed), r.num_right, r.position))
    size = min(count, -(-len(shown) // 3))
    worst, rest = shown[:size], shown[size:]
    best, rest = rest[max(len(rest) - size, 0) :][::-1], rest[: max(len(rest) - size, 0)]
    middle = max((len(rest) - size) // 2, 0)
    return {"worst": worst, "typical": rest[middle : middle + size], "best": best}
