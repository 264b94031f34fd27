"""What the models of the DeepLab family share; their projects import it and so register it."""

from .backbone import DeepLabStem, build_resnet_deeplab_backbone
from .keys import add_deeplab_keys
from .loss import DeepLabCE, build_pixel_loss
from .parts import double_conv, prediction_conv, to_full_size
from .v3_head import DeepLabV3Head
from .v3_plus_head import DeepLabV3PlusHead

__all__ = [
    "DeepLabCE",
    "DeepLabStem",
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "add_deeplab_keys",
    "build_pixel_loss",
    "build_resnet_deeplab_backbone",
    "double_conv",
    "prediction_conv",
    "to_full_size",
]
