"""Contrastive denoising: queries that start at true boxes with noise, and learn to remove it.

N images, T objects of an image, G groups, D denoising queries of an image, Q other queries.

Source: Zhang 2022 (DINO), arXiv:2203.03605, section 3.3.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from d2lite.utils.keyed_rng import DrawPurpose, image_generator

from .boxes import cxcywh_to_xyxy, xyxy_to_cxcywh


class DenoisingQueries(NamedTuple):
    """What the decoder starts from, and what it has to find.

    Attributes:
        labels: (N, D) int64, K where there is no query.
        boxes: (N, D, 4) float32 (cx, cy, w, h).
        hidden: (N, D + Q, D + Q) bool, True where a query (row) must not see another (column).
        objects: (N, D) int64, the object that a query has to find; -1 for those that have to find
            nothing, -2 where there is no query.
        groups: (N,) float32, G of each image.
    """

    labels: Tensor
    boxes: Tensor
    hidden: Tensor
    objects: Tensor
    groups: Tensor


def denoising_queries(
    targets: Sequence[Mapping[str, Tensor]],
    num_classes: int,
    num_queries: int,
    num_denoising: int,
    *,
    label_noise: float = 0.5,
    box_noise: float = 1.0,
) -> DenoisingQueries:
    """Draw the queries of a batch.

    An image has G = max(1, num_denoising / T) groups of 2 T queries: those that start near an
    object and have to find it, and those that start farther away and have to find nothing.
    The draws of an image follow from its key; see `d2lite.utils.keyed_rng`.

    DIFFERS: G follows from the image and not from the batch, so that losses do not depend on how
    a batch is divided.

    Args:
        targets: for each image labels (T,) int64 and boxes (T, 4) (cx, cy, w, h).
        num_classes: K.
        num_queries: Q.
        num_denoising: objects that an image's groups have together, about.
        label_noise: half of this share of queries start with a random class.
        box_noise: edges move by up to this share of half a side, and for queries that have to find
            nothing by up to twice as much.

    Returns:
        The queries; D is 0 for a batch without objects.
    """
    counts = [len(target["labels"]) for target in targets]
    device = targets[0]["labels"].device
    groups = [max(num_denoising // count, 1) if count else 0 for count in counts]
    total = max(2 * count * number for count, number in zip(counts, groups, strict=True))
    labels = torch.full((len(targets), total), num_classes, device=device)
    boxes = torch.full((len(targets), total, 4), 0.5, device=device)
    objects = torch.full((len(targets), total), -2, device=device)
    # No group sees another; the group of the padding sees itself alone.
    group = torch.full((len(targets), total), -1, device=device)
    for image, (target, count, number) in enumerate(zip(targets, counts, groups, strict=True)):
        if not count:
            continue
        used = 2 * count * number
        labels[image, :used], boxes[image, :used] = _with_noise(
            target, number, num_classes, label_noise, box_noise, image
        )
        wanted = torch.arange(count, device=device)
        both = torch.cat([wanted, torch.full_like(wanted, -1)])
        objects[image, :used] = both.repeat(number)
        group[image, :used] = torch.arange(number, device=device).repeat_interleave(2 * count)
    hidden = torch.zeros(
        len(targets), total + num_queries, total + num_queries, dtype=torch.bool, device=device
    )
    hidden[:, :total, :total] = group[:, :, None] != group[:, None]
    # They contain the truth.
    hidden[:, total:, :total] = True
    return DenoisingQueries(
        labels, boxes, hidden, objects, torch.tensor(groups, dtype=torch.float32, device=device)
    )


def _with_noise(
    target: Mapping[str, Tensor],
    groups: int,
    num_classes: int,
    label_noise: float,
    box_noise: float,
    image: int,
) -> tuple[Tensor, Tensor]:
    """Labels (G * 2 * T,) and boxes (G * 2 * T, 4) of an image's queries."""
    labels = target["labels"].repeat(2 * groups)
    boxes = target["boxes"].float().repeat(2 * groups, 1)
    device = labels.device
    generator = image_generator(image, DrawPurpose.DENOISING, device)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, device=device, generator=generator)

    is_other = draw(len(labels)) < label_noise / 2
    random_labels = (draw(len(labels)) * num_classes).long().clamp(max=num_classes - 1)
    labels = torch.where(is_other, random_labels, labels)
    signs = (draw(len(boxes), 4) < 0.5).float() * 2 - 1
    strength = draw(len(boxes), 4)
    is_far = torch.tensor([0.0, 1.0], device=device).repeat_interleave(len(target["labels"]))
    strength = strength + is_far.repeat(groups)[:, None]
    half_sides = boxes[:, 2:].repeat(1, 2) / 2
    moved = cxcywh_to_xyxy(boxes) + signs * strength * half_sides * box_noise
    first, last = moved.clamp(0, 1).split(2, dim=1)
    # Edges that crossed each other change places, as a box needs sides of 0 or more.
    ordered = torch.cat([torch.minimum(first, last), torch.maximum(first, last)], dim=1)
    return labels, xyxy_to_cxcywh(ordered)
