"""Datasets that d2lite can read; importing this package registers the built-in names."""

from . import builtin, builtin_meta, coco, pascal_voc, shapes
from .coco import convert_to_coco_json, load_coco_json, load_sem_seg, register_coco_instances
from .pascal_voc import load_voc_instances, register_pascal_voc

__all__ = [
    "builtin",
    "builtin_meta",
    "coco",
    "convert_to_coco_json",
    "load_coco_json",
    "load_sem_seg",
    "load_voc_instances",
    "pascal_voc",
    "register_coco_instances",
    "register_pascal_voc",
    "shapes",
]
