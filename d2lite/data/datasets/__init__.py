"""Datasets that d2lite can read; importing this package registers the built-in names."""

from . import (
    ade20k,
    builtin,
    builtin_meta,
    by_string,
    cityscapes,
    cityscapes_panoptic,
    coco,
    coco_panoptic,
    lvis,
    lvis_v0_5_categories,
    lvis_v1_categories,
    pascal_voc,
    shapes,
)
from .coco import convert_to_coco_json, load_coco_json, load_sem_seg, register_coco_instances
from .coco_panoptic import register_coco_panoptic, register_coco_panoptic_separated
from .lvis import get_lvis_instances_meta, load_lvis_json, register_lvis_instances
from .pascal_voc import load_voc_instances, register_pascal_voc

__all__ = [
    "ade20k",
    "builtin",
    "builtin_meta",
    "by_string",
    "cityscapes",
    "cityscapes_panoptic",
    "coco",
    "coco_panoptic",
    "convert_to_coco_json",
    "get_lvis_instances_meta",
    "load_coco_json",
    "load_lvis_json",
    "load_sem_seg",
    "load_voc_instances",
    "lvis",
    "lvis_v0_5_categories",
    "lvis_v1_categories",
    "pascal_voc",
    "register_coco_instances",
    "register_coco_panoptic",
    "register_coco_panoptic_separated",
    "register_lvis_instances",
    "register_pascal_voc",
    "shapes",
]
