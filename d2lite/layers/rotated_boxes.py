"""IoU of rotated boxes, by clipping each box in the frame of the other.

N, M boxes; each is (centre x, centre y, width, height, angle), the angle in degrees,
counter-clockwise as seen on the screen (y grows downwards).
"""

import torch
from torch import Tensor

__all__ = ["pairwise_iou_rotated"]

# Pairs that are worked on at once: 20 corners of 2 float64 and as much again for temporaries.
_PAIRS_AT_ONCE = 200_000


def pairwise_iou_rotated(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of every rotated box of one set with every one of another.

    Args:
        boxes1: (N, 5) float.
        boxes2: (M, 5) float.

    Returns:
        (N, M) float32 in [0, 1]; 0 where a box has no area.

    Raises:
        ValueError: if a set is not (N, 5).
    """
    for boxes in (boxes1, boxes2):
        if boxes.dim() != 2 or boxes.shape[1] != 5:
            raise ValueError(
                f"Rotated boxes have shape {tuple(boxes.shape)}; "
                "give (N, 5): centre x, centre y, width, height, degrees."
            )
    first, second = boxes1.double(), boxes2.double()
    rows_at_once = max(1, _PAIRS_AT_ONCE // max(1, len(second)))
    chunks = [_iou(rows, second) for rows in first.split(rows_at_once)]
    return torch.cat(chunks).float() if chunks else boxes1.new_zeros((0, len(boxes2))).float()


def _iou(first: Tensor, second: Tensor) -> Tensor:
    area1 = first[:, 2] * first[:, 3]
    area2 = second[:, 2] * second[:, 3]
    inter = _intersection(first, second)
    union = area1[:, None] + area2 - inter
    return torch.where(inter > 0, inter / union, torch.zeros_like(inter)).clamp(max=1)


def _intersection(first: Tensor, second: Tensor) -> Tensor:
    """(N, M) areas that the boxes share.

    In the frame of the second box the clip window is |x| <= w / 2, |y| <= h / 2. Clamping a
    closed curve to a window leaves what is inside as it is and folds what is outside onto the
    window's border, where it encloses nothing; so the area of the clamped outline is that of the
    intersection. Clamping is linear between the points where an edge crosses one of the four
    lines, hence the outline with those points added is all that the shoelace formula needs.
    """
    half = second[:, 2:4] / 2  # (M, 2)
    corners = _corners_in_frames(first, second)  # (N, M, 4, 2)
    edges = corners.roll(-1, dims=2) - corners
    to_lines = torch.stack([-half, half], dim=1)[None, :, None] - corners[:, :, :, None]
    # An edge along a line divides 0 by 0: it crosses nowhere, so any parameter will do.
    crossings = (to_lines / edges[:, :, :, None]).nan_to_num(nan=0.0).clamp(0, 1).flatten(3)
    along = crossings.sort(dim=-1).values  # (N, M, 4, 4)
    along = torch.cat([torch.zeros_like(along[..., :1]), along], dim=-1)
    outline = corners[:, :, :, None] + along[..., None] * edges[:, :, :, None]
    outline = outline.flatten(2, 3)  # (N, M, 20, 2)
    outline = torch.minimum(torch.maximum(outline, -half[None, :, None]), half[None, :, None])
    following = outline.roll(-1, dims=2)
    cross = outline[..., 0] * following[..., 1] - outline[..., 1] * following[..., 0]
    return cross.sum(dim=2).abs() / 2


def _corners_in_frames(first: Tensor, second: Tensor) -> Tensor:
    """(N, M, 4, 2): corners of the first boxes where a second box is centred and upright."""
    signs = first.new_tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    local = signs * first[:, None, 2:4]
    corners = _turn(local, first[:, None, 4]) + first[:, None, :2]  # (N, 4, 2)
    centred = corners[:, None] - second[:, None, :2]  # (N, M, 4, 2)
    return _turn(centred, -second[:, None, 4])


def _turn(points: Tensor, degrees: Tensor) -> Tensor:
    """Turn (..., 2) points counter-clockwise on the screen about the origin."""
    radians = torch.deg2rad(degrees)
    cos, sin = radians.cos(), radians.sin()
    x, y = points.unbind(-1)
    return torch.stack([x * cos + y * sin, y * cos - x * sin], dim=-1)
