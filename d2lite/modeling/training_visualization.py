"""Images of what a model predicts during training, next to the ground truth."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2lite.utils.events import get_event_storage, has_event_storage, log_image
from d2lite.visualization import Visualizer

# With more boxes on top of each other none can be seen.
_MAX_BOXES = 20


def should_visualize(period: int) -> bool:
    """Whether this iteration of a training should log an image.

    Args:
        period: iterations from one image to the next; 0 for none.
    """
    return period > 0 and has_event_storage() and get_event_storage().iter % period == 0


def log_boxes_and_truth(
    item: dict[str, Any],
    best_boxes: Callable[[int], np.ndarray],
    input_format: str | None,
    name: str,
) -> None:
    """Log an image with its true boxes and, to its right, with the predicted ones.

    Args:
        item: an element of a batch, with `image` and `instances`.
        best_boxes: count -> (count or fewer, 4) float, xyxy in pixels of `image`.
        input_format: channel order of the image.
        name: of the logged image.
    """

    def draw() -> np.ndarray:
        image = _to_rgb(item["image"], input_format)
        truth = item["instances"].gt_boxes.tensor.cpu().numpy()
        halves = [
            Visualizer(image, None).overlay_instances(boxes=boxes).get_image()
            for boxes in (truth, best_boxes(_MAX_BOXES))
        ]
        return np.ascontiguousarray(np.concatenate(halves, axis=1).transpose(2, 0, 1))

    with torch.no_grad():
        log_image(name, draw)


def _to_rgb(image: Tensor, input_format: str | None) -> np.ndarray:
    """(C, H, W) in a channel order -> (H, W, 3) uint8; other orders are shown as they are."""
    image = image.flip(0) if input_format == "BGR" else image
    image = image.expand(3, -1, -1) if len(image) == 1 else image[:3]
    return image.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
