"""DetectionCheckpointer: a Checkpointer that also reads the weights other libraries publish."""

from typing import Any

from d2lite.checkpoint.c2_model_loading import (
    align_and_update_state_dicts,
    convert_c2_detectron_names,
)

from .checkpointer import Checkpointer
from .matching import LoadReport
from .torchvision_names import is_torchvision_resnet, rename_torchvision_resnet

__all__ = ["DetectionCheckpointer"]


class DetectionCheckpointer(Checkpointer):
    """Loads detectron2's .pth and .pkl, Caffe2 Detectron's .pkl and torchvision's ResNets.

    Where the file is of another library (`matching_heuristics` inside, Caffe2 blobs, torchvision
    names), its names are translated, and each parameter takes the weight whose name is the
    longest ending of its own: `backbone.bottom_up.res2.0.conv1.weight` takes
    `res2.0.conv1.weight`.
    """

    def _load_model(self, content: dict[str, Any], path: str) -> LoadReport:
        weights = content["model"]
        by_ending = bool(content.pop("matching_heuristics", False))
        if is_torchvision_resnet(weights):
            weights, by_ending = rename_torchvision_resnet(weights), True
        elif content.get("__author__") == "Caffe2":
            weights, _ = convert_c2_detectron_names(weights)
        if by_ending:
            weights = align_and_update_state_dicts(
                self.model.state_dict(), weights, c2_conversion=False
            )
        return super()._load_model({**content, "model": weights}, path)
