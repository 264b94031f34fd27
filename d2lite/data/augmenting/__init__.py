"""Augmentation as a configuration describes it: steps of one image, and steps that mix images."""

from .albumentations_bridge import Albumentations
from .config import build_augmentation, build_steps, build_transform_gen, may_cut, mixing_ends_at
from .copy_paste import CopyPaste
from .labelled_image import LabelledImage
from .mixing import MixingAugmentation, WholeImageAugmentation
from .mixup import MixUp
from .mosaic import Mosaic
from .parsing import AUGMENTATION_REGISTRY, read_augmentation
from .semantic import semantic_augmentations
from .whole_image_steps import WholeImageSteps

__all__ = [
    "AUGMENTATION_REGISTRY",
    "Albumentations",
    "CopyPaste",
    "LabelledImage",
    "MixUp",
    "MixingAugmentation",
    "Mosaic",
    "WholeImageAugmentation",
    "WholeImageSteps",
    "build_augmentation",
    "build_steps",
    "build_transform_gen",
    "may_cut",
    "mixing_ends_at",
    "read_augmentation",
    "semantic_augmentations",
]
