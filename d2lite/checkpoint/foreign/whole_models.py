"""Which models of other libraries are known, each by the names in its files."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from .detr_names import (
    convert_transformers_detr,
    is_original_detr,
    is_transformers_detr,
    rename_original_detr,
)
from .mmdet_dense_names import convert_mmdet_dense, is_mmdet_dense
from .mmdet_names import (
    is_mmdet_rcnn,
    is_mmdet_rtmdet,
    rename_mmdet_rcnn,
    rename_mmdet_rtmdet,
)
from .mmdet_query_names import is_mmdet_query, rename_mmdet_query
from .rtdetr_names import (
    convert_transformers_rtdetr,
    is_original_rtdetr,
    is_transformers_rtdetr,
    rename_original_rtdetr,
)
from .ssd_names import (
    convert_torchvision_ssd,
    is_mmdet_ssd,
    is_mmdet_ssdlite,
    is_torchvision_ssd,
    rename_mmdet_ssd,
    rename_mmdet_ssdlite,
)
from .torchvision_detectors import convert_torchvision_detector, is_torchvision_detector
from .transformers_mask2former import (
    convert_transformers_mask2former,
    is_transformers_mask2former,
)
from .transformers_vit import is_original_eomt, rename_original_eomt
from .yolo_names import (
    is_mmdet_yolov3,
    is_mmdet_yolox,
    is_original_yolox,
    rename_mmdet_yolov3,
    rename_mmdet_yolox,
    rename_original_yolox,
)


class WholeModel(NamedTuple):
    """A model of another library: whether a file holds it, and its weights with our names."""

    is_in: Callable[[Mapping[str, Tensor]], bool]
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


# The first that fits is taken; names of some original repositories are in others, too.
WHOLE_MODELS = (
    WholeModel(is_torchvision_detector, convert_torchvision_detector),
    WholeModel(is_transformers_mask2former, convert_transformers_mask2former),
    WholeModel(is_transformers_rtdetr, convert_transformers_rtdetr),
    WholeModel(is_transformers_detr, convert_transformers_detr),
    WholeModel(is_original_detr, rename_original_detr),
    WholeModel(is_original_rtdetr, rename_original_rtdetr),
    WholeModel(is_original_eomt, rename_original_eomt),
    WholeModel(is_mmdet_rtmdet, rename_mmdet_rtmdet),
    WholeModel(is_mmdet_rcnn, rename_mmdet_rcnn),
    WholeModel(is_mmdet_ssd, rename_mmdet_ssd),
    WholeModel(is_mmdet_ssdlite, rename_mmdet_ssdlite),
    WholeModel(is_torchvision_ssd, convert_torchvision_ssd),
    WholeModel(is_mmdet_yolox, rename_mmdet_yolox),
    WholeModel(is_mmdet_yolov3, rename_mmdet_yolov3),
    WholeModel(is_original_yolox, rename_original_yolox),
    WholeModel(is_mmdet_dense, convert_mmdet_dense),
    WholeModel(is_mmdet_query, rename_mmdet_query),
)
