"""PointRendROIHeads: StandardROIHeads that read weights of PointRend's first release."""

from functools import partial
from typing import Any

from d2lite.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads

from .coarse_head import rename_old_weights_

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
        self.register_load_state_dict_pre_hook(partial(rename_old_weights_, _NAMES))
