"""The heads of masks and of keypoints as TorchScript."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.modeling.roi_heads.mask_head import BaseMaskRCNNHead
from d2lite.structures import Instances

from .traced_form import Padded, require

__all__ = ["ScriptedBranch"]


class ScriptedBranch(nn.Module):
    """The head of masks or of keypoints, on the detections of all images."""

    __constants__ = ("has_masks", "has_heatmaps")

    def __init__(self, model: Any, fields: Mapping[str, type | str]) -> None:
        super().__init__()
        features = next(model.parameters()).new_zeros((2, model[0].in_channels, 7, 7))
        classes = torch.zeros(2, dtype=torch.int64, device=features.device)
        self.has_masks = isinstance(model, BaseMaskRCNNHead)
        needs = (
            ("pred_masks", "pred_classes") if self.has_masks else ("pred_keypoints", "pred_boxes")
        )
        require(fields, list(needs))
        self.has_heatmaps = "pred_keypoint_heatmaps" in fields
        run = partial(_mask_rows, model) if self.has_masks else lambda x, _: (model.layers(x),)
        self.core = Padded(model, run).traced(features, classes)

    def forward(self, x: Tensor, instances: list[Instances]) -> list[Instances]:
        """See `BranchHead.forward`, in evaluation mode."""
        classes = torch.zeros([x.shape[0]], dtype=torch.int64, device=x.device)
        if self.has_masks:
            classes = torch.cat([one.pred_classes for one in instances])
        found = self.core(x, classes)[0].split([len(one) for one in instances])
        for i, one in enumerate(instances):
            if self.has_masks:
                one.pred_masks = found[i]
            else:
                one.pred_keypoints = _highest_points(found[i], one.pred_boxes.tensor)
                if self.has_heatmaps:
                    one.pred_keypoint_heatmaps = found[i]
        return instances


def _mask_rows(model: Any, x: Tensor, classes: Tensor) -> tuple[Tensor]:
    # Masks do not depend on the boxes.
    return (model.predict_rows(model.layers(x), x, classes)["masks"],)


def _highest_points(logits: Tensor, boxes: Tensor) -> Tensor:
    """`heatmaps_to_keypoints` without its third column, in what TorchScript knows."""
    points = torch.zeros([logits.shape[0], logits.shape[1], 3], device=logits.device)
    for i in range(logits.shape[0]):
        sides = (boxes[i, 2:] - boxes[i, :2]).clamp(min=1)
        width, height = int(sides[0].ceil()), int(sides[1].ceil())
        drawn = nn.functional.interpolate(
            logits[i][None], size=[height, width], mode="bicubic", align_corners=False
        )
        best, place = drawn[0].flatten(1).max(dim=1)
        across, down = place % width, torch.div(place, width, rounding_mode="floor")
        cell = (torch.stack([across, down], dim=1) + 0.5) * (sides / sides.ceil())
        points[i, :, :2] = boxes[i, :2] + cell
        points[i, :, 2] = (best - logits[i].flatten(1).logsumexp(dim=1)).exp()
    return points
