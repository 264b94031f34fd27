"""Old address of helpers for tests; nothing in d2lite imports this file."""

from d2lite.engine.test_support import (
    assert_instances_allclose,
    convert_scripted_instances,
    get_model_no_weights,
    get_sample_coco_image,
    random_boxes,
    reload_lazy_config,
    reload_script_model,
)

from .torch_version_utils import min_torch_version

__all__ = [
    "assert_instances_allclose",
    "convert_scripted_instances",
    "get_model_no_weights",
    "get_sample_coco_image",
    "min_torch_version",
    "random_boxes",
    "reload_lazy_config",
    "reload_script_model",
]
