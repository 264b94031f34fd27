"""ExportedModel: an exported file in the place of a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lite.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from d2lite.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from d2lite.structures import Boxes, Instances

from .session import open_session

__all__ = ["ExportedModel"]


class ExportedModel(nn.Module):
    """Takes the batches that a `Detector` takes in evaluation mode, and gives the same results.

    Args:
        path: see `open_session`.

    Attributes:
        facts: what the file says about itself, see `describe`.
        class_names: of the model; None where the file has none.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.session = open_session(path)
        self.facts = self.session.facts
        self.class_names: list[str] | None = list(self.facts["classes"]) or None
        self.eval()

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detect.

        Args:
            batched_inputs: dicts with `image`, (C, H, W) uint8 of any size, not resized before if
                the file resizes, and `height` and `width` of the results.
        """
        images, sizes = joined([item["image"] for item in batched_inputs])
        found = self.session(images, sizes)
        outputs = []
        for i, item in enumerate(batched_inputs):
            one = {name: torch.from_numpy(np.asarray(array[i])) for name, array in found.items()}
            seen = (int(sizes[i, 0]), int(sizes[i, 1]))
            wanted = (int(item.get("height", seen[0])), int(item.get("width", seen[1])))
            results = _results(one, seen, wanted)
            if self.facts.get("panoptic"):
                results["panoptic_seg"] = combine_semantic_and_instance_outputs(
                    results["instances"],
                    results["sem_seg"].argmax(dim=0),
                    **self.facts["panoptic"],
                )
            outputs.append(results)
        return outputs


def joined(images: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """One array of images of several sizes, and their sizes.

    Args:
        images: (C, H, W) uint8 each.

    Returns:
        (N, C, H, W) uint8, with zeros right of and below each image; (N, 2) int64.
    """
    sizes = np.array([image.shape[1:] for image in images], dtype=np.int64)
    height, width = sizes.max(axis=0)
    batch = np.zeros((len(images), images[0].shape[0], height, width), dtype=np.uint8)
    for row, image, (h, w) in zip(batch, images, sizes, strict=True):
        row[:, :h, :w] = image.numpy()
    return batch, sizes


def _results(
    one: dict[str, Tensor], seen: tuple[int, int], wanted: tuple[int, int]
) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    if "boxes" in one:
        count = int(one["count"])
        instances = Instances(
            seen,
            pred_boxes=Boxes(one["boxes"][:count]),
            scores=one["scores"][:count],
            pred_classes=one["classes"][:count],
        )
        masks = one.get("masks")
        is_pasted = masks is not None and masks.dtype == torch.bool
        if masks is not None and not is_pasted:
            instances.pred_masks = masks[:count, None]
        if "keypoints" in one:
            instances.pred_keypoints = one["keypoints"][:count]
        instances.row = torch.arange(count)
        found = detector_postprocess(instances, *wanted)
        if masks is not None and is_pasted:
            whole = masks[found.row, : seen[0], : seen[1]]
            found.pred_masks = whole if seen == wanted else _scaled(whole, wanted)
        found.remove("row")
        outputs["instances"] = found
    if "sem_seg" in one:
        outputs["sem_seg"] = sem_seg_postprocess(one["sem_seg"], seen, *wanted)
    return outputs


def _scaled(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H, W) bool masks in another size."""
    if not len(masks):
        return masks.new_zeros((0, *size))
    return F.interpolate(masks[None].float(), size, mode="bilinear")[0] >= 0.5
