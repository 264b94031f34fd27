"""draw_found: what was found in an image, drawn on it."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils.errors import OutputError
from d2lite.utils.file_io import write_file
from d2lite.visualization import Visualizer, legible_scale
from d2lite.visualization.colormap import class_color

from .cropped_mask import LazyMask
from .found import Found, Segment

Picture = NDArray[np.uint8]


def draw_found(
    image: Picture,
    metadata: Any,
    found: Sequence[Found],
    *,
    segments: Sequence[Segment] | None = None,
    segment_map: NDArray[np.int32] | None = None,
    semantic: NDArray[np.int32] | None = None,
    scale: float | None = None,
) -> Picture:
    """Draw segments where there are any, else objects, else the classes of pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        metadata: names and colours.
        found: the objects.
        segments: of a panoptic model.
        segment_map: (H, W) segment of each pixel.
        semantic: (H, W) class of each pixel.
        scale: pixels of the picture for each pixel of the image; None chooses a legible size.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    scale = legible_scale(image) if scale is None else scale
    visualizer = Visualizer(image, metadata, scale=scale)
    if segments is not None and segment_map is not None:
        infos = [
            {"id": s.id, "category_id": s.class_id, "isthing": s.is_thing, "score": s.score}
            for s in segments
        ]
        drawn = visualizer.draw_panoptic_seg(segment_map, infos)
    elif found or semantic is None:
        drawn = _draw_objects(visualizer, found, image.shape[:2])
    else:
        drawn = visualizer.draw_sem_seg(semantic)
    picture: Picture = drawn.get_image()
    return picture


def _draw_objects(visualizer: Visualizer, found: Sequence[Found], size: Any) -> Any:
    if not found:
        return visualizer.output
    rotated = [one.rotated_box for one in found if one.rotated_box is not None]
    boxes: Boxes | RotatedBoxes = (
        RotatedBoxes(torch.as_tensor(np.stack(rotated)))
        if rotated
        else Boxes(torch.tensor([one.box for one in found]))
    )
    masks = None
    if found[0].mask is not None:
        masks = [LazyMask(one.mask, *size) for one in found if one.mask is not None]
    keypoints = None
    if found[0].keypoints is not None:
        keypoints = np.stack([one.keypoints for one in found if one.keypoints is not None])
    if found[0].track_id is not None:
        return visualizer.overlay_instances(
            boxes=boxes,
            labels=[_tracked_label(one) for one in found],
            masks=masks,
            keypoints=keypoints,
            # One object keeps its colour in all frames.
            assigned_colors=[class_color(one.track_id or 0) for one in found],
        )
    instances = Instances(tuple(size))
    instances.pred_boxes = boxes
    instances.scores = torch.tensor([one.score for one in found])
    instances.pred_classes = torch.tensor([one.class_id for one in found])
    if masks is not None:
        instances.set("pred_masks", masks)
    if keypoints is not None:
        instances.set("pred_keypoints", torch.as_tensor(keypoints))
    return visualizer.draw_instance_predictions(instances)


def _tracked_label(one: Found) -> str:
    number = f"{one.track_id} " if (one.track_id or 0) >= 0 else ""
    return f"{number}{one.name} {one.score:.0%}"


def write_picture(picture: Picture, path: Path) -> None:
    """Write a picture in the format that the path ends in.

    Args:
        picture: (H, W, 3) uint8 RGB, or (H, W).
        path: of the file, which is whole or not there.

    Raises:
        OutputError: if it cannot be written, or there is no such format.
    """
    stream = io.BytesIO()
    kind = Image.registered_extensions().get(path.suffix.lower())
    options: dict[str, Any] = {"quality": 92} if kind in ("JPEG", "WEBP") else {}
    try:
        if kind is None:
            raise ValueError("the name has no ending of a picture, such as .png or .jpg")
        Image.fromarray(picture).save(stream, kind, **options)
    except (KeyError, ValueError, OSError) as error:
        raise OutputError(
            f"--output {path}: cannot write pictures of type {path.suffix!r} ({error})."
        ) from error
    write_file(path, stream.getvalue())
