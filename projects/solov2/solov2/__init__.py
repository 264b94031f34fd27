"""SOLOv2 (Wang et al., NeurIPS 2020): instance segmentation by locations, without boxes."""

from .config import add_solov2_config
from .matrix_nms import mask_nms, matrix_nms, point_nms
from .meta_arch import SOLOv2

__all__ = ["SOLOv2", "add_solov2_config", "mask_nms", "matrix_nms", "point_nms"]
