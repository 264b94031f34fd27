"""Weights that follow from their names, and the batch that outputs of others were recorded for.

The same weights were given to the models that MMDetection 3.3.0 builds.
"""

import zlib

import numpy as np
import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.structures import BitMasks, Boxes, Instances


def drawn_weights(names_and_shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """A value for each weight that follows from its name in MMDetection alone."""
    weights = {}
    for name, shape in names_and_shapes.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.zeros(shape, dtype=torch.int64)
            continue
        seed = zlib.crc32(name.split(".", 1)[1].encode())
        values = np.random.RandomState(seed).randn(shape.numel()).reshape(shape)
        if name.endswith("running_var"):
            values = 1 + 0.5 * values**2
        elif name.endswith("bn.weight"):
            values = 1 + 0.1 * values
        elif len(shape) > 1:
            values *= (2 / shape[1:].numel()) ** 0.5
        else:
            values = 0.1 * values + (2 if "_reg." in name else 0)
        weights[name] = torch.from_numpy(values).float()
    return weights


def batch() -> list[dict]:
    """Two images with three objects and one; boxes with their lower halves as masks."""
    pixels = torch.from_numpy(np.random.RandomState(0).randn(2, 3, 96, 128)).float()
    boxes = [[[10, 12, 60, 70], [50, 20, 120, 90], [30, 40, 44, 52]], [[5, 5, 90, 60]]]
    made = []
    for image, rows, classes in zip(pixels, boxes, ([0, 2, 1], [1]), strict=True):
        masks = torch.zeros(len(rows), 96, 128, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, rows, strict=True):
            mask[y0:y1, x0:x1] = True
            mask[y0 : (y0 + y1) // 2, x0 : (x0 + x1) // 2] = False
        truth = Instances(
            (96, 128),
            gt_boxes=Boxes(torch.tensor(rows).float()),
            gt_classes=torch.tensor(classes),
            gt_masks=BitMasks(masks),
        )
        made.append({"image": image, "instances": truth})
    return made


def check_levels(tensors, expected) -> None:
    """Each tensor has the mean and the largest absolute value that were recorded."""
    for tensor, (mean, largest) in zip(tensors, expected, strict=True):
        assert tensor.mean().item() == pytest.approx(mean, rel=1e-4, abs=2e-5)
        assert tensor.abs().max().item() == pytest.approx(largest, rel=1e-4)


def load_drawn(model, their_name, folder, key="state_dict", **more) -> None:
    """Give a model the drawn weights, by way of a file with the names of another library."""
    shapes = {their_name(name): value.shape for name, value in model.state_dict().items()}
    torch.save({key: drawn_weights(shapes), **more}, folder / "theirs.pth")
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(folder / "theirs.pth"))
    assert not checkpointer.report.missing
    assert not checkpointer.report.unexpected
