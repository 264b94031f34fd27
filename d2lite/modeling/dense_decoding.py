"""The best (anchor, class) pairs of every level as boxes: the candidates of suppression.

N images, K classes, Ri anchors of level i, D candidates.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from d2lite.layers import cat
from d2lite.structures import Boxes, Instances
from d2lite.utils.tracing import at_most

from .box_regression import Box2BoxTransform, Box2BoxTransformLinear
from .padded import best_pairs, clip_to_sizes, take_rows

Transform = Box2BoxTransform | Box2BoxTransformLinear


def best_above(scores: Tensor, above: float, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best (row, class) pairs of one level of one image; see `best_pairs` for a batch.

    Args:
        scores: (R, K) float.
        above: pairs must score higher.
        count: at most so many.

    Returns:
        (D,) int64 row, int64 class and float score, best first.
    """
    flat = scores.flatten()
    # Of millions of pairs a few pass the threshold, so they are selected before sorting.
    passed = (flat > above).nonzero().flatten()
    values, position = flat[passed].topk(at_most(count, passed.shape[0]))
    pairs = passed[position]
    num_classes = scores.shape[1]
    return pairs // num_classes, pairs % num_classes, values


def decode_best(
    anchors: Sequence[Boxes],
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    transform: Transform,
    score_thresh: float,
    topk_candidates: int,
    image_size: tuple[int, int],
    factors: Sequence[Tensor] | None = None,
    *,
    keeps_cells: bool = False,
) -> Instances:
    """The candidates of one image.

    Args:
        anchors: of each level.
        scores: one (Ri, K) a level, in [0, 1].
        deltas: one (Ri, 4) a level.
        transform: deltas -> boxes.
        score_thresh: pairs must score higher.
        topk_candidates: pairs kept of each level.
        image_size: (height, width) of the image.
        factors: one (Ri,) a level, which the scores of the chosen pairs are multiplied by.
        keeps_cells: give the anchors' rows, too.

    Returns:
        `pred_boxes`, `scores` and `pred_classes`, level by level; with `keeps_cells` also
        `cell`, the anchor's row among those of all levels.
    """
    boxes, best, classes, cells, first = [], [], [], [], 0
    for i, (of_level, deltas_R4) in enumerate(zip(anchors, deltas, strict=True)):
        row, category, values = best_above(scores[i], score_thresh, topk_candidates)
        boxes.append(transform.apply_deltas(deltas_R4[row], of_level.tensor[row]))
        best.append(values if factors is None else values * factors[i][row])
        classes.append(category)
        if keeps_cells:
            cells.append(row + first)
            first += scores[i].shape[0]
    found = Instances(
        image_size, pred_boxes=Boxes(cat(boxes)), scores=cat(best), pred_classes=cat(classes)
    )
    if keeps_cells:
        found.cell = cat(cells)
    return found


def decode_best_padded(
    anchors: Sequence[Boxes],
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    transform: Transform,
    score_thresh: float,
    topk_candidates: int,
    sizes: Tensor | None,
    factors: Sequence[Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """The candidates of a batch in the fixed-size form.

    Args:
        anchors: of each level.
        scores: one (N, Ri, K) a level, in [0, 1].
        deltas: one (N, Ri, 4) a level.
        transform: see `decode_best`.
        score_thresh: likewise.
        topk_candidates: likewise.
        sizes: (N, 2) height and width of each image, at which boxes are cut, and empty ones do
            not count; None to leave boxes as they are.
        factors: one (N, Ri) a level, see `decode_best`.

    Returns:
        (N, D, 4) boxes, and (N, D) scores, classes, whether the row counts, and the anchor's row
        among those of all levels.
    """
    found, first = [], 0
    for i, (of_level, deltas_NR4) in enumerate(zip(anchors, deltas, strict=True)):
        row, category, values, above = best_pairs(scores[i], score_thresh, topk_candidates)
        boxes = transform.apply_deltas(
            take_rows(deltas_NR4, row).flatten(0, 1), of_level.tensor[row.flatten()]
        ).reshape(*row.shape, 4)
        if factors is not None:
            values = values * take_rows(factors[i], row)
        if sizes is not None:
            boxes = clip_to_sizes(boxes, sizes)
            above = above & (boxes[..., 2:] > boxes[..., :2]).all(dim=2)
        found.append((boxes, values, category, above, row + first))
        first += of_level.tensor.shape[0]
    return tuple(torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
