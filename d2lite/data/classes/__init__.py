"""The classes of datasets: their names, order and counts."""

from .class_counts import ClassCounts, count_classes
from .class_join import join_by_class_name
from .class_order import OrderedLoader, follow_class_order, select_classes
from .shared_metadata import (
    check_metadata_consistency,
    create_keypoint_hflip_indices,
    get_fed_loss_cls_weights,
)

__all__ = [
    "ClassCounts",
    "OrderedLoader",
    "check_metadata_consistency",
    "count_classes",
    "create_keypoint_hflip_indices",
    "follow_class_order",
    "get_fed_loss_cls_weights",
    "join_by_class_name",
    "select_classes",
]
