"""The published address of the backbone."""

from d2lite.modeling.deeplab import DeepLabStem, build_resnet_deeplab_backbone

__all__ = ["DeepLabStem", "build_resnet_deeplab_backbone"]
