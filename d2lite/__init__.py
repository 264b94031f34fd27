"""d2lite: the detection and instance-segmentation library that detectron2 users move to."""

from .utils.threads import wait_politely

__version__ = "0.1.0"

wait_politely()
