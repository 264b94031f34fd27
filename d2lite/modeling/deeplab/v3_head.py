"""The semantic head of DeepLab V3.

N images, K classes, H x W pixels of the padded network input, s the common stride.
"""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.layers import ASPP, ShapeSpec
from d2lite.utils.errors import ConfigError

from ..meta_arch.semantic_seg import SEM_SEG_HEADS_REGISTRY
from .parts import pool_size, prediction_conv, training_size, used_maps
from .pixel_head import PixelHead, classifier_arguments


@SEM_SEG_HEADS_REGISTRY.register()
class DeepLabV3Head(PixelHead):
    """ASPP on one map, and the prediction from it.

    Args:
        input_shape: the one feature map that is used, by name.
        aspp_channels: channels of every branch of ASPP.
        aspp_dilations: of the three dilated branches.
        aspp_dropout: see `ASPP`.
        common_stride: s, the stride of the map.
        norm: a name or a callable for `get_norm`.
        train_size: as for `DeepLabV3PlusHead`.
        num_classes: K.
        loss_weight: factor on the loss.
        loss_type: see `build_pixel_loss`.
        ignore_value: pixels of this label enter no loss.
        use_depthwise_separable_conv: make the dilated branches depthwise separable.

    Raises:
        ConfigError: for more than one map.

    Source: Chen 2017, arXiv:1706.05587.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        aspp_channels: int,
        aspp_dilations: Sequence[int],
        aspp_dropout: float,
        common_stride: int,
        norm: Any,
        train_size: tuple[int, int] | None,
        num_classes: int,
        loss_weight: float = 1.0,
        loss_type: str = "cross_entropy",
        ignore_value: int = -1,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        super().__init__(
            common_stride=common_stride,
            loss_weight=loss_weight,
            loss_type=loss_type,
            ignore_value=ignore_value,
        )
        if len(input_shape) != 1:
            raise ConfigError(
                f"DeepLabV3Head works on one map, not on {list(input_shape)}. Name one in "
                "MODEL.SEM_SEG_HEAD.IN_FEATURES, or use DeepLabV3PlusHead."
            )
        (shape,) = input_shape.values()
        self.in_features = list(input_shape)
        self.aspp = ASPP(
            shape.channels,
            aspp_channels,
            aspp_dilations,
            norm=norm,
            activation=F.relu,
            pool_kernel_size=pool_size(train_size, shape.stride),
            dropout=aspp_dropout,
            use_depthwise_separable_conv=use_depthwise_separable_conv,
        )
        self.predictor = prediction_conv(aspp_channels, num_classes)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.SEM_SEG_HEAD` and `INPUT.CROP`."""
        node = cfg.MODEL.SEM_SEG_HEAD
        return {
            "input_shape": used_maps(input_shape, node.IN_FEATURES),
            "aspp_channels": node.ASPP_CHANNELS,
            "aspp_dilations": node.ASPP_DILATIONS,
            "aspp_dropout": node.ASPP_DROPOUT,
            "common_stride": node.COMMON_STRIDE,
            "norm": node.NORM,
            "train_size": training_size(cfg),
            **classifier_arguments(node),
            "use_depthwise_separable_conv": node.USE_DEPTHWISE_SEPARABLE_CONV,
        }

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Maps by name -> (N, K, H / s, W / s) scores."""
        return self.predictor(self.aspp(features[self.in_features[0]]))
