"""Names of weights in files of other libraries, and the tables that turn them into ours."""

from .c2_detectron_names import convert_c2_detectron_names
from .c2_names import convert_basic_c2_names
from .detr_names import (
    convert_transformers_detr,
    is_original_detr,
    is_transformers_detr,
    rename_original_detr,
)
from .mmdet_names import (
    is_mmdet_rcnn,
    is_mmdet_rtmdet,
    rename_mmdet_rcnn,
    rename_mmdet_rtmdet,
)
from .rtdetr_names import (
    convert_transformers_rtdetr,
    is_original_rtdetr,
    is_transformers_rtdetr,
    rename_original_rtdetr,
)
from .torchvision_detectors import convert_torchvision_detector, is_torchvision_detector
from .torchvision_names import is_torchvision_resnet, rename_torchvision_resnet
from .transformers_mask2former import (
    convert_transformers_mask2former,
    is_transformers_mask2former,
    rename_first_mask2former,
)
from .transformers_vit import (
    convert_transformers_vit,
    is_original_eomt,
    is_transformers_vit,
    rename_original_eomt,
)

__all__ = [
    "convert_basic_c2_names",
    "convert_c2_detectron_names",
    "convert_torchvision_detector",
    "convert_transformers_detr",
    "convert_transformers_mask2former",
    "convert_transformers_rtdetr",
    "convert_transformers_vit",
    "is_mmdet_rcnn",
    "is_mmdet_rtmdet",
    "is_original_detr",
    "is_original_eomt",
    "is_original_rtdetr",
    "is_torchvision_detector",
    "is_torchvision_resnet",
    "is_transformers_detr",
    "is_transformers_mask2former",
    "is_transformers_rtdetr",
    "is_transformers_vit",
    "rename_first_mask2former",
    "rename_mmdet_rcnn",
    "rename_mmdet_rtmdet",
    "rename_original_detr",
    "rename_original_eomt",
    "rename_original_rtdetr",
    "rename_torchvision_resnet",
]
