"""The backbone of SSD: VGG-16 with dilated convolutions at its end, and further layers.

N images.

Source: Liu 2016, arXiv:1512.02325, section 3; Simonyan 2014, arXiv:1409.1556, for VGG.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.modeling import BACKBONE_REGISTRY, Backbone
from d2lite.modeling.weight_init import glorot_fill, msra_fill
from d2lite.utils.errors import DataError

# Channels and convolutions of the blocks between two poolings.
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_LAST_CHANNELS = 1024
_FIRST_SCALE = 20.0


class ChannelNorm(nn.Module):
    """Divide the channels of each cell by their length, and scale them by learned weights.

    Source: Liu 2015, arXiv:1506.04579.
    """

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same shape."""
        # In float32, since the sum of squares may pass the range of float16.
        return (F.normalize(x.float(), dim=1) * self.weight[:, None, None]).to(x.dtype)


class ExtraLayer(nn.Module):
    """A convolution of 1 x 1 to half of the channels, then one that makes the map smaller."""

    def __init__(self, in_channels: int, channels: int, size: int, stride: int, pad: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels // 2, 1)
        self.conv2 = nn.Conv2d(channels // 2, channels, size, stride, pad)
        for conv in (self.conv1, self.conv2):
            glorot_fill(conv)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H', W')."""
        least = self.conv2.kernel_size[0] - 2 * int(self.conv2.padding[0])
        if min(x.shape[-2:]) < least:
            raise DataError(
                f"A map of {x.shape[-2]} x {x.shape[-1]} cells for a layer of SSD that needs "
                f"{least}: the images are too small. Resize them to the size of the recipe, or "
                "give the last of MODEL.SSD.EXTRA_LAYERS a padding."
            )
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class SSDVGG(Backbone):
    """Maps "conv4", "fc7" and one of each further layer, "extra1" and so on.

    Args:
        extra_layers: channels, size, stride and padding of each further layer.
        strides: of the maps, in pixels; where the anchors' centres are.
        freeze_at: so many of VGG's five blocks do not learn.
        in_channels: of the images.
    """

    def __init__(
        self,
        extra_layers: Sequence[Sequence[int]],
        strides: Sequence[int],
        *,
        freeze_at: int = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self._conv4, before = 0, in_channels
        for number, (channels, count) in enumerate(_BLOCKS, start=1):
            is_last = number == len(_BLOCKS)
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            if number <= freeze_at:
                for layer in layers:
                    layer.requires_grad_(False)
            if number == 4:
                self._conv4 = len(layers)
            # The last pooling keeps the size of its map, as the layers after it are dilated.
            layers.append(nn.MaxPool2d(3, 1, 1) if is_last else nn.MaxPool2d(2, ceil_mode=True))
        layers += [
            nn.Conv2d(before, _LAST_CHANNELS, 3, padding=6, dilation=6),
            nn.ReLU(),
            nn.Conv2d(_LAST_CHANNELS, _LAST_CHANNELS, 1),
            nn.ReLU(),
        ]
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                msra_fill(layer)
        self.features = nn.Sequential(*layers)
        self.l2_norm = ChannelNorm(before, _FIRST_SCALE)
        widths = [_LAST_CHANNELS, *(layer[0] for layer in extra_layers)]
        self.extra_layers = nn.ModuleList(
            ExtraLayer(width, *layer) for width, layer in zip(widths, extra_layers, strict=False)
        )
        names = ["conv4", "fc7", *(f"extra{i}" for i in range(1, len(extra_layers) + 1))]
        self._out_features = names
        self._out_feature_channels = dict(zip(names, [before, *widths], strict=True))
        self._out_feature_strides = dict(zip(names, strides, strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, in_channels, H, W) -> the maps by name."""
        x = self.features[: self._conv4](x)
        maps = [self.l2_norm(x)]
        x = self.features[self._conv4 :](x)
        maps.append(x)
        for layer in self.extra_layers:
            x = layer(x)
            maps.append(x)
        return dict(zip(self._out_features, maps, strict=True))


@BACKBONE_REGISTRY.register()
def build_ssd_vgg_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SSDVGG:
    """VGG and the further layers, as `MODEL.SSD` describes them."""
    node = cfg.MODEL.SSD
    return SSDVGG(
        node.EXTRA_LAYERS,
        node.STRIDES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        in_channels=input_shape.channels,
    )
