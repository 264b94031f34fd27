"""Images for exported files, and what the model sees of them."""

import numpy as np
import torch

from d2lite.data.transforms import AugInput, ResizeShortestEdge

SIZES = [(96, 128), (70, 50), (64, 64)]


def as_evaluation(cfg, item):
    """A batch element with the image that evaluation gives the model."""
    step = AugInput(np.ascontiguousarray(item["image"].permute(1, 2, 0).numpy()))
    ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)(step)
    return {**item, "image": torch.from_numpy(np.ascontiguousarray(step.image.transpose(2, 0, 1)))}


def black_image():
    """A batch element of 64 x 64 zeros."""
    return {"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "height": 64, "width": 64}
