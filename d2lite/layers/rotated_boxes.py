"""IoU of rotated boxes, by clipping each box in the frame of the other.

N, M boxes, P pairs of them. A box is (centre x, centre y, width, height, angle), the angle in
degrees, counter-clockwise as seen on the screen (y grows downwards).
"""

import torch
from torch import Tensor

from ..utils.errors import ArgumentError

__all__ = ["can_touch", "iou_of_pairs", "pairwise_iou_rotated"]

# Pairs that are worked on at once: 20 corners of 2 float64 and as much again for temporaries.
_PAIRS_AT_ONCE = 200_000


def pairwise_iou_rotated(boxes1: Tensor, boxes2: Tensor, at_once: int = _PAIRS_AT_ONCE) -> Tensor:
    """Intersection over union of every rotated box of one set with every one of another.

    Args:
        boxes1: (N, 5) float.
        boxes2: (M, 5) float.
        at_once: pairs that are worked on at once.

    Returns:
        (N, M) float32 in [0, 1]; 0 where a box has no area.

    Raises:
        ArgumentError: if a set is not (N, 5).
    """
    for boxes in (boxes1, boxes2):
        if boxes.dim() != 2 or boxes.shape[1] != 5:
            raise ArgumentError(
                f"Rotated boxes have shape {list(boxes.shape)}; "
                "give (N, 5): centre x, centre y, width, height, degrees."
            )
    rows_at_once = max(1, at_once // max(1, len(boxes2)))
    chunks = [_iou_of_near_pairs(rows, boxes2) for rows in boxes1.split(rows_at_once)]
    return torch.cat(chunks) if len(chunks) else boxes1.new_zeros((0, len(boxes2))).float()


def iou_of_pairs(first: Tensor, second: Tensor, at_once: int = _PAIRS_AT_ONCE) -> Tensor:
    """Intersection over union of the first box with the first, the second with the second, ...

    Args:
        first: (P, 5) float.
        second: (P, 5) float.
        at_once: pairs that are worked on at once.

    Returns:
        (P,) float32 in [0, 1]; 0 where a box has no area.
    """
    chunks: list[Tensor] = []
    for one, other in zip(  # noqa: B905 - TorchScript has no strict
        first.double().split(at_once), second.double().split(at_once)
    ):
        inter = _intersection(one, other)
        union = one[:, 2] * one[:, 3] + other[:, 2] * other[:, 3] - inter
        iou = torch.where(inter > 0, inter / union, torch.zeros_like(inter))
        chunks.append(iou.clamp(max=1).float())
    return torch.cat(chunks) if len(chunks) else first.new_zeros(0).float()


def can_touch(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Which boxes are near enough to share something: their circles meet.

    Most boxes of an image are far from each other, and a distance costs a hundredth of a clip.

    Args:
        boxes1: (N, 5) float.
        boxes2: (M, 5) float.

    Returns:
        (N, M) bool; False only where the boxes share nothing.
    """
    reach1, reach2 = boxes1[:, 2:4].norm(2, dim=1) / 2, boxes2[:, 2:4].norm(2, dim=1) / 2
    distance = (boxes1[:, None, :2] - boxes2[None, :, :2]).norm(2, dim=2)
    # Rounding may bring circles that meet at a point apart; "not" keeps what is not a number.
    return ~(distance > (reach1[:, None] + reach2) * 1.001 + 1e-3)


def _iou_of_near_pairs(first: Tensor, second: Tensor) -> Tensor:
    """(N, M) IoU, worked out for the pairs alone that can touch."""
    iou = first.new_zeros((len(first), len(second)), dtype=torch.float32)
    row, column = can_touch(first, second).nonzero().unbind(1)
    iou[row, column] = iou_of_pairs(first[row], second[column])
    return iou


def _intersection(first: Tensor, second: Tensor) -> Tensor:
    """(P,) areas that the boxes of each pair share.

    In the frame of the second box the clip window is |x| <= w / 2, |y| <= h / 2. Clamping a
    closed curve to a window leaves what is inside as it is and folds what is outside onto the
    window's border, where it encloses nothing; so the area of the clamped outline is that of the
    intersection. Clamping is linear between the points where an edge crosses one of the four
    lines, hence the outline with those points added is all that the shoelace formula needs.
    """
    half = second[:, 2:4] / 2  # (P, 2)
    corners = _corners_in_frames(first, second)  # (P, 4, 2)
    edges = corners.roll(-1, dims=1) - corners
    to_lines = torch.stack([-half, half], dim=1)[:, None] - corners[:, :, None]
    # An edge along a line crosses it nowhere, so any parameter will do; dividing by 0 would leave
    # the loss of rotated boxes without a gradient.
    across = edges[:, :, None]
    crossings = (to_lines / across.where(across != 0, 1.0)).clamp(0, 1).flatten(2)
    along = crossings.sort(dim=-1).values  # (P, 4, 4)
    along = torch.cat([torch.zeros_like(along[..., :1]), along], dim=-1)
    outline = corners[:, :, None] + along[..., None] * edges[:, :, None]
    outline = outline.flatten(1, 2)  # (P, 20, 2)
    outline = torch.minimum(torch.maximum(outline, -half[:, None]), half[:, None])
    following = outline.roll(-1, dims=1)
    cross = outline[..., 0] * following[..., 1] - outline[..., 1] * following[..., 0]
    return cross.sum(dim=1).abs() / 2


def _corners_in_frames(first: Tensor, second: Tensor) -> Tensor:
    """(P, 4, 2): corners of the first boxes where the second box is centred and upright."""
    signs = torch.tensor(
        [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], dtype=first.dtype, device=first.device
    )
    local = signs * first[:, None, 2:4]
    corners = _turn(local, first[:, None, 4]) + first[:, None, :2]
    return _turn(corners - second[:, None, :2], -second[:, None, 4])


def _turn(points: Tensor, degrees: Tensor) -> Tensor:
    """Turn (..., 2) points counter-clockwise on the screen about the origin."""
    radians = torch.deg2rad(degrees)
    cos, sin = radians.cos(), radians.sin()
    x, y = points.unbind(-1)
    return torch.stack([x * cos + y * sin, y * cos - x * sin], dim=-1)
