"""Heat maps of keypoints, what a network learns of them, and the points that they mean.

M or D objects, K keypoints of an object, H x W cells.
"""

import math
import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.layers.point_sampling import point_sample
from d2lite.utils.tracing import is_tracing

# What is drawn of a bump reaches so many deviations along each axis.
_REACH = 3
# Heat maps of so many objects are enlarged at one time.
_AT_ONCE = 16
# Keypoints that are placed more precisely than others.
_OF_HEAD = {"nose", "eye", "ear"}


def keypoint_sigmas(names: Sequence[str], sigmas: Sequence[float]) -> list[float]:
    """The deviation of the bump of each keypoint.

    Args:
        names: of the keypoints, such as "left_ear".
        sigmas: the deviation of all keypoints, and that of noses, eyes and ears.
    """
    common, of_head = sigmas
    words = (re.findall("[A-Z]?[a-z]+", name) for name in names)
    return [of_head if _OF_HEAD & {word.lower() for word in own} else common for own in words]


def draw_heatmaps(
    keypoints: Tensor, image_size: tuple[int, int], stride: int, sigmas: Sequence[float]
) -> Tensor:
    """The heat maps of an image: bumps of height 1 in the cells of keypoints.

    A cell at a distance d has exp(-d * d / (2 * sigma * sigma)), up to three sigma along each axis;
    where bumps meet, the highest counts.

    Args:
        keypoints: (M, K, 3) x, y in pixels and visibility, 0 for those that are not labelled.
        image_size: height and width in pixels.
        stride: pixels of a cell; the last cells may be cut.
        sigmas: K deviations in cells.

    Returns:
        (K, H, W) float32.
    """
    height, width = (-(-side // stride) for side in image_size)
    kinds = keypoints.shape[1]
    deviations = torch.tensor(list(sigmas))[:, None]
    reach = math.ceil(_REACH * max(sigmas))
    steps = torch.arange(-reach, reach + 1)
    bumps = torch.exp(-0.5 * (steps / deviations) ** 2) * (steps.abs() <= _REACH * deviations)
    cells = _cells(keypoints, stride, (height, width))
    x, y = cells[..., 0, None] + steps, cells[..., 1, None] + steps
    is_drawn = ((y >= 0) & (y < height))[..., None] & ((x >= 0) & (x < width))[..., None, :]
    is_drawn &= keypoints[..., 2, None, None] > 0
    first = torch.arange(kinds)[:, None, None] * height
    place = (first + y[..., None]) * width + x[..., None, :]
    values = (bumps[:, :, None] * bumps[:, None, :]).expand_as(place)
    maps = torch.zeros(kinds * height * width)
    maps.scatter_reduce_(0, place[is_drawn], values[is_drawn], "amax")
    return maps.view(kinds, height, width)


def _cells(keypoints: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """(..., 2) int64 column and row of the cell of each keypoint; the far border is the last's."""
    last = torch.tensor([size[1] - 1, size[0] - 1], device=keypoints.device)
    return torch.minimum((keypoints[..., :2] / stride).floor().long(), last)


def pose_losses(logits: Tensor, keypoints: Tensor, stride: int) -> Tensor:
    """The cross-entropy between the cell of a keypoint and the softmax of its heat map.

    Args:
        logits: (D, K, H, W) float.
        keypoints: (D, K, 3), see `draw_heatmaps`.
        stride: pixels of a cell.

    Returns:
        (D, K), 0 for keypoints that are not labelled.
    """
    height, width = logits.shape[-2:]
    x, y = _cells(keypoints, stride, (height, width)).unbind(2)
    rows, target = logits.reshape(-1, height * width), (y * width + x).flatten()
    losses = F.cross_entropy(rows, target, reduction="none").view(x.shape)
    return losses * (keypoints[..., 2] > 0)


def _steps(like: Tensor, count: int) -> Tensor:
    return torch.arange(count, device=like.device)


def ways_to_keypoints(
    keypoints: Tensor, size: tuple[int, int], stride: int, reach: float
) -> tuple[Tensor, Tensor]:
    """The way from the centre of each cell to the nearest keypoint of each kind.

    Args:
        keypoints: (M, K, 3), see `draw_heatmaps`.
        size: H and W.
        stride: pixels of a cell.
        reach: pixels; cells up to so far from a keypoint learn the way, which is in units of it.

    Returns:
        (K, 2, H, W) x and y; (K, H, W) bool, whether the cell learns it.
    """
    height, width = size
    rows, columns = ((_steps(keypoints, n) + 0.5) * stride for n in size)
    # With an object without labels, so that there always is one.
    padded = torch.cat([keypoints, keypoints.new_zeros(1, *keypoints.shape[1:])])
    x = (padded[..., 0, None, None] - columns).expand(-1, -1, height, width)
    y = (padded[..., 1, None, None] - rows[:, None]).expand(-1, -1, height, width)
    squares = (x**2 + y**2).masked_fill(padded[..., 2, None, None] <= 0, torch.inf)
    square, nearest = squares.min(dim=0, keepdim=True)
    ways = torch.cat([x.gather(0, nearest), y.gather(0, nearest)])
    return ways.transpose(0, 1) / reach, square[0] <= reach**2


def enlarged(logits: Tensor, factor: int) -> Tensor:
    """(D, K, H, W) heat maps with `factor` times as many cells along each axis, bilinear."""
    if factor == 1:
        return logits
    return F.interpolate(logits, scale_factor=float(factor), mode="bilinear", align_corners=False)


def peaks(logits: Tensor, stride: int, factor: int) -> tuple[Tensor, Tensor]:
    """The highest place of each heat map after `enlarged`.

    Args:
        logits: (D, K, H, W) float.
        stride: pixels of a cell.
        factor: see `enlarged`.

    Returns:
        (D, K, 2) centres of the best cells, x and y in pixels; (D, K) scores in (0, 1), the
        largest of the softmax of `logits`.
    """
    parts = [logits] if is_tracing() else logits.split(_AT_ONCE)
    place = torch.cat([enlarged(part, factor).flatten(2).argmax(dim=2) for part in parts])
    # Looked up, since ONNX's converter takes no remainder of a length that it does not know.
    rows, columns = (torch.arange(n * factor, device=place.device) for n in logits.shape[-2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    cell = torch.stack([x.flatten()[place], y.flatten()[place]], dim=2)
    return (cell + 0.5) * (stride / factor), logits.flatten(2).softmax(dim=2).amax(dim=2)


def moved(points: Tensor, ways: Tensor, stride: int, reach: float) -> Tensor:
    """Points after the way that is predicted where they are.

    Args:
        points: (N, D, K, 2) x and y in pixels, of each image.
        ways: (N, K * 2, H, W), in units of `reach`.
        stride: pixels of a cell of the ways.
        reach: pixels.

    Returns:
        (N, D, K, 2).
    """
    height, width = ways.shape[-2:]
    kinds = points.shape[2]
    x, y = points.unbind(3)
    shares = torch.stack([x / (stride * width), y / (stride * height)], dim=3)
    # One map of x and y for each image and kind.
    places = shares.transpose(1, 2).flatten(0, 1)
    maps = ways.float().unflatten(1, (kinds, 2)).flatten(0, 1)
    own = point_sample(maps, places, align_corners=False, padding_mode="border")
    found: Tensor = points + own.transpose(1, 2).unflatten(0, (-1, kinds)).transpose(1, 2) * reach
    return found
