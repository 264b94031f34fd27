"""YOLOv3: boxes relative to anchors of three sizes at the cells of three maps."""

from .config import add_yolov3_config
from .darknet import Darknet53, YOLOv3Pyramid, build_darknet53_backbone, build_yolov3_backbone
from .meta_arch import YOLOV3, YOLOv3Head

__all__ = [
    "YOLOV3",
    "Darknet53",
    "YOLOv3Head",
    "YOLOv3Pyramid",
    "add_yolov3_config",
    "build_darknet53_backbone",
    "build_yolov3_backbone",
]
