"""Keypoints of objects, and their way to heatmaps and back.

N objects, K keypoints an object, S x S cells of a heatmap.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2lite.utils.errors import ArgumentError
from d2lite.utils.tracing import is_tracing

from ..layers.wrappers import cat

__all__ = ["Keypoints", "heatmaps_to_keypoints", "heatmaps_to_keypoints_padded"]

# Bytes of upscaled heatmaps that exist at one time.
_BYTES_AT_ONCE = 256 * 1024**2


class Keypoints:
    """The keypoints of N objects, each x, y in pixels and a visibility.

    Visibility is as in COCO: 0 not labelled, 1 labelled but hidden, 2 seen.

    Attributes:
        tensor: (N, K, 3) float32.
    """

    def __init__(self, keypoints: Tensor | np.ndarray[Any, Any] | Sequence[Any]) -> None:
        """Wrap keypoints.

        Args:
            keypoints: (N, K, 3).

        Raises:
            ArgumentError: if the shape is another.
        """
        points = torch.as_tensor(keypoints).to(torch.float32)
        if points.dim() != 3 or points.shape[2] != 3:
            raise ArgumentError(
                f"Keypoints got shape {tuple(points.shape)}; give (N, K, 3): x, y, visibility."
            )
        self.tensor = points

    def __len__(self) -> int:
        """How many objects there are."""
        return int(self.tensor.shape[0])

    def to(self, *args: Any, **kwargs: Any) -> "Keypoints":
        """The keypoints after `Tensor.to` with the same arguments."""
        return type(self)(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self.tensor.device

    def to_heatmap(self, boxes: Tensor, heatmap_size: int) -> tuple[Tensor, Tensor]:
        """The cell of each keypoint on a heatmap laid over its object's box.

        Args:
            boxes: (N, 4) xyxy in pixels.
            heatmap_size: S, cells along a side.

        Returns:
            (N, K) int64 indices into the S * S cells, row by row, 0 where there is none; and
            (N, K) int64, 1 where the keypoint is labelled and in the box.
        """
        return _keypoints_to_heatmap(self.tensor, boxes, heatmap_size)

    def __getitem__(self, item: int | slice | Tensor) -> "Keypoints":
        """Pick objects by an integer (one object), a slice, a bool mask or indices."""
        picked = self.tensor[item]
        return Keypoints(picked[None] if isinstance(item, int) else picked)

    def __repr__(self) -> str:
        """How many there are."""
        return f"Keypoints(num_instances={len(self)})"

    @staticmethod
    def cat(keypoints_list: "Sequence[Keypoints]") -> "Keypoints":
        """All objects of a list in one.

        Raises:
            ArgumentError: if the list is empty.
        """
        return Keypoints(cat([k.tensor for k in keypoints_list]))


def _keypoints_to_heatmap(
    keypoints: Tensor, rois: Tensor, heatmap_size: int
) -> tuple[Tensor, Tensor]:
    """`Keypoints.to_heatmap` of (N, K, 3) x, y and visibility in (N, 4) boxes."""
    low, high = rois[:, None, :2], rois[:, None, 2:]
    points, visibility = keypoints[..., :2], keypoints[..., 2]
    cells = ((points - low) * (heatmap_size / (high - low))).floor().long()
    # The far border belongs to the last cell.
    cells = torch.where(points == high, heatmap_size - 1, cells)
    inside = ((cells >= 0) & (cells < heatmap_size)).all(dim=2)
    valid = (inside & (visibility > 0)).long()
    return (cells[..., 1] * heatmap_size + cells[..., 0]) * valid, valid


@torch.no_grad()
def heatmaps_to_keypoints(maps: Tensor, rois: Tensor) -> Tensor:
    """The most likely place of each keypoint.

    Every heatmap is stretched bicubically over the pixels of its box (sides rounded up) and the
    centre of the best pixel is taken.

    Args:
        maps: (N, K, S, S) logits.
        rois: (N, 4) boxes, xyxy in pixels.

    Returns:
        (N, K, 4) float32: x and y in pixels, the logit there, and a score: the best
        pixel's share of the exponentials of the map's cells.
    """
    maps, rois = maps.float(), rois.float()
    count, kinds, cells = maps.shape[:3]
    found = maps.new_zeros((count, kinds, 4))
    sides = (rois[:, 2:] - rois[:, :2]).clamp(min=1)
    pixels = sides.ceil()
    for rows, height, width in _groups(pixels, 4 * kinds):
        logits = maps[rows]
        down = _bicubic_weights(cells, pixels[rows, 1], height)
        across = _bicubic_weights(cells, pixels[rows, 0], width)
        stretched = down[:, None] @ logits @ across[:, None].mT
        inside = (
            _within(pixels[rows, 1], height)[:, :, None] & _within(pixels[rows, 0], width)[:, None]
        )
        best, place = stretched.masked_fill(~inside[:, None], -torch.inf).flatten(2).max(dim=2)
        # Row and column of the best pixel, as fractions of the box; x before y.
        cell = torch.stack([place % width, place // width], dim=2) + 0.5
        found[rows, :, :2] = rois[rows, None, :2] + cell * (sides / pixels)[rows, None]
        found[rows, :, 2] = best
        found[rows, :, 3] = (best - logits.flatten(2).logsumexp(dim=2)).exp()
    return found


# Pixels of an axis that are looked at first, for each cell; and pixels to each side of the best.
_FIRST_PIXELS, _NEXT_PIXELS = 2, 12


def heatmaps_to_keypoints_padded(maps: Tensor, rois: Tensor) -> Tensor:
    """`heatmaps_to_keypoints` in a form whose memory does not depend on the size of the boxes.

    Of a box with more pixels than twice the cells, a grid of so many is looked at first, and then
    all pixels around the best of them. That is the best pixel of the box where one peak is clearly
    the highest, and no side is longer than 24 times the cells.

    Args:
        maps: (N, K, S, S) logits.
        rois: (N, 4) boxes, xyxy in pixels.

    Returns:
        As `heatmaps_to_keypoints`.
    """
    maps, rois = maps.float(), rois.float()
    cells = maps.shape[2]
    sides = (rois[:, 2:] - rois[:, :2]).clamp(min=1)
    lengths = sides.ceil()[:, None, :, None]
    steps = torch.arange(_FIRST_PIXELS * cells, device=maps.device, dtype=torch.float32)
    # (N, 1, 2, P): pixels of x and of y.
    pixels = ((steps + 0.5) * lengths / len(steps)).floor()
    best, chosen = _best_of(maps, pixels, lengths)
    around = torch.arange(-_NEXT_PIXELS, _NEXT_PIXELS + 1, device=maps.device)
    pixels = (chosen[..., None] + around).clamp(min=0).minimum(lengths - 1)
    best, chosen = _best_of(maps, pixels, lengths)
    place = (chosen + 0.5) * (sides / lengths[:, 0, :, 0])[:, None]
    score = (best - maps.flatten(2).logsumexp(dim=2)).exp()
    return torch.cat([rois[:, None, :2] + place, best[..., None], score[..., None]], dim=2)


def _best_of(maps: Tensor, pixels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The highest logit on a grid of (N, 1 or K, 2, P) pixels: (N, K), and its (N, K, 2) x, y."""
    across, down = _weights_at(pixels, lengths, maps.shape[-1]).unbind(2)
    best, place = (down @ maps @ across.mT).flatten(2).max(dim=2)
    count = pixels.shape[-1]
    axes = pixels.expand(-1, maps.shape[1], -1, -1).unbind(2)
    x, y = (
        axis.gather(2, number[..., None])[..., 0]
        for axis, number in zip(axes, (place % count, place // count), strict=True)
    )
    return best, torch.stack([x, y], dim=2)


def _groups(pixels: Tensor, bytes_a_pixel: int) -> Iterator[tuple[Tensor, Any, Any]]:
    """Rows of boxes of similar size, and the largest height and width among them."""
    if is_tracing():  # sizes would become constants, so there is one group
        width, height = torch.cat([pixels, pixels.new_ones(1, 2)]).amax(dim=0).long()
        yield torch.arange(pixels.shape[0], device=pixels.device), height, width
        return
    # The one wait for the device: the sizes decide how many maps fit into memory together.
    sizes = [(int(height), int(width)) for width, height in pixels.tolist()]
    for members in _groups_of_similar_size(sizes, bytes_a_pixel):
        rows = torch.tensor(members, device=pixels.device)
        yield rows, max(sizes[i][0] for i in members), max(sizes[i][1] for i in members)


def _groups_of_similar_size(sizes: list[tuple[int, int]], bytes_a_pixel: int) -> list[list[int]]:
    """Indices, grouped so that a group padded to its largest member keeps to the memory."""
    groups: list[list[int]] = []
    frame = (0, 0)
    for index in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        frame = (max(frame[0], sizes[index][0]), max(frame[1], sizes[index][1]))
        members = len(groups[-1]) + 1 if groups else 1
        if not groups or members * frame[0] * frame[1] * bytes_a_pixel > _BYTES_AT_ONCE:
            groups.append([])
            frame = sizes[index]
        groups[-1].append(index)
    return groups


def _within(lengths: Tensor, padded: int) -> Tensor:
    """(N, padded) bool: the first `lengths[i]` entries of row i."""
    return torch.arange(padded, device=lengths.device) < lengths[:, None]


def _bicubic_weights(cells: int, lengths: Tensor, padded: int) -> Tensor:
    """(N, padded, cells): weights that stretch `cells` samples to `lengths[i]` pixels.

    Cubic convolution with a = -0.75; samples beyond the border repeat the last one.
    Source: Keys 1981, IEEE Trans. ASSP 29(6).
    """
    pixels = torch.arange(padded, device=lengths.device, dtype=torch.float32)
    return _weights_at(pixels, lengths[:, None], cells)


def _weights_at(pixels: Tensor, lengths: Tensor, cells: int) -> Tensor:
    """(..., P, cells): the weights of `_bicubic_weights` at some pixels of axes of some lengths."""
    a = -0.75
    places = (pixels + 0.5) * (cells / lengths) - 0.5
    base = places.floor()
    weights = places.new_zeros((*places.shape, cells))
    for tap in (-1, 0, 1, 2):
        distance = (places - base - tap).abs()
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        value = torch.where(distance <= 1, near, far)
        sample = (base + tap).clamp(0, cells - 1).long()
        weights = weights.scatter_add(-1, sample[..., None], value[..., None])
    return weights
