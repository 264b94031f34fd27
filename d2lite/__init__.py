"""d2lite: the detection and instance-segmentation library that detectron2 users move to."""

__version__ = "0.1.0"
