"""Assigned pairs of queries and objects, of all predictions and images in one list.

N images, D denoising queries, M pairs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .boxes import cxcywh_to_xyxy
from .denoising import DenoisingQueries
from .set_matching import Targets


class Pairs(NamedTuple):
    """Assigned queries: (M,) int64 each; `objects` counts through the batch; `weights` is float."""

    layers: Tensor
    images: Tensor
    queries: Tensor
    objects: Tensor
    weights: Tensor


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """(M,) IoU of (M, 4) boxes (cx, cy, w, h) with others, row by row."""
    own, other = cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(others)
    sides = torch.minimum(own[:, 2:], other[:, 2:]) - torch.maximum(own[:, :2], other[:, :2])
    common = sides.clamp(min=0).prod(dim=1)
    union = boxes[:, 2:].prod(dim=1) + others[:, 2:].prod(dim=1) - common
    return common / union.clamp(min=1e-12)


def pairs_of(matched: Sequence[Sequence[tuple[Tensor, Tensor]]], targets: Targets) -> Pairs:
    """Join the pairs of predictions and images, given as (queries, objects of the image)."""
    device = targets[0]["labels"].device
    layers, images, queries, objects = [], [], [], []
    for layer, of_layer in enumerate(matched):
        first = 0
        for image, ((chosen, found), target) in enumerate(zip(of_layer, targets, strict=True)):
            layers.append(torch.full_like(chosen, layer))
            images.append(torch.full_like(chosen, image))
            queries.append(chosen)
            objects.append(found + first)
            first += len(target["labels"])
    parts = [torch.cat(part) for part in (layers, images, queries, objects)]
    return Pairs(parts[0], parts[1], parts[2], parts[3], torch.ones(len(parts[0]), device=device))


def denoising_pairs(noise: DenoisingQueries, targets: Targets, num_layers: int) -> Pairs:
    """The queries that have to find an object, in each of the predictions."""
    device = noise.objects.device
    counts = torch.tensor([0, *(len(target["labels"]) for target in targets)], device=device)
    first = counts.cumsum(0)
    images, queries = (noise.objects >= 0).nonzero(as_tuple=True)
    objects = noise.objects[images, queries] + first[images]
    weights = 1 / noise.groups[images].clamp(min=1)
    layers = torch.arange(num_layers, device=device).repeat_interleave(len(images))
    return Pairs(layers, *(part.repeat(num_layers) for part in (images, queries, objects, weights)))
