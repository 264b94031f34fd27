"""The semantic head of DeepLab V3+.

N images, K classes, H x W pixels of the padded network input, s the common stride.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ASPP, ShapeSpec
from d2lite.utils.errors import ConfigError

from ..meta_arch.semantic_seg import SEM_SEG_HEADS_REGISTRY
from ..weight_init import filled_conv, xavier_fill
from .parts import double_conv, pool_size, prediction_conv, training_size, used_maps
from .pixel_head import PixelHead, classifier_arguments


@SEM_SEG_HEADS_REGISTRY.register()
class DeepLabV3PlusHead(PixelHead):
    """ASPP on the coarsest map; then, map by map to the finest, enlarge, append and convolve.

    Args:
        input_shape: the feature maps that are used, by name.
        project_channels: channels that each map but the coarsest is reduced to, fine to coarse.
        aspp_dilations: of the three dilated branches.
        aspp_dropout: see `ASPP`.
        decoder_channels: channels after each map, fine to coarse; the last ones are those of ASPP.
        common_stride: s, the stride of the finest map.
        norm: a name or a callable for `get_norm`.
        train_size: (height, width) of the training crops, which ASPP pools over; None for the
            whole map.
        loss_weight: factor on the loss.
        loss_type: see `build_pixel_loss`.
        ignore_value: pixels of this label enter no loss.
        num_classes: K; None for a decoder without prediction, whose `forward` gives the map.
        use_depthwise_separable_conv: make the convolutions of ASPP and decoder depthwise separable.

    Raises:
        ConfigError: if the lists do not fit the maps.

    Source: Chen 2018, arXiv:1802.02611, figure 2.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        project_channels: Sequence[int],
        aspp_dilations: Sequence[int],
        aspp_dropout: float,
        decoder_channels: Sequence[int],
        common_stride: int,
        norm: Any,
        train_size: tuple[int, int] | None,
        loss_weight: float = 1.0,
        loss_type: str = "cross_entropy",
        ignore_value: int = -1,
        num_classes: int | None = None,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        super().__init__(
            common_stride=common_stride,
            loss_weight=loss_weight,
            loss_type=loss_type,
            ignore_value=ignore_value,
        )
        names = sorted(input_shape, key=lambda name: input_shape[name].stride)
        *finer, coarsest = names
        if len(project_channels) != len(finer) or len(decoder_channels) != len(names):
            raise ConfigError(
                f"The decoder has the maps {', '.join(names)} (IN_FEATURES), but PROJECT_CHANNELS "
                f"is {list(project_channels)}. Give one number for each map but the coarsest."
            )
        self.in_features = names
        self.decoder_only = num_classes is None
        self.decoder: Any = nn.ModuleDict()
        for i, name in enumerate(finer):
            reduced, channels = project_channels[i], decoder_channels[i]
            stage = nn.ModuleDict()
            stage["project_conv"] = filled_conv(
                xavier_fill, input_shape[name].channels, reduced, 1, norm, activation=F.relu
            )
            stage["fuse_conv"] = double_conv(
                reduced + decoder_channels[i + 1],
                channels,
                channels,
                norm=norm,
                separable=use_depthwise_separable_conv,
            )
            self.decoder[name] = stage
        shape = input_shape[coarsest]
        aspp = ASPP(
            shape.channels,
            decoder_channels[-1],
            aspp_dilations,
            norm=norm,
            activation=F.relu,
            pool_kernel_size=pool_size(train_size, shape.stride),
            dropout=aspp_dropout,
            use_depthwise_separable_conv=use_depthwise_separable_conv,
        )
        self.decoder[coarsest] = nn.ModuleDict({"project_conv": aspp})
        if num_classes is not None:
            self.predictor = prediction_conv(decoder_channels[0], num_classes)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.SEM_SEG_HEAD` and `INPUT.CROP`."""
        node = cfg.MODEL.SEM_SEG_HEAD
        return {
            **cls.decoder_arguments(cfg, node, input_shape),
            **classifier_arguments(node),
            "use_depthwise_separable_conv": node.USE_DEPTHWISE_SEPARABLE_CONV,
        }

    @staticmethod
    def decoder_arguments(
        cfg: CfgNode, node: CfgNode, input_shape: dict[str, ShapeSpec]
    ) -> dict[str, Any]:
        """The arguments of a decoder.

        Args:
            cfg: its INPUT.CROP is read.
            node: with IN_FEATURES, PROJECT_CHANNELS, ASPP_DILATIONS, ASPP_DROPOUT, ASPP_CHANNELS,
                CONVS_DIM, COMMON_STRIDE and NORM.
            input_shape: the feature maps of the backbone, by name.
        """
        num_finer = len(node.IN_FEATURES) - 1
        return {
            "input_shape": used_maps(input_shape, node.IN_FEATURES),
            "project_channels": node.PROJECT_CHANNELS,
            "aspp_dilations": node.ASPP_DILATIONS,
            "aspp_dropout": node.ASPP_DROPOUT,
            "decoder_channels": [node.CONVS_DIM] * num_finer + [node.ASPP_CHANNELS],
            "common_stride": node.COMMON_STRIDE,
            "norm": node.NORM,
            "train_size": training_size(cfg),
        }

    def decode(self, features: dict[str, Tensor]) -> Tensor:
        """Maps by name -> (N, decoder_channels[0], H / s, W / s)."""
        *finer, coarsest = self.in_features
        y = self.decoder[coarsest]["project_conv"](features[coarsest])
        for name in reversed(finer):
            projected = self.decoder[name]["project_conv"](features[name])
            y = F.interpolate(y, size=projected.shape[-2:], mode="bilinear", align_corners=False)
            y = self.decoder[name]["fuse_conv"](torch.cat([projected, y], dim=1))
        return y

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Maps by name -> (N, K, H / s, W / s) scores, or the decoded map without classes."""
        decoded = self.decode(features)
        return decoded if self.decoder_only else self.predictor(decoded)

    def forward(self, features: dict[str, Tensor], targets: Tensor | None = None) -> Any:
        """See `PixelHead.forward`; without classes the decoded map alone."""
        return self.decode(features) if self.decoder_only else super().forward(features, targets)
