from itertools import pairwise

from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn


class TinyBackbone(Backbone):
    """Three strided convolutions, and one map of stride 8."""

    def __init__(self, in_channels, width):
        super().__init__()
        widths = [in_channels, width, width, width]
        self.stages = nn.Sequential(
            *(
                Conv2d(a, b, 3, stride=2, padding=1, norm=get_norm("BN", b), activation=nn.ReLU())
                for a, b in pairwise(widths)
            )
        )
        self._out_features = ["c3"]
        self._out_feature_channels = {"c3": width}
        self._out_feature_strides = {"c3": 8}

    def forward(self, x):
        return {"c3": self.stages(x)}

    def output_shape(self):
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }


@BACKBONE_REGISTRY.register()
def build_tiny_backbone(cfg, input_shape):
    return TinyBackbone(input_shape.channels, cfg.TINYDET.WIDTH)
