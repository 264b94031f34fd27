"""From classes, centres and offsets of pixels to segments.

H x W pixels, M centres.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.utils.errors import ArgumentError, ConfigError

# Distances that are held at one time, to bound the memory: 64 MiB of float32.
_AT_ONCE = 1 << 24


def find_instance_center(
    center_heatmap: Tensor, threshold: float = 0.1, nms_kernel: int = 3, top_k: int | None = None
) -> Tensor:
    """Find the peaks of a map.

    Args:
        center_heatmap: (1, H, W) float.
        threshold: peaks are above it.
        nms_kernel: side of the window in which a peak is the greatest value, odd.
        top_k: values have to be above the k-th greatest peak; None for all peaks.

    Returns:
        (M, 2) int64 y and x, row by row.

    Raises:
        ConfigError: for an even window.
    """
    if nms_kernel % 2 == 0:
        raise ConfigError(f"nms_kernel is {nms_kernel}; give an odd number (NMS_KERNEL).")
    heat = F.threshold(center_heatmap, threshold, -1)
    greatest = F.max_pool2d(heat[None], nms_kernel, stride=1, padding=nms_kernel // 2)[0]
    peaks = torch.where(heat == greatest, heat, -1)[0]
    least = 0.0
    if top_k is not None and top_k <= peaks.numel():
        least = peaks.flatten().topk(top_k).values[-1].clamp(min=0)
    return torch.nonzero(peaks > least)


def group_pixels(center_points: Tensor, offsets: Tensor) -> Tensor:
    """Give each pixel to the centre that is nearest to where its offset points.

    Args:
        center_points: (M, 2) y and x.
        offsets: (2, H, W) from pixels, down and right.

    Returns:
        (1, H, W) int64, 1 to M; 0 everywhere without a centre.
    """
    everywhere = torch.ones_like(offsets[:1], dtype=torch.bool)
    return _group(center_points, offsets, everywhere)


def _group(center_points: Tensor, offsets: Tensor, is_asked: Tensor) -> Tensor:
    """`group_pixels` for the pixels that a (1, H, W) mask has; 0 for others."""
    numbers = torch.zeros_like(is_asked, dtype=torch.int64)
    if len(center_points) == 0:
        return numbers
    pixels = torch.nonzero(is_asked[0])
    places = pixels + offsets[:, pixels[:, 0], pixels[:, 1]].T
    centres = center_points.to(places.dtype)
    nearest = [
        torch.cdist(part, centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
        for part in places.split(max(1, _AT_ONCE // len(centres)))
    ]
    numbers[0, pixels[:, 0], pixels[:, 1]] = torch.cat(nearest) + 1
    return numbers


def get_instance_segmentation(
    sem_seg: Tensor,
    center_heatmap: Tensor,
    offsets: Tensor,
    thing_seg: Tensor,
    thing_ids: Iterable[int],
    threshold: float = 0.1,
    nms_kernel: int = 3,
    top_k: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Number the objects, without regard to their classes.

    Args:
        sem_seg: (1, H, W) classes; not used.
        center_heatmap: (1, H, W).
        offsets: (2, H, W).
        thing_seg: (1, H, W), not 0 where a pixel belongs to an object.
        thing_ids: not used.
        threshold: see `find_instance_center`.
        nms_kernel: likewise.
        top_k: likewise.

    Returns:
        (1, H, W) int64 numbers, 0 for no object, and (1, M, 2) centres.
    """
    centres = find_instance_center(center_heatmap, threshold, nms_kernel, top_k)
    return _group(centres, offsets, thing_seg > 0), centres[None]


def merge_semantic_and_instance(
    sem_seg: Tensor,
    ins_seg: Tensor,
    semantic_thing_seg: Tensor,
    label_divisor: int,
    thing_ids: Iterable[int],
    stuff_area: int,
    void_label: int,
) -> Tensor:
    """Join classes of pixels and numbers of objects into labels of segments.

    An object is of the class that most of its pixels have.

    Args:
        sem_seg: (1, H, W) int64 classes.
        ins_seg: (1, H, W) int64 numbers of objects, 0 for none.
        semantic_thing_seg: (1, H, W), not 0 where a pixel belongs to an object.
        label_divisor: a label is class * label_divisor + number within the class, from 1; stuff
            has the number 0.
        thing_ids: classes of objects.
        stuff_area: stuff of a class with fewer pixels is void.
        void_label: the label of pixels without a segment.

    Returns:
        (1, H, W) int64 labels.
    """
    num_classes, num_objects = int(sem_seg.max()) + 1, int(ins_seg.max())
    is_thing = (ins_seg > 0) & (semantic_thing_seg > 0)
    votes = torch.bincount(
        ins_seg[is_thing] * num_classes + sem_seg[is_thing],
        minlength=(num_objects + 1) * num_classes,
    ).view(num_objects + 1, num_classes)
    label = votes.argmax(dim=1)
    is_of_class = F.one_hot(label, num_classes) * (votes.sum(dim=1) > 0)[:, None]
    number = is_of_class.cumsum(dim=0).gather(1, label[:, None])[:, 0]
    things = (label * label_divisor + number)[ins_seg]

    is_free = ins_seg == 0
    is_large = torch.bincount(sem_seg[is_free], minlength=num_classes) >= stuff_area
    of_things = torch.tensor(sorted(set(thing_ids)), dtype=torch.int64, device=sem_seg.device)
    is_large[of_things[of_things < num_classes]] = False
    stuff = torch.where(is_free & is_large[sem_seg], sem_seg * label_divisor, void_label)
    return torch.where(is_thing, things, stuff)


def get_panoptic_segmentation(
    sem_seg: Tensor,
    center_heatmap: Tensor,
    offsets: Tensor,
    thing_ids: Iterable[int],
    label_divisor: int,
    stuff_area: int,
    void_label: int,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int = 200,
    foreground_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Make the map of segments of one image.

    Args:
        sem_seg: (1, H, W) int64 classes.
        center_heatmap: (1, H, W).
        offsets: (2, H, W) from pixels to centres, down and right.
        thing_ids: classes of objects.
        label_divisor: see `merge_semantic_and_instance`.
        stuff_area: likewise.
        void_label: likewise.
        threshold: see `find_instance_center`.
        nms_kernel: likewise.
        top_k: likewise.
        foreground_mask: (1, H, W), not 0 for pixels of objects; from `sem_seg` if None.

    Returns:
        (1, H, W) int64 labels, and (1, M, 2) centres.

    Raises:
        ArgumentError: if there is more than one image.

    Source: Cheng 2020, arXiv:1911.10194, section 3.3.
    """
    if sem_seg.dim() != 3 or len(sem_seg) != 1:
        raise ArgumentError(f"sem_seg has shape {tuple(sem_seg.shape)}; give (1, H, W), one image.")
    things = list(thing_ids)
    if foreground_mask is None:
        foreground_mask = torch.isin(sem_seg, torch.tensor(things, device=sem_seg.device))
    objects, centres = get_instance_segmentation(
        sem_seg, center_heatmap, offsets, foreground_mask, things, threshold, nms_kernel, top_k
    )
    labels = merge_semantic_and_instance(
        sem_seg, objects, foreground_mask, label_divisor, things, stuff_area, void_label
    )
    return labels, centres
