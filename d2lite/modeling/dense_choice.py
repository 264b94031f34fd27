"""The detections of an image, chosen from the scores and boxes of all cells.

N images, R cells of all levels, C classes, D detections.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d2lite.config import CfgNode
from d2lite.layers import SoftNMS
from d2lite.structures import Boxes, Instances

from .dense_decoding import best_above
from .keep_best import refuse_soft, soft_nms_arguments, suppress
from .padded import PaddedBoxes, best_pairs, clip_to_sizes, detect_padded, take_rows


class DenseChoice(NamedTuple):
    """How detections are chosen.

    Attributes:
        score_thresh: detections must score higher.
        topk_candidates: (cell, class) pairs of each level that NMS is given.
        nms_thresh: IoU above which detections of a class suppress each other.
        most: detections of an image, at most.
        soft_nms: let scores of overlapping boxes fall, in place of dropping these.
    """

    score_thresh: float
    topk_candidates: int
    nms_thresh: float
    most: int
    soft_nms: SoftNMS | None = None

    def detect(
        self, boxes: Tensor, scores: Tensor, counts: Sequence[int], image_size: tuple[int, int]
    ) -> Instances:
        """Choose the detections of one image.

        Args:
            boxes: (R, 4) float xyxy in pixels of the network's input.
            scores: (R, C) float in [0, 1].
            counts: cells of each level; their sum is R.
            image_size: (height, width), at which boxes are cut.

        Returns:
            `pred_boxes`, `scores`, `pred_classes`, and `cell`, the row of each; best first.
        """
        found, first = [], 0
        for of_level in scores.split(list(counts)):
            own, *rest = best_above(of_level, self.score_thresh, self.topk_candidates)
            found.append((own + first, *rest))
            first += len(of_level)
        row, label, chosen = (torch.cat(parts) for parts in zip(*found, strict=True))
        chosen_boxes = Boxes(boxes[row])
        chosen_boxes.clip(image_size)
        kept, fallen = suppress(
            chosen_boxes, chosen, label, self.nms_thresh, self.most, self.soft_nms
        )
        return Instances(
            image_size,
            pred_boxes=chosen_boxes[kept],
            scores=fallen,
            pred_classes=label[kept],
            cell=row[kept],
        )

    def detect_padded(
        self, boxes: Tensor, scores: Tensor, counts: Sequence[int], sizes: Tensor
    ) -> tuple[PaddedBoxes, Tensor]:
        """`detect` of a batch in the fixed-size form.

        Args:
            boxes: (N, R, 4) float.
            scores: (N, R, C) float.
            counts: as above.
            sizes: (N, 2) int64 height and width of each image.

        Returns:
            D rows, and (N, D) int64, the cell of each.
        """
        refuse_soft(self.soft_nms)
        found = []
        first = 0
        for of_level in scores.split(list(counts), dim=1):
            row, *rest = best_pairs(of_level, self.score_thresh, self.topk_candidates)
            found.append((row + first, *rest))
            first += of_level.shape[1]
        rows, classes, values, above = (
            torch.cat(parts, dim=1) for parts in zip(*found, strict=True)
        )
        candidates = take_rows(boxes, rows).masked_fill(~above[..., None], 0.0)
        best, chosen = detect_padded(
            clip_to_sizes(candidates, sizes),
            values,
            classes,
            above,
            self.nms_thresh,
            self.most,
            scores.shape[2],
        )
        return best, rows.gather(1, chosen)


def choice_arguments(cfg: CfgNode, node: CfgNode) -> dict[str, Any]:
    """How a detector chooses, as its arguments `test_score_thresh` and so on.

    Args:
        cfg: the whole config; TEST is read.
        node: the detector's own, with SCORE_THRESH_TEST, TOPK_CANDIDATES_TEST, NMS_THRESH_TEST.
    """
    return {
        "test_score_thresh": node.SCORE_THRESH_TEST,
        "test_topk_candidates": node.TOPK_CANDIDATES_TEST,
        "test_nms_thresh": node.NMS_THRESH_TEST,
        "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        **soft_nms_arguments(cfg),
    }
