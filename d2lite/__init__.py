"""d2lite: the detection and instance-segmentation library that detectron2 users move to."""

from .utils.threads import limit_spinning

__version__ = "0.1.0"

limit_spinning()
