"""The old address of image_io, annotations and build_augmentation."""

from .annotations import (
    annotations_to_instances,
    filter_empty_instances,
    gen_crop_transform_with_instance,
    get_bbox,
    transform_instance_annotations,
    transform_keypoint_annotations,
    transform_proposals,
)
from .classes import (
    check_metadata_consistency,
    create_keypoint_hflip_indices,
    get_fed_loss_cls_weights,
)
from .dataset_mapper import build_augmentation, build_transform_gen
from .images.image_io import (
    SizeMismatchError,
    _apply_exif_orientation,
    check_image_size,
    convert_image_to_rgb,
    convert_PIL_to_numpy,
    read_image,
    register_image_source,
)
from .rotated_boxes import annotations_to_instances_rotated

__all__ = [
    "SizeMismatchError",
    "_apply_exif_orientation",
    "annotations_to_instances",
    "annotations_to_instances_rotated",
    "build_augmentation",
    "build_transform_gen",
    "check_image_size",
    "check_metadata_consistency",
    "convert_PIL_to_numpy",
    "convert_image_to_rgb",
    "create_keypoint_hflip_indices",
    "filter_empty_instances",
    "gen_crop_transform_with_instance",
    "get_bbox",
    "get_fed_loss_cls_weights",
    "read_image",
    "register_image_source",
    "transform_instance_annotations",
    "transform_keypoint_annotations",
    "transform_proposals",
]
