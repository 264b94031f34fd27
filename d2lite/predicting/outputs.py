"""read_outputs: what a model returns for one image, as a `Result`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from d2lite.data import Metadata
from d2lite.modeling import GeneralizedRCNN, detector_postprocess
from d2lite.structures import Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError
from d2lite.visualization.segmentation import segments_from_ids
from d2lite.visualization.shapes import upright_boxes

from .cropped_mask import CroppedMask
from .found import Segment
from .result import Result

# Masks of the image's size that exist at one time, in bytes.
_MASK_BYTES = 2**28
# Of the maps of models that have one of the whole image for each object.
_MAP_PIXELS = 2**24


def _pastes_masks(model: Any) -> bool:
    """Whether masks are small until they are pasted; others are maps of the whole image."""
    return type(model) is GeneralizedRCNN


def with_limited_size(model: Any, item: Mapping[str, Any]) -> dict[str, Any]:
    """A model input that asks for results of at most 16 million pixels, from models of maps.

    Args:
        model: see `run_model`.
        item: with `height` and `width`; a result of the smaller size is brought back by `enlarged`.
    """
    height, width = int(item["height"]), int(item["width"])
    shrink = min(1.0, (_MAP_PIXELS / max(height * width, 1)) ** 0.5)
    if shrink == 1 or _pastes_masks(model):
        return dict(item)
    size = {"height": max(1, int(height * shrink)), "width": max(1, int(width * shrink))}
    return {**item, **size}


def enlarged(result: Result, size: tuple[int, int]) -> Result:
    """A result in the pixels of a larger image; maps and masks repeat their pixels.

    Args:
        result: of models without rotated boxes.
        size: (height, width) of the larger image.
    """
    if result.size == size:
        return result
    by_y, by_x = (new / old for new, old in zip(size, result.size, strict=True))
    rows, columns = (
        np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(int)
        for new, old in zip(size, result.size, strict=True)
    )
    masks, points, segments = result.cropped_masks, result.keypoints, result.segments
    maps = [result.segment_map, result.semantic]
    large = [None if one is None else one[rows][:, columns] for one in maps]
    if segments is not None and large[0] is not None:
        areas = _areas(large[0])
        segments = [segment._replace(area=areas[segment.id]) for segment in segments]
    return replace(
        result,
        size=size,
        boxes=result.boxes * np.array([by_x, by_y] * 2, dtype=np.float32),
        cropped_masks=None if masks is None else [m.scaled(by_x, by_y, *size) for m in masks],
        keypoints=None if points is None else points * np.array([by_x, by_y, 1], dtype=np.float32),
        segments=segments,
        segment_map=large[0],
        semantic=large[1],
    )


def run_model(model: Any, batch: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Predict a batch in evaluation mode, with masks that never are all in full size at one time.

    Returns:
        The outputs of each image; "cropped_masks" beside "instances" where the masks were pasted
        here.
    """
    with torch.inference_mode():
        if not _pastes_masks(model):
            outputs: list[dict[str, Any]] = model(batch)
            return outputs
        found = model.inference(batch, do_postprocess=False)
        return [
            _paste(instances, int(item["height"]), int(item["width"]))
            for instances, item in zip(found, batch, strict=True)
        ]


def _paste(instances: Instances, height: int, width: int) -> dict[str, Any]:
    """Bring detections to the size of the image, some objects at a time."""
    at_once = max(1, _MASK_BYTES // max(height * width, 1))
    if not instances.has("pred_masks") or len(instances) <= at_once:
        return {"instances": detector_postprocess(instances, height, width)}
    parts, masks = [], []
    for start in range(0, len(instances), at_once):
        part = detector_postprocess(instances[start : start + at_once], height, width)
        masks += _crop(part.pred_masks)
        part.remove("pred_masks")
        parts.append(part)
    return {"instances": Instances.cat(parts), "cropped_masks": masks}


def _crop(masks: torch.Tensor) -> list[CroppedMask]:
    return [CroppedMask.of(mask.cpu().numpy()) for mask in masks]


def read_outputs(
    outputs: Mapping[str, Any], size: tuple[int, int], metadata: Metadata, lowest: Any
) -> Result:
    """Make a `Result`, sorted by score, of what reaches the threshold.

    Args:
        outputs: of one image.
        size: (height, width) of the image.
        metadata: of the model's classes.
        lowest: from class numbers to the lowest scores that count.

    Raises:
        ConfigError: if the model predicts nothing that a result can hold.
    """
    if not outputs.keys() & {"instances", "panoptic_seg", "sem_seg"}:
        raise ConfigError(
            f"This model predicts {', '.join(outputs) or 'nothing'}, which is neither objects nor "
            "segments. Choose a detection or segmentation model."
        )
    more = _of_pixels(outputs, metadata)
    instances = outputs.get("instances")
    if instances is None:
        none = np.zeros(0, np.float32)
        return Result(size, none.reshape(0, 4), none, none.astype(np.int64), metadata, **more)
    masks = outputs.get("cropped_masks")
    scores = instances.scores.float().cpu().numpy()
    classes = instances.pred_classes.cpu().numpy().astype(np.int64)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= lowest(classes[order])]
    if masks is not None:
        more["cropped_masks"] = [masks[i] for i in order]
    elif instances.has("pred_masks"):
        tensor = getattr(instances.pred_masks, "tensor", instances.pred_masks)
        more["cropped_masks"] = _crop(tensor[torch.as_tensor(order, device=tensor.device)] > 0.5)
    boxes = instances.pred_boxes
    if isinstance(boxes, RotatedBoxes):
        more["rotated_boxes"] = boxes.tensor.float().cpu().numpy()[order]
        upright = upright_boxes(more["rotated_boxes"]).astype(np.float32)
    else:
        upright = boxes.tensor.float().cpu().numpy()[order]
    if instances.has("pred_keypoints"):
        more["keypoints"] = instances.pred_keypoints.float().cpu().numpy()[order]
    return Result(size, upright, scores[order], classes[order], metadata, **more)


def _of_pixels(outputs: Mapping[str, Any], metadata: Metadata) -> dict[str, Any]:
    """What a result holds of segments and of classes of pixels."""
    found: dict[str, Any] = {}
    if outputs.get("panoptic_seg") is not None:
        segment_map, infos = outputs["panoptic_seg"]
        segment_map = segment_map.cpu().numpy().astype(np.int32)
        if infos is None:
            # Labels of Panoptic-DeepLab, -1 for none: they become the numbers of a list.
            labels, place = np.unique(segment_map, return_inverse=True)
            segment_map = place.reshape(segment_map.shape).astype(np.int32) + (labels[0] >= 0)
            infos = [
                {**info, "id": number}
                for number, info in enumerate(segments_from_ids(labels.tolist(), metadata), 1)
            ]
        found = {"segment_map": segment_map, "segments": _segments(segment_map, infos, metadata)}
    if outputs.get("sem_seg") is not None:
        found["semantic"] = outputs["sem_seg"].argmax(dim=0).cpu().numpy().astype(np.int32)
    return found


def _areas(segment_map: np.ndarray) -> Counter[int]:
    """Pixels of each segment."""
    ids, counts = np.unique(segment_map, return_counts=True)
    return Counter(dict(zip(ids.tolist(), counts.tolist(), strict=True)))


def _segments(
    segment_map: np.ndarray, infos: Sequence[Mapping[str, Any]], metadata: Metadata
) -> list[Segment]:
    areas = _areas(segment_map)
    things, stuff = (metadata.get(f"{kind}_classes") or () for kind in ("thing", "stuff"))
    segments = []
    for info in infos:
        names = things if info["isthing"] else stuff
        number = int(info["category_id"])
        name = names[number] if number < len(names) else f"class {number}"
        score = info.get("score")
        segments.append(
            Segment(
                int(info["id"]),
                name,
                number,
                bool(info["isthing"]),
                None if score is None else float(score),
                areas[int(info["id"])],
            )
        )
    return segments
