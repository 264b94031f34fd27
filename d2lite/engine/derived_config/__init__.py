"""Options that follow from the machine and from the data, and checks of those that are given."""

from .checks import (
    check_predictions,
    check_solver,
    check_test_classes,
    load_test_classes,
)
from .classes import (
    find_data_classes,
    follow_data_classes,
    get_class_names,
    get_num_classes,
    name_classes,
    num_classes_key,
    shown_classes_key,
)
from .epochs import epoch_length, follow_epochs
from .scaling import auto_scale_workers, scale_learning_rate
from .seed import follow_stored_seed, resolve_seed

__all__ = [
    "auto_scale_workers",
    "check_predictions",
    "check_solver",
    "check_test_classes",
    "epoch_length",
    "find_data_classes",
    "follow_data_classes",
    "follow_epochs",
    "follow_stored_seed",
    "get_class_names",
    "get_num_classes",
    "load_test_classes",
    "name_classes",
    "num_classes_key",
    "resolve_seed",
    "scale_learning_rate",
    "shown_classes_key",
]
