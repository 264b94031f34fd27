"""draw_sample: a training sample as the model sees it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from d2lite.data.catalog import Metadata
from d2lite.data.images.image_io import convert_image_to_rgb
from d2lite.structures import Instances
from d2lite.visualization import Visualizer, legible_scale

_DRAWN = ("gt_boxes", "gt_classes", "gt_masks", "gt_keypoints")


def draw_sample(sample: Mapping[str, Any], image_format: str, metadata: Metadata) -> np.ndarray:
    """Draw a sample's image with all that training compares to: objects and map of classes.

    Args:
        sample: "image" (C, H, W) and, if it has annotations, "instances" with gt_boxes and
            gt_classes; "sem_seg" (H, W) if it has a map of classes.
        image_format: INPUT.FORMAT of the image.
        metadata: of the dataset; its class names are written.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    image = convert_image_to_rgb(sample["image"].permute(1, 2, 0).numpy(), image_format)
    canvas = Visualizer(image, metadata, scale=legible_scale(image))
    if "sem_seg" in sample:
        canvas.draw_sem_seg(sample["sem_seg"], alpha=0.4, draw_text="instances" not in sample)
    if "instances" not in sample:
        return canvas.get_output().get_image()
    truth = sample["instances"].to("cpu")
    drawn = Instances(truth.image_size)
    for name, values in truth.get_fields().items():
        if name in _DRAWN:
            drawn.set(name.replace("gt_", "pred_"), values)
    return canvas.draw_instance_predictions(drawn).get_image()
