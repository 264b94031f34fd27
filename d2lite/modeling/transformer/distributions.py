"""Edges of boxes as distributions over steps of uneven size, and their losses.

M boxes, B + 1 values that a distribution is over; four edges of a box: left, top, right, bottom.

Source: Peng 2024 (D-FINE), arXiv:2410.13842, sections 4.1 and 4.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import cxcywh_to_xyxy, xyxy_to_cxcywh

# Teacher and student are compared at this temperature.
_TEMPERATURE = 5.0


def edge_steps(bins: int, reach: float, curvature: float) -> Tensor:
    """The function W(n) of the paper, n = 0 ... B, in units of `1 / curvature`-th parts of a box.

    Args:
        bins: B, even.
        reach: a of the paper; the values but the first and last are in [-a c, a c].
        curvature: 1 / c of the paper; more makes steps near 0 larger.

    Returns:
        (B + 1,) float32, ascending, 0 in the middle; the first and last value are twice the
        limit.
    """
    limit = abs(reach) * abs(curvature)
    powers = torch.arange(1, bins // 2, dtype=torch.float64) * 2 / (bins - 2)
    positive = (limit + 1) ** powers - 1
    ends = torch.tensor([2 * limit], dtype=torch.float64)
    middle = torch.zeros(1, dtype=torch.float64)
    return torch.cat([-ends, -positive.flip(0), middle, positive, ends]).float()


def move_edges(boxes: Tensor, logits: Tensor, steps: Tensor, curvature: float) -> Tensor:
    """Move each edge by the mean of its distribution, in shares of the box.

    Args:
        boxes: (..., 4) float32 (cx, cy, w, h), what the distributions are relative to.
        logits: (..., 4 * (B + 1)).
        steps: (B + 1,), see `edge_steps`.
        curvature: as there.

    Returns:
        (..., 4) float32 (cx, cy, w, h).
    """
    chances = logits.to(boxes.dtype).unflatten(-1, (4, -1)).softmax(dim=-1)
    moves = chances @ steps.to(boxes.dtype)
    center, sides = boxes.split(2, dim=-1)
    first, last = (0.5 + part / curvature for part in moves.split(2, dim=-1))
    return xyxy_to_cxcywh(torch.cat([center - first * sides, center + last * sides], dim=-1))


def edge_targets(
    boxes: Tensor, objects: Tensor, steps: Tensor, curvature: float
) -> tuple[Tensor, Tensor]:
    """Where the edges of objects are among the steps: between which two, and how near the right.

    Args:
        boxes: (M, 4) float32 (cx, cy, w, h), what the distributions are relative to.
        objects: (M, 4) likewise.
        steps: (B + 1,), see `edge_steps`.
        curvature: as there.

    Returns:
        (M, 4) int64 in [0, B): the step on the left; (M, 4) float in [0, 1]: the share of the
        next one.
    """
    first, last = cxcywh_to_xyxy(objects).split(2, dim=-1)
    center, sides = boxes.split(2, dim=-1)
    distances = torch.cat([center - first, last - center], dim=-1)
    moves = (distances / (sides.repeat(1, 2) + 1e-16) - 0.5) * curvature
    left = torch.searchsorted(steps, moves.detach().contiguous(), right=True) - 1
    inside = left.clamp(0, len(steps) - 2)
    below, above = steps[inside], steps[inside + 1]
    share = ((moves - below) / (above - below)).clamp(0, 1)
    return inside, share


def fine_grained_losses(logits: Tensor, left: Tensor, share: Tensor) -> Tensor:
    """Cross-entropy with the two steps beside an edge, as near as they are.

    Args:
        logits: (M, 4 * (B + 1)).
        left: see `edge_targets`.
        share: likewise.

    Returns:
        (M, 4).
    """
    log_chances = logits.unflatten(-1, (4, -1)).log_softmax(dim=-1)
    both = torch.stack([left, left + 1], dim=-1)
    found = log_chances.gather(-1, both)
    return -(found[..., 0] * (1 - share) + found[..., 1] * share)


def distillation_losses(logits: Tensor, teacher: Tensor) -> Tensor:
    """The divergence of the distributions of edges from those of a teacher, which gets no gradient.

    Args:
        logits: (..., 4 * (B + 1)).
        teacher: of the same shape.

    Returns:
        (..., 4).
    """
    own, wanted = (
        (x.unflatten(-1, (4, -1)) / _TEMPERATURE).log_softmax(dim=-1)
        for x in (logits, teacher.detach())
    )
    divergence = F.kl_div(own, wanted, reduction="none", log_target=True).sum(dim=-1)
    return _TEMPERATURE**2 * divergence
