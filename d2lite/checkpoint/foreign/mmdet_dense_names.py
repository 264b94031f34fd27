"""Names of weights of MMDetection's dense detectors on a pyramid "p3" to "p7"."""

from collections.abc import Mapping

from torch import Tensor

from d2lite.utils.errors import WeightsError

from .mmdet_names import LEFT_OUT, has_pyramid, pyramid_rules
from .renaming import compiled, renamed
from .torchvision_names import resnet_rules

_MARKS = ("atss_cls", "gfl_cls", "vfnet_cls", "conv_centerness", "retina_cls")
# Layers of the heads -> ours; a kind that lacks one has no such name.
_LAYERS = {
    "(?:atss|gfl|vfnet|conv)_cls": "cls_score",
    "(?:atss|gfl|vfnet|conv)_reg": "box_pred",
    "(?:atss|conv)_centerness": "centerness",
    "vfnet_reg_conv.conv": "box_conv.0",
    "vfnet_reg_conv.gn": "box_conv.0.norm",
    "vfnet_reg_refine_dconv": "box_star",
    "vfnet_reg_refine": "box_refine",
    "vfnet_cls_dconv": "cls_star",
    # Of RetinaNet and FSAF.
    "retina_cls": "cls_score",
    "retina_reg": "bbox_pred",
    # Of SABL on RetinaNet.
    "retina_bbox_cls": "bucket_score",
    "retina_bbox_reg": "bucket_offset",
}
_RATIOS = 3


def _rules() -> list[tuple[str, str]]:
    rules = [*resnet_rules(), *pyramid_rules(first=3, levels=3), *LEFT_OUT]
    rules += [(rf"neck(?:\.0)?.fpn_convs.{i}.conv", f"backbone.top_block.p{i + 3}") for i in (3, 4)]
    for theirs, ours in (("cls", "cls"), ("reg", "box")):
        rules += [
            (rf"bbox_head.{theirs}_convs.(\d+).conv", rf"head.{ours}_tower.\1"),
            (rf"bbox_head.{theirs}_convs.(\d+).(?:gn|bn)", rf"head.{ours}_tower.\1.norm"),
        ]
    rules += [(rf"bbox_head.{theirs}", f"head.{ours}") for theirs, ours in _LAYERS.items()]
    return [
        *rules,
        (r"bbox_head.scales.(\d+).scale", r"head.scales.\1"),
        (r"bbox_head.scales_refine.(\d+).scale", r"head.refine_scales.\1"),
        # The numbers 0 ... B, over which distributions are.
        (r"bbox_head.integral", ""),
    ]


def _retinanet_rules() -> list[tuple[str, str]]:
    """Towers of convolutions alone, each before a ReLU; FSAF has the same."""
    return [
        (rf"bbox_head.{theirs}_convs.{i}.conv", f"head.{ours}_subnet.{2 * i}")
        for theirs, ours in (("cls", "cls"), ("reg", "bbox"))
        for i in range(8)
    ]


_RULES = compiled(_rules())
_RETINANET_RULES = compiled([*_retinanet_rules(), *_rules()])


def is_mmdet_dense(names: Mapping[str, object]) -> bool:
    """Whether the names are MMDetection's of ATSS, GFL, VFNet, FSAF, FCOS, RetinaNet or SABL."""
    return has_pyramid(names, "fpn_convs.4.conv.weight") and any(
        f"bbox_head.{mark}.weight" in names for mark in _MARKS
    )


def convert_mmdet_dense(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of a dense detector our names, and anchors our order.

    RetinaNet's anchors of a cell are ordered by ratio, then by size there, and by size, then by
    ratio here. Three ratios are assumed, as in all published files.

    Args:
        weights: by the names that MMDetection saves.

    Raises:
        WeightsError: if the number of anchors does not divide by three.
    """
    if "bbox_head.retina_reg.bias" not in weights:
        return renamed(weights, _RULES)
    found = renamed(weights, _RETINANET_RULES)
    count = len(found["head.bbox_pred.bias"]) // 4
    if count > 1 and count % _RATIOS:
        raise WeightsError(
            f"This RetinaNet of MMDetection has {count} anchors a cell; expected a multiple of "
            "three, for three ratios of height and width."
        )
    for layer in ("cls_score", "bbox_pred") if count > 1 else ():
        for part in ("weight", "bias"):
            name = f"head.{layer}.{part}"
            by_ratio = found[name].unflatten(0, (_RATIOS, count // _RATIOS, -1))
            found[name] = by_ratio.transpose(0, 1).flatten(0, 2)
    return found
