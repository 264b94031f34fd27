"""Options that follow from the machine and from the data, and checks of those that are given."""

from .checks import (
    check_predictions,
    check_solver,
    check_test_classes,
    check_test_images,
    check_test_keypoints,
    load_test_classes,
)
from .classes import (
    ClassKey,
    find_data_classes,
    get_class_names,
    name_classes,
)
from .epochs import epoch_length, follow_epochs
from .scaling import auto_scale_workers, scale_learning_rate
from .seed import follow_stored_seed, resolve_seed

__all__ = [
    "ClassKey",
    "auto_scale_workers",
    "check_predictions",
    "check_solver",
    "check_test_classes",
    "check_test_images",
    "check_test_keypoints",
    "epoch_length",
    "find_data_classes",
    "follow_epochs",
    "follow_stored_seed",
    "get_class_names",
    "load_test_classes",
    "name_classes",
    "resolve_seed",
    "scale_learning_rate",
]
