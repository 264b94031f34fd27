"""The confusion matrix with background, at a stated IoU and a stated threshold on the score."""

from dataclasses import dataclass

import numpy as np

from .matches import Matches


@dataclass(frozen=True)
class Confusion:
    """What objects were taken for.

    Attributes:
        counts: (K + 1, K + 1) int. Row: the true class; column: the predicted class; the last row
            holds detections of nothing, the last column objects that were not found.
        class_names: K names.
        iou: threshold of a match.
        min_score: detections below it are left out.
        num_ignored: detections left out because they match a crowd.
    """

    counts: np.ndarray
    class_names: list[str]
    iou: float
    min_score: float
    num_ignored: int


def confusion_matrix(matches: Matches, *, iou: float, min_score: float) -> Confusion:
    """Count each object and each detection once.

    The scorer's matches come first, so that the diagonal is the number of right detections. What
    they leave over is matched across classes: the best score first, with the object of another
    class that it overlaps most.

    Args:
        matches: of the set.
        iou: threshold of a match.
        min_score: detections below it are left out.
    """
    num_classes = len(matches.category_ids)
    counts = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    right, wrong = matches.is_right(iou), matches.is_wrong(iou)
    is_used = matches.dt_score >= min_score
    np.add.at(counts, (matches.dt_class[right & is_used],) * 2, 1)
    is_left = matches.is_missed(iou, min_score)
    for found in matches.overlaps:
        if not len(found.detections):
            continue
        overlap = np.where(is_left[found.objects], found.iou, -1.0)
        for row, d in enumerate(found.detections):
            if not (wrong[d] and is_used[d]):
                continue
            best = int(overlap[row].argmax()) if overlap.shape[1] else None
            truth = num_classes
            if best is not None and overlap[row, best] >= iou:
                truth = matches.gt_class[found.objects[best]]
                overlap[:, best] = -1.0
                is_left[found.objects[best]] = False
            counts[truth, matches.dt_class[d]] += 1
    np.add.at(counts[:, num_classes], matches.gt_class[is_left], 1)
    ignored = matches.dt_ignored[matches.at(iou)] & is_used
    return Confusion(counts, matches.class_names, iou, min_score, int(ignored.sum()))
