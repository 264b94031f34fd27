"""Which models of other libraries are known, each by the names in its files."""

from .detr_names import (
    convert_transformers_detr,
    is_original_detr,
    is_transformers_detr,
    rename_original_detr,
)
from .mmdet_dense_names import convert_mmdet_dense, is_mmdet_dense
from .mmdet_names import MMDET_RTMDET, is_mmdet_rcnn, rename_mmdet_rcnn
from .mmdet_query_names import is_mmdet_query, rename_mmdet_query
from .renaming import WholeModel
from .rtdetr_names import (
    convert_transformers_rtdetr,
    is_original_rtdetr,
    is_transformers_rtdetr,
    rename_original_rtdetr,
)
from .ssd_names import MMDET_SSD, MMDET_SSDLITE, convert_torchvision_ssd, is_torchvision_ssd
from .torchvision_detectors import convert_torchvision_detector, is_torchvision_detector
from .transformers_mask2former import (
    convert_transformers_mask2former,
    is_transformers_mask2former,
)
from .transformers_vit import is_original_eomt, rename_original_eomt
from .yolo_names import MMDET_YOLOV3, MMDET_YOLOX, ORIGINAL_YOLOX

# The first that fits is taken; names of some original repositories are in others, too.
WHOLE_MODELS = (
    WholeModel(is_torchvision_detector, convert_torchvision_detector),
    WholeModel(is_transformers_mask2former, convert_transformers_mask2former),
    WholeModel(is_transformers_rtdetr, convert_transformers_rtdetr),
    WholeModel(is_transformers_detr, convert_transformers_detr),
    WholeModel(is_original_detr, rename_original_detr),
    WholeModel(is_original_rtdetr, rename_original_rtdetr),
    WholeModel(is_original_eomt, rename_original_eomt),
    MMDET_RTMDET,
    WholeModel(is_mmdet_rcnn, rename_mmdet_rcnn),
    MMDET_SSD,
    MMDET_SSDLITE,
    WholeModel(is_torchvision_ssd, convert_torchvision_ssd),
    MMDET_YOLOX,
    MMDET_YOLOV3,
    ORIGINAL_YOLOX,
    WholeModel(is_mmdet_dense, convert_mmdet_dense),
    WholeModel(is_mmdet_query, rename_mmdet_query),
)
