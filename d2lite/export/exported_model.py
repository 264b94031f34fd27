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

from .session import Session, open_session

__all__ = ["ExportedModel"]


class ExportedModel(nn.Module):
    """Takes the batches that a `Detector` takes in evaluation mode, and gives the same results.

    Args:
        source: a path, see `open_session`, or a session.

    Attributes:
        facts: what the file says about itself, see `describe`.
        class_names: of the model; None where the file has none.
    """

    def __init__(self, source: str | Path | Session) -> None:
        super().__init__()
        self.session = source if isinstance(source, Session) else open_session(source)
        self.facts = self.session.facts
        self.class_names: list[str] | None = list(self.facts["classes"]) or None
        self.eval()

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detect.

        Args:
            batched_inputs: dicts with `image`, (C, H, W) uint8 of any size, not resized before if
                the file resizes, and `height` and `width` of the results.
        """
        if not self.facts.get("one_size_a_batch"):
            return self._predict(batched_inputs)
        outputs: dict[int, dict[str, Any]] = {}
        shapes = [tuple(item["image"].shape) for item in batched_inputs]
        for shape in dict.fromkeys(shapes):
            rows = [row for row, own in enumerate(shapes) if own == shape]
            outputs.update(
                zip(rows, self._predict([batched_inputs[row] for row in rows]), strict=True)
            )
        return [outputs[row] for row in range(len(shapes))]

    def _predict(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
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
            if "segments" in one:
                results["panoptic_seg"] = _segments(one, seen, wanted, set(self.facts["things"]))
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


def _segments(
    one: dict[str, Tensor], seen: tuple[int, int], wanted: tuple[int, int], things: set[int]
) -> tuple[Tensor, list[dict[str, Any]]]:
    """(H, W) int32 numbers and the list of segments, as `panoptic_segments` gives them."""
    numbers = one["segments"][: seen[0], : seen[1]]
    if seen != wanted:
        numbers = F.interpolate(numbers[None, None].double(), wanted, mode="nearest-exact")[0, 0]
    found, place = numbers.long().unique(return_inverse=True)
    # 0 is of no segment, and may be missing.
    place = place + int(found[0] != 0)
    segments = [
        {"id": i, "isthing": number in things, "category_id": number}
        for i, number in enumerate(one["segment_classes"][found[found > 0]].tolist(), start=1)
    ]
    return place.to(torch.int32), segments
