"""The layers of FCPose beside those of FCOS.

N images, K keypoints, P bases, Hi x Wi cells of level i, R cells of all levels, D objects.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers.batch_norm import Norm
from d2lite.modeling.meta_arch.fcos import FCOSHead
from d2lite.modeling.weight_init import conv_relu, msra_fill, normal_fill, prior_fill

# Share of cells that are a keypoint at the start.
_PRIOR = 0.01
_NUM_CONVS = 3


class FCPoseHead(FCOSHead):
    """The head of FCOS, with the features that boxes are predicted from as one more result."""

    def forward(  # type: ignore[override]
        self, features: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """What `FCOSHead` gives, and one (N, channels, Hi, Wi) a level."""
        self._begin(features)
        about_boxes = [self.bbox_subnet(x) for x in features]
        return (
            [self.cls_score(self.cls_subnet(x)) for x in features],
            [self.bbox_pred(x) for x in about_boxes],
            [self.ctrness(x) for x in about_boxes],
            about_boxes,
        )


class Controller(nn.Conv2d):
    """A 3 x 3 convolution to the numbers of an object's convolutions, run at chosen cells alone.

    There are thousands of numbers, and few of all cells have an object.

    Args:
        channels: of the features.
        count: of numbers.
    """

    def __init__(self, channels: int, count: int) -> None:
        super().__init__(channels, count, 3, padding=1)
        normal_fill(self, std=0.01)

    def at(self, features: Sequence[Tensor], image: Tensor, cell: Tensor) -> Tensor:
        """What the convolution gives at cells.

        Args:
            features: one (N, channels, Hi, Wi) a level.
            image: (D,) int64.
            cell: (D,) int64, of the R cells.

        Returns:
            (D, count).
        """
        flat, corners, steps, first = [], [], [], 0
        for x in features:
            height, width = x.shape[-2:]
            rows, columns = (torch.arange(n, device=x.device) for n in (height, width))
            # Where the nine values of a cell begin, and how far the next row of values is.
            corners.append((first + rows[:, None] * (width + 2) + columns).flatten())
            steps.append(torch.full_like(corners[-1], width + 2))
            flat.append(F.pad(x, (1, 1, 1, 1)).flatten(2))
            first += (height + 2) * (width + 2)
        taps = torch.arange(3, device=cell.device)
        place = torch.cat(corners)[cell][:, None, None] + taps
        place = place + taps[:, None] * torch.cat(steps)[cell][:, None, None]
        # (D, 9, channels)
        values = torch.cat(flat, dim=2).transpose(1, 2)[image[:, None], place.flatten(1)]
        weight = self.weight.flatten(2).transpose(1, 2)
        return F.linear(values.flatten(1), weight.flatten(1), self.bias)


class BasisModule(nn.Module):
    """What all objects of an image share: bases, ways to keypoints, and heat maps of all together.

    Args:
        num_levels: of doubling strides.
        in_channels: of each level.
        channels: of the convolutions.
        num_bases: P.
        num_keypoints: K.
        norm: see `get_norm`.
        num_classes: of objects, for logits of the class of each cell with the background as the
            first; 0 for none.
    """

    def __init__(
        self,
        num_levels: int,
        in_channels: int,
        *,
        channels: int,
        num_bases: int,
        num_keypoints: int,
        norm: Norm,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.num_bases = num_bases
        self.refine = nn.ModuleList(
            conv_relu(in_channels, channels, norm) for _ in range(num_levels)
        )
        self.tower = nn.Sequential(
            *(conv_relu(channels, channels, norm) for _ in range(_NUM_CONVS))
        )
        self.bases = nn.Conv2d(channels, num_bases, 1)
        self.heatmaps = nn.Sequential(
            conv_relu(channels, channels, norm), nn.Conv2d(channels, num_keypoints, 1)
        )
        self.ways = nn.Sequential(
            conv_relu(channels, channels, norm), nn.Conv2d(channels, 2 * num_keypoints, 1)
        )
        self.classes = None
        if num_classes:
            self.classes = nn.Sequential(
                conv_relu(channels, channels, norm), nn.Conv2d(channels, num_classes + 1, 1)
            )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                msra_fill(layer)
        for branch in (self.heatmaps, self.ways):
            normal_fill(branch[1], std=0.01)
        prior_fill(self.heatmaps[1], _PRIOR)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Mix the levels.

        Args:
            features: one (N, in_channels, Hi, Wi) a level, finest first.

        Returns:
            (N, P, H0, W0) bases; (N, 2 * K, H0, W0) ways to the keypoints; and the features
            (N, channels, H0, W0) that `heatmaps` makes logits of keypoints from, and
            `classes` those of the class of each cell.
        """
        first, *others = (layer(x) for layer, x in zip(self.refine, features, strict=True))
        for x in others:
            first = first + F.interpolate(
                x, size=first.shape[-2:], mode="bilinear", align_corners=False
            )
        mixed = self.tower(first)
        return self.bases(mixed), self.ways(mixed), mixed
