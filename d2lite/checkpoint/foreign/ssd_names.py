"""Names of weights of SSD: in MMDetection and in torchvision."""

from collections.abc import Mapping

from torch import Tensor

from .mmdet_names import LEFT_OUT
from .renaming import by_marks, compiled, renamed

_TORCHVISION_MARKS = ("backbone.scale_weight", "head.classification_head.module_list.0.weight")

MMDET_SSD = by_marks(
    ("neck.l2_norm.weight", "bbox_head.cls_convs.0.0.weight"),
    [
        (r"neck.extra_layers.(\d+).0.conv", r"backbone.extra_layers.\1.conv1"),
        (r"neck.extra_layers.(\d+).1.conv", r"backbone.extra_layers.\1.conv2"),
        (r"neck", "backbone"),
        (r"bbox_head.(cls|reg)_convs.(\d+).0", r"head.\1_convs.\2"),
        *LEFT_OUT,
    ],
)
"""SSD over VGG in MMDetection."""

MMDET_SSDLITE = by_marks(
    ("neck.extra_layers.0.1.depthwise_conv.conv.weight", "bbox_head.cls_convs.0.1.weight"),
    [
        (r"neck.extra_layers.(\d+).0", r"backbone.extra_layers.\1.conv1"),
        (r"neck.extra_layers.(\d+).1", r"backbone.extra_layers.\1.conv2"),
        (r"bbox_head", "head"),
        *LEFT_OUT,
    ],
)
"""SSDLite in MMDetection."""


def _torchvision_rules() -> list[tuple[str, str]]:
    rules = [
        ("backbone.scale_weight", "backbone.l2_norm.weight"),
        (r"head.classification_head.module_list", "head.cls_convs"),
        (r"head.regression_head.module_list", "head.reg_convs"),
    ]
    # The fifth block of VGG comes after a pooling, and "fc6" and "fc7" are in it.
    for theirs, place in {"1": 24, "3": 26, "5": 28, "7.1": 31, "7.3": 33}.items():
        rules.append((f"backbone.extra.0.{theirs}", f"backbone.features.{place}"))
    for number in range(1, 6):
        for theirs, conv in (("0", "conv1"), ("2", "conv2")):
            ours = f"backbone.extra_layers.{number - 1}.{conv}"
            rules.append((f"backbone.extra.{number}.{theirs}", ours))
    return rules


_TORCHVISION_RULES = compiled(_torchvision_rules())


def is_torchvision_ssd(names: Mapping[str, object]) -> bool:
    """Whether the names are those of SSD over VGG in torchvision."""
    return all(mark in names for mark in _TORCHVISION_MARKS)


def convert_torchvision_ssd(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of SSD our names, and move the background from the first place to the last.

    Args:
        weights: by the names that torchvision saves.
    """
    converted = renamed(weights, _TORCHVISION_RULES)
    for name, value in converted.items():
        if name.startswith("head.cls_convs."):
            num_anchors = len(weights[_of_boxes(name)]) // 4
            by_anchor = value.unflatten(0, (num_anchors, -1))
            converted[name] = by_anchor.roll(-1, dims=1).flatten(0, 1)
    return converted


def _of_boxes(name: str) -> str:
    """Torchvision's name of the deltas of the map of which we have the classes."""
    number = name.split(".")[2]
    return f"head.regression_head.module_list.{number}.bias"
