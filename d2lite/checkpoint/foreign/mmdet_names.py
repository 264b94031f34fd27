"""Names of weights in checkpoints of MMDetection."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import compiled, renamed

_RTMDET_MARKS = ("backbone.stage4.2.attention.fc.weight", "bbox_head.rtm_reg.0.weight")
_RTMDET_RULES = compiled(
    [
        (r"backbone", "backbone.bottom_up"),
        (r"neck", "backbone"),
        (r"bbox_head.mask_head", "mask_head"),
        (r"bbox_head", "head"),
        # Averaged weights are what `model` of a published file holds already.
        (r"ema_\w+", ""),
        (r"data_preprocessor", ""),
    ]
)


def is_mmdet_rtmdet(names: Mapping[str, object]) -> bool:
    """Whether the names are those of RTMDet or RTMDet-Ins in MMDetection."""
    return all(mark in names for mark in _RTMDET_MARKS)


def rename_mmdet_rtmdet(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of RTMDet or RTMDet-Ins our names.

    Args:
        weights: by the names that MMDetection saves.
    """
    return renamed(weights, _RTMDET_RULES)
