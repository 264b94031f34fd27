"""PointRendROIHeads: StandardROIHeads that read weights of PointRend's first release."""

from typing import Any

from torch import nn

from d2lite.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads

# What parts of the mask head are called in the first release -> now.
_NAMES = {
    "mask_coarse_head.": "mask_head.coarse_head.",
    "mask_point_head.": "mask_head.point_head.",
}


@ROI_HEADS_REGISTRY.register()
class PointRendROIHeads(StandardROIHeads):
    """`StandardROIHeads`, under the name that configurations of the first release have."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_load_state_dict_pre_hook(_rename_old_weights_)


def _rename_old_weights_(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Give weights of the first release today's names, in place."""
    for old, new in _NAMES.items():
        for key in [key for key in state_dict if key.startswith(prefix + old)]:
            state_dict[prefix + new + key[len(prefix + old) :]] = state_dict.pop(key)
