"""The published address of the loss."""

from d2lite.modeling.deeplab import DeepLabCE

__all__ = ["DeepLabCE"]
