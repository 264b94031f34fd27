"""Names of weights in files of other libraries, and the tables that turn them into ours."""

from .c2_detectron_names import convert_c2_detectron_names
from .c2_names import convert_basic_c2_names
from .torchvision_detectors import is_torchvision_detector
from .torchvision_names import is_torchvision_resnet, rename_torchvision_resnet
from .transformers_mask2former import rename_first_mask2former
from .transformers_vit import convert_transformers_vit, is_transformers_vit
from .whole_models import WHOLE_MODELS

__all__ = [
    "WHOLE_MODELS",
    "convert_basic_c2_names",
    "convert_c2_detectron_names",
    "convert_transformers_vit",
    "is_torchvision_detector",
    "is_torchvision_resnet",
    "is_transformers_vit",
    "rename_first_mask2former",
    "rename_torchvision_resnet",
]
