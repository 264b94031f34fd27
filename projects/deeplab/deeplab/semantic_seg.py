"""The published address of the heads."""

from d2lite.modeling.deeplab import DeepLabV3Head, DeepLabV3PlusHead

__all__ = ["DeepLabV3Head", "DeepLabV3PlusHead"]
