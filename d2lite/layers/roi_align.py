"""ROIAlign over torchvision's operator, with the half-pixel convention stated."""

import torch
from torch import Tensor, nn
from torch._jit_internal import is_scripting
from torchvision.ops import roi_align

from ..utils.errors import ArgumentError
from .separable_roi_align import separable_is_faster, separable_roi_align

__all__ = ["ROIAlign", "roi_align"]


class BinPooling(nn.Module):
    """The settings that pooling of upright and of rotated boxes have in common."""

    def __init__(
        self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int
    ) -> None:
        """Keep the settings.

        Args:
            output_size: bins, (height, width) or one number for both.
            spatial_scale: cells of the feature map per unit of the box coordinates.
            sampling_ratio: samples per bin and axis; 0 takes as many as the bin has cells.
        """
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    @property
    def num_bins(self) -> tuple[int, int]:
        """Rows and columns of bins."""
        size = self.output_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    def extra_repr(self) -> str:
        """The options that repr() shows."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}"
        )


class ROIAlign(BinPooling):
    """Average of bilinear samples in each of the bins a box is cut into.

    Box coordinates are continuous: pixel i spans [i, i + 1) and its value is at i + 0.5. With
    `aligned` samples are read by this convention; without it values are assumed at i, half a
    pixel off, and boxes are at least one cell wide, as in the first code of Mask R-CNN.

    Source: He 2017, arXiv:1703.06870.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = True,
    ) -> None:
        """Keep the settings: those of `BinPooling`, and whether the convention is kept."""
        super().__init__(output_size, spatial_scale, sampling_ratio)
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool.

        Args:
            input: (N, C, H, W) float.
            rois: (R, 5) float, each (index into N, x0, y0, x1, y1).

        Returns:
            (R, C, output_height, output_width), dtype of the input.

        Raises:
            ArgumentError: if rois is not (R, 5).
        """
        if rois.dim() != 2 or rois.shape[1] != 5:
            raise ArgumentError(
                f"rois of ROIAlign have shape {list(rois.shape)}; "
                "give (R, 5): image index, x0, y0, x1, y1."
            )
        # Half precision would round a corner at x = 1500 to whole pixels.
        exact = torch.promote_types(input.dtype, torch.float32)
        maps, boxes = input.to(exact), rois.to(exact)
        scale, ratio = self.spatial_scale, self.sampling_ratio
        # TorchScript compiles the operator alone.
        if is_scripting():
            pooled = roi_align(maps, boxes, self.num_bins, scale, ratio, self.aligned)
        elif separable_is_faster(input):
            pooled = separable_roi_align(maps, boxes, self.num_bins, scale, ratio, self.aligned)
        else:
            pooled = roi_align(maps, boxes, self.num_bins, scale, ratio, self.aligned)
        return pooled.to(input.dtype)

    def extra_repr(self) -> str:
        """The options that repr() shows."""
        return f"{super().extra_repr()}, aligned={self.aligned}"
