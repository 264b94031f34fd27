"""The fixed-size form of detection: rows that do not count are marked, not taken out.

A graph of operators needs shapes that do not depend on values, so each image has the same number
of rows and a mask of the valid ones. The ordinary path drops rows instead, and gives the same.

N images, R rows of candidates, D rows of detections, K classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d2lite.layers.nms_mask import nms_mask
from d2lite.structures import ImageList

__all__ = [
    "PaddedBoxes",
    "best_rows",
    "clip_to_sizes",
    "detect_padded",
    "images_of_rows",
    "inside_sizes",
    "propose_padded",
    "rows_of",
    "sizes_with_padding",
    "take_rows",
    "top_padded",
]

# Suppression is given so many candidates for each wanted one, and no fewer than the second.
_CANDIDATES_EACH, _FEWEST_CANDIDATES = 8, 1000


class PaddedBoxes(NamedTuple):
    """Boxes of a batch, best first in each image, valid ones before the padding.

    Attributes:
        boxes: (N, D, 4) float, xyxy in pixels of the network's input; 0 in the padding.
        scores: (N, D) float; 0 in the padding.
        classes: (N, D) int64; 0 in the padding.
        valid: (N, D) bool.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    valid: Tensor

    def of_valid(self) -> "PaddedBoxes":
        """The same with zeros in the padding."""
        keep = self.valid
        return PaddedBoxes(
            self.boxes.masked_fill(~keep[..., None], 0.0),
            self.scores.masked_fill(~keep, 0.0),
            self.classes.masked_fill(~keep, 0),
            keep,
        )

    def placed(self, values: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """(N, D, ...) of what was computed for `rows_of(valid)` alone, zeros elsewhere.

        Args:
            values: (len(rows), ...) each.
            rows: see `rows_of`.
        """
        count, most = self.valid.shape
        placed = {}
        for name, value in values.items():
            whole = value.new_zeros((count * most, *value.shape[1:])).index_put((rows,), value)
            whole = whole.reshape(count, most, *value.shape[1:])
            padding = ~self.valid.reshape(count, most, *(1 for _ in value.shape[1:]))
            placed[name] = whole.masked_fill(padding, 0)
        return placed


def sizes_with_padding(images: ImageList) -> Tensor | None:
    """(N, 2) int64 height and width of each image; None where none is padded, which spares masks.

    Args:
        images: a padded batch; in the fixed-size form its `image_sizes` is such a tensor.
    """
    sizes: Any = images.image_sizes
    if isinstance(sizes, Tensor):
        return sizes
    padded = tuple(images.tensor.shape[-2:])
    if all(tuple(size) == padded for size in sizes):
        return None
    return torch.tensor([tuple(size) for size in sizes], device=images.tensor.device)


def inside_sizes(maps: Tensor, sizes: Tensor) -> Tensor:
    """(N, H, W) bool: pixels of each image in (N, ..., H, W) maps, given (N, 2) sizes."""
    rows, columns = (
        torch.arange(maps.shape[axis - 2], device=maps.device) < sizes[:, axis, None]
        for axis in range(2)
    )
    return rows[:, :, None] & columns[:, None]


def clip_to_sizes(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Cut boxes at the borders of their image.

    Args:
        boxes: (N, R, 4) float, xyxy.
        sizes: (N, 2) height and width of each image.
    """
    limits = sizes[:, [1, 0, 1, 0]].to(boxes.dtype)[:, None]
    return torch.minimum(boxes.clamp(min=0), limits)


def take_rows(values: Tensor, position: Tensor) -> Tensor:
    """Rows of each image: values (N, R, ...), position (N, D) -> (N, D, ...)."""
    tail = values.shape[2:]
    index = position.reshape(*position.shape, *(1 for _ in tail))
    return values.gather(1, index.expand(*position.shape, *tail))


def top_padded(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best of each row, best first, and where they are; -inf where there are fewer.

    Args:
        scores: (N, R) float, R at least 1.
        count: how many, a constant: lengths that depend on R make a graph slow to record.

    Returns:
        (N, count) float, and int64 in [0, R).
    """
    nothing = scores.new_full((scores.shape[0], count), -torch.inf)
    values, position = torch.cat([scores, nothing], dim=1).topk(count, dim=1)
    return values, position.clamp(max=scores.shape[1] - 1)


def best_rows(scores: Tensor, valid: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Positions of the best valid rows, best first.

    Args:
        scores: (N, R) float.
        valid: (N, R) bool.
        count: how many.

    Returns:
        (N, count) int64 and (N, count) bool, whether there is such a row.
    """
    values, position = top_padded(scores.masked_fill(~valid, -torch.inf), count)
    return position, values > -torch.inf


def propose_padded(
    boxes: Sequence[Tensor],
    logits: Sequence[Tensor],
    sizes: Tensor,
    nms_thresh: float,
    most: int,
    min_box_size: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """`choose_proposals` in the fixed-size form.

    Args:
        boxes: one (N, Ri, 4) a level.
        logits: one (N, Ri) a level.
        sizes: (N, 2) height and width of each image.
        nms_thresh: boxes of a level of a larger IoU suppress each other.
        most: proposals of an image.
        min_box_size: pixels; a box must be wider and higher.

    Returns:
        (N, most, 4) boxes, best first, (N, most) bool, and (N, most) logits; 0 in the padding.
    """
    clipped, kept = [], []
    for of_level, scores in zip(boxes, logits, strict=True):
        finite = of_level.isfinite().all(dim=2) & scores.isfinite()
        inside = clip_to_sizes(of_level.masked_fill(~finite[..., None], 0.0), sizes)
        large = (inside[..., 2:] - inside[..., :2] > min_box_size).all(dim=2)
        group = torch.zeros_like(scores, dtype=torch.int64)
        kept.append(nms_mask(inside, scores, group, finite & large, nms_thresh, 1))
        clipped.append(inside)
    scores = torch.cat(list(logits), dim=1)
    position, valid = best_rows(scores, torch.cat(kept, dim=1), most)
    chosen = take_rows(torch.cat(clipped, dim=1), position).masked_fill(~valid[..., None], 0.0)
    return chosen, valid, take_rows(scores, position).masked_fill(~valid, 0.0)


def detect_padded(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    valid: Tensor,
    nms_thresh: float,
    most: int,
    num_classes: int,
) -> tuple[PaddedBoxes, Tensor]:
    """The best candidates that suppression keeps in each class.

    Of more candidates than eight times `most`, and than 1,000, only the best are compared.

    Args:
        boxes: (N, R, 4) float, xyxy, clipped.
        scores: (N, R) float.
        classes: (N, R) int64.
        valid: (N, R) bool.
        nms_thresh: see `nms_mask`.
        most: D.
        num_classes: K.

    Returns:
        D rows, and (N, D) int64, the candidate of each row.
    """
    count = max(_CANDIDATES_EACH * most, _FEWEST_CANDIDATES)
    first, valid = best_rows(scores, valid, count)
    boxes, scores, classes = (take_rows(x, first) for x in (boxes, scores, classes))
    kept = nms_mask(boxes, scores, classes, valid, nms_thresh, num_classes)
    position, valid = best_rows(scores, kept, most)
    boxes, scores, classes = (take_rows(x, position) for x in (boxes, scores, classes))
    return PaddedBoxes(boxes, scores, classes, valid).of_valid(), first.gather(1, position)


def best_pairs(scores: Tensor, above: float, count: int) -> tuple[Tensor, ...]:
    """The best (row, class) pairs of each image.

    Args:
        scores: (N, R, K) float.
        above: pairs must score higher.
        count: how many.

    Returns:
        (N, D) int64 row, int64 class, float score, and bool whether it is above the threshold.
    """
    flat = scores.flatten(1)
    values, pair = top_padded(flat, count)
    num_classes = scores.shape[2]
    return pair // num_classes, pair % num_classes, values, values > above


def region_detections(
    boxes: Tensor,
    probs: Tensor,
    valid: Tensor,
    sizes: Tensor,
    score_thresh: float,
    nms_thresh: float,
    most: int,
) -> PaddedBoxes:
    """`fast_rcnn_inference` in the fixed-size form.

    Args:
        boxes: (N, R, K * 4), or (N, R, 4) for one box for all classes.
        probs: (N, R, K + 1), the background last.
        valid: (N, R) bool.
        sizes: (N, 2) height and width of each image.
        score_thresh: only detections above it.
        nms_thresh: see `nms_mask`.
        most: D.
    """
    num_classes = probs.shape[2] - 1
    finite = boxes.isfinite().all(dim=2) & probs.isfinite().all(dim=2) & valid
    scores = probs[..., :num_classes].masked_fill(~finite[..., None], -1.0)
    count = max(_CANDIDATES_EACH * most, _FEWEST_CANDIDATES)
    row, category, values, above = best_pairs(scores, score_thresh, count)
    # (N, R * columns, 4): with one box for all classes there is one column.
    columns = boxes.shape[2] // 4
    column = category if columns > 1 else torch.zeros_like(category)
    chosen = take_rows(boxes.reshape(boxes.shape[0], -1, 4), row * columns + column)
    chosen = clip_to_sizes(chosen.masked_fill(~above[..., None], 0.0), sizes)
    found, _ = detect_padded(chosen, values, category, above, nms_thresh, most, num_classes)
    return found


def images_of_rows(boxes: Tensor) -> Tensor:
    """(N, R, 4) boxes -> (N * R, 5) with the number of the image in front, as poolers take them."""
    index = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)
    image = index[:, None, None].expand(-1, boxes.shape[1], 1)
    return torch.cat([image, boxes], dim=2).flatten(0, 1)


def rows_of(valid: Tensor) -> Tensor:
    """Flat positions of the valid rows, and the first row, so that no layer gets an empty batch.

    What is computed for them is put in place by `index_put`: row 0 appears twice at most, with
    the same values.

    Args:
        valid: (N, D) bool.

    Returns:
        (1 + number of valid rows,) int64.
    """
    flat = valid.flatten().nonzero().flatten()
    return torch.cat([flat.new_zeros(1), flat])
