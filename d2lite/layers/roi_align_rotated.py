"""ROIAlign for rotated boxes, with plain torch operations.

N images, C channels, R boxes, P x Q bins, S x T samples a bin.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..utils.errors import ArgumentError
from .roi_align import BinPooling

__all__ = ["ROIAlignRotated", "roi_align_rotated"]


class ROIAlignRotated(BinPooling):
    """Average of bilinear samples in each bin of a rotated box.

    Coordinates are continuous: the value of cell i is at i + 0.5.
    """

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool.

        Args:
            input: (N, C, H, W) float.
            rois: (R, 6) float, each (index into N, centre x, centre y, width, height, degrees
                counter-clockwise on the screen).

        Returns:
            (R, C, P, Q), dtype of the input.

        Raises:
            ArgumentError: if rois is not (R, 6).
        """
        if rois.dim() != 2 or rois.shape[1] != 6:
            raise ArgumentError(
                f"rois of ROIAlignRotated have shape {list(rois.shape)}; "
                "give (R, 6): image index, centre x, centre y, width, height, degrees."
            )
        bins = self.num_bins
        # Sample places need more digits than half precision has, whatever the features are.
        exact = torch.promote_types(input.dtype, torch.float32)
        boxes = rois.to(exact)
        boxes = torch.cat([boxes[:, :1], boxes[:, 1:5] * self.spatial_scale, boxes[:, 5:]], dim=1)
        # Boxes of one image with equally many samples are pooled together. The zero keeps the
        # graph whole when there is no box.
        rows_R, columns_R = self._samples_per_bin(boxes, bins)
        keys = torch.stack([boxes[:, 0].long(), rows_R, columns_R], dim=1)
        pooled = input.new_zeros((len(rois), input.shape[1], bins[0], bins[1])) + input.sum() * 0
        # A box without an area has no samples, and stays zero.
        keys_with_samples = keys[(keys[:, 1:] > 0).all(dim=1)]
        for key in torch.unique(keys_with_samples, dim=0):
            image, rows, columns = int(key[0]), int(key[1]), int(key[2])
            members = (keys == key).all(dim=1).nonzero()[:, 0]
            places = _sample_places(boxes[members], bins, (rows, columns))
            values = _read(input[image].to(exact), places)
            means = values.unflatten(3, (bins[1], columns)).unflatten(2, (bins[0], rows))
            pooled = pooled.index_copy(0, members, means.mean(dim=(3, 5)).to(input.dtype))
        return pooled

    def _samples_per_bin(self, boxes: Tensor, bins: tuple[int, int]) -> tuple[Tensor, Tensor]:
        if self.sampling_ratio > 0:
            fixed = torch.full_like(boxes[:, 0], self.sampling_ratio, dtype=torch.int64)
            return fixed, fixed
        rows = (boxes[:, 4] / bins[0]).ceil().long()
        columns = (boxes[:, 3] / bins[1]).ceil().long()
        return rows, columns


def roi_align_rotated(
    input: Tensor,
    roi: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
) -> Tensor:
    """`ROIAlignRotated` as a function; arguments as of its constructor and `forward`."""
    pooled: Tensor = ROIAlignRotated(output_size, spatial_scale, sampling_ratio)(input, roi)
    return pooled


def _sample_places(boxes: Tensor, bins: tuple[int, int], samples: tuple[int, int]) -> Tensor:
    """(R, P * S, Q * T, 2) x, y of the samples, in cells from the centre of cell (0, 0)."""
    _, centre_x, centre_y, width, height, degrees = boxes[:, :, None, None].unbind(1)
    rows = _sample_centres(bins[0] * samples[0], boxes)
    columns = _sample_centres(bins[1] * samples[1], boxes)
    down, right = rows[:, None] * height, columns * width
    cos, sin = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    x = centre_x + right * cos + down * sin
    y = centre_y + down * cos - right * sin
    return torch.stack([x, y], dim=-1) - 0.5


def _sample_centres(count: int, like: Tensor) -> Tensor:
    """(count,) of the centres of equal parts of [-0.5, 0.5]."""
    return (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count - 0.5


def _read(feature: Tensor, places: Tensor) -> Tensor:
    """(R, C, ...) bilinear values of a (C, H, W) map; 0 from one cell beyond its border on."""
    height, width = feature.shape[-2:]
    x, y = places.unbind(-1)
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    last = torch.tensor(
        [max(width - 1, 1), max(height - 1, 1)], dtype=places.dtype, device=places.device
    )
    grid = (places / last * 2 - 1).flatten(0, 1)[None]
    values = F.grid_sample(
        feature[None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )[0]
    values = values.unflatten(1, places.shape[:2]).transpose(0, 1)
    return values * inside[:, None]
