"""The fixed-size form of `post_processing`, for batches; an export has it inside.

N images, K classes, D centres at most, H x W pixels.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.modeling.padded import best_rows, take_rows, top_padded

__all__ = ["find_centers_padded", "group_pixels_padded", "instances_padded", "merge_padded"]

# Distances to so many centres are held at one time.
_CENTRES_AT_ONCE = 25


def find_centers_padded(
    heat: Tensor, threshold: float, nms_kernel: int, top_k: int
) -> tuple[Tensor, Tensor]:
    """`find_instance_center`.

    Args:
        heat: (N, 1, H, W), 0 beyond each image.
        threshold: see `find_instance_center`.
        nms_kernel: likewise.
        top_k: likewise, D.

    Returns:
        (N, D, 2) float y and x, row by row, and (N, D) bool, which of them there are.
    """
    above = F.threshold(heat, threshold, -1)
    greatest = F.max_pool2d(above, nms_kernel, stride=1, padding=nms_kernel // 2)
    values, place = top_padded(torch.where(above == greatest, above, -1).flatten(1), top_k)
    valid = values > values[:, -1:].clamp(min=0)
    width = heat.shape[3]
    beyond = heat.shape[2] * width
    place = torch.where(valid, place, beyond).sort(dim=1).values
    row = place // width
    return torch.stack([row, place - row * width], dim=2).float(), place < beyond


def group_pixels_padded(centers: Tensor, valid: Tensor, offsets: Tensor) -> Tensor:
    """`group_pixels`.

    Args:
        centers: (N, D, 2) y and x.
        valid: (N, D) bool.
        offsets: (N, 2, H, W).

    Returns:
        (N, H, W) int64, 1 to D; without a centre 1 everywhere.
    """
    rows = offsets[:, 0] + torch.arange(offsets.shape[2], device=offsets.device)[:, None]
    columns = offsets[:, 1] + torch.arange(offsets.shape[3], device=offsets.device)
    number = torch.ones_like(rows, dtype=torch.int64)
    nearest = torch.full_like(rows, torch.inf)
    for start in range(0, centers.shape[1], _CENTRES_AT_ONCE):
        part = centers[:, start : start + _CENTRES_AT_ONCE, :, None, None]
        squares = (rows[:, None] - part[:, :, 0]) ** 2 + (columns[:, None] - part[:, :, 1]) ** 2
        known = valid[:, start : start + _CENTRES_AT_ONCE, None, None]
        least, place = torch.where(known, squares, torch.inf).min(dim=1)
        number = torch.where(least < nearest, place + start + 1, number)
        nearest = torch.minimum(least, nearest)
    return number


def _sums(values: Tensor, place: Tensor, count: int) -> Tensor:
    """(N, count) sums of the (N, H, W) float values at each of the (N, H, W) places."""
    nothing = values.new_zeros((values.shape[0], count))
    return nothing.scatter_add(1, place.flatten(1), values.flatten(1))


def merge_padded(
    sem_seg: Tensor,
    ins_seg: Tensor,
    inside: Tensor,
    num_classes: int,
    num_centers: int,
    thing_ids: Iterable[int],
    stuff_area: int,
) -> tuple[Tensor, Tensor]:
    """`merge_semantic_and_instance`.

    Args:
        sem_seg: (N, H, W) int64 classes.
        ins_seg: (N, H, W) int64 numbers of objects, 0 for none.
        inside: (N, H, W) bool, pixels of the images.
        num_classes: K.
        num_centers: D.
        thing_ids: see `merge_semantic_and_instance`.
        stuff_area: likewise.

    Returns:
        (N, H, W) int64 numbers of segments: 0 void, 1 + class of stuff, K + number of an object;
        and (N, K + D + 1) int64, the class of each number.
    """
    is_object = (ins_seg > 0).float()
    pairs = ins_seg * num_classes + sem_seg
    votes = _sums(is_object, pairs, (num_centers + 1) * num_classes)
    of_objects = votes.unflatten(1, (num_centers + 1, num_classes)).argmax(dim=2)[:, 1:]
    is_free = inside & (ins_seg == 0)
    is_large = _sums(is_free.float(), sem_seg, num_classes) >= stuff_area
    is_stuff = torch.ones(num_classes, dtype=torch.bool, device=sem_seg.device)
    is_stuff[list(thing_ids)] = False
    large = (is_large & is_stuff).gather(1, sem_seg.flatten(1)).reshape(sem_seg.shape)
    stuff = torch.where(is_free & large, sem_seg + 1, 0)
    classes = torch.arange(-1, num_classes, device=sem_seg.device).clamp(min=0)
    classes = classes.expand(sem_seg.shape[0], -1)
    return (
        torch.where(ins_seg > 0, num_classes + ins_seg, stuff),
        torch.cat([classes, of_objects], dim=1),
    )


def instances_padded(
    objects: Tensor, classes: Tensor, scores: Tensor, heat: Tensor
) -> dict[str, Tensor]:
    """The segments of objects as detections, best first.

    Args:
        objects: (N, H, W) int64 numbers, 0 for none.
        classes: (N, D) int64 of the objects.
        scores: (N, K, H, W) of the classes of pixels.
        heat: (N, 1, H, W) map of centres.

    Returns:
        `scores`, `classes`, `valid` (N, D) and `image_masks` (N, D, H, W) bool.
    """
    own = F.pad(classes, (1, 0)).gather(1, objects.flatten(1)).reshape(objects.shape)
    probability = (scores.gather(1, own[:, None])[:, 0] - scores.logsumexp(dim=1)).exp()
    rows = torch.arange(objects.shape[1], device=objects.device)[:, None]
    columns = torch.arange(objects.shape[2], device=objects.device)
    count = classes.shape[1] + 1
    area, confidence, y, x = (
        _sums(values + torch.zeros_like(probability), objects, count)[:, 1:]
        for values in (torch.ones_like(probability), probability, rows, columns)
    )
    valid = area > 0
    confidence, y, x = (total / area.clamp(min=1) for total in (confidence, y, x))
    middle = y.long() * objects.shape[2] + x.long()
    found = confidence * heat.flatten(1).gather(1, middle)
    order, valid = best_rows(found, valid, classes.shape[1])
    return {
        "scores": take_rows(found, order).masked_fill(~valid, 0.0),
        "classes": take_rows(classes, order).masked_fill(~valid, 0),
        "valid": valid,
        "image_masks": objects[:, None] == order[..., None, None] + 1,
    }
