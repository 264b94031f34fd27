"""Images for exported files, and how what these give differs from what the model gives."""

import numpy as np
import torch

from d2lite.data.dataset_mapper import build_augmentation
from d2lite.data.transforms import AugInput, AugmentationList
from d2lite.export.comparison import compare_results

SIZES = [(96, 128), (70, 50), (64, 64)]


def as_evaluation(cfg, item):
    """A batch element with the image that evaluation gives the model."""
    step = AugInput(np.ascontiguousarray(item["image"].permute(1, 2, 0).numpy()))
    AugmentationList(build_augmentation(cfg, is_train=False))(step)
    return {**item, "image": torch.from_numpy(np.ascontiguousarray(step.image.transpose(2, 0, 1)))}


def black_image():
    """A batch element of 64 x 64 zeros."""
    return {"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "height": 64, "width": 64}


def differences(cfg, model, file, batch, best=20):
    """The `Difference` of each image of a batch, in the best detections.

    The last ones of many random detections are kept or not by the last digit of a score.
    """
    with torch.no_grad():
        expected = model([as_evaluation(cfg, item) for item in batch])
    found = []
    for ours, theirs in zip(expected, file(batch), strict=True):
        assert ours.keys() == theirs.keys()
        scores = ours["instances"].scores if "instances" in ours else torch.zeros(0)
        lowest = float(scores.sort(descending=True).values[:best].min()) if len(scores) else 0.0
        found.append(compare_results(ours, theirs, lowest))
    return found
