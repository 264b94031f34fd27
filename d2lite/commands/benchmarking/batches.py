"""Batches to measure with, and what random weights need to be measured with them."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks

__all__ = ["count_classes_of", "fit_frozen_norms", "generated_batch"]

_CORNERS = 24


def generated_batch(
    cfg: CfgNode, num_classes: int, *, size: tuple[int, int], batch: int, objects: int
) -> list[dict[str, Any]]:
    """Make images of noise with elliptic objects; the same numbers give the same batch.

    Args:
        cfg: INPUT.MASK_FORMAT and the models' parts that need more than boxes are read.
        num_classes: of the objects.
        size: height and width of the images.
        batch: number of images.
        objects: in each image.

    Returns:
        Samples as a training loader gives them, on the CPU.
    """
    generator = torch.Generator().manual_seed(0)
    return [_sample(cfg, num_classes, size, objects, generator) for _ in range(batch)]


def count_classes_of(model: nn.Module) -> int:
    """The smallest number of classes that a part of the model states; 1 if none does."""
    stated = (getattr(module, "num_classes", None) for module in model.modules())
    return min((n for n in stated if isinstance(n, int) and n > 0), default=1)


def fit_frozen_norms(model: nn.Module, predict: Callable[[], object]) -> None:
    """Give frozen batch norms the statistics of the maps that they get.

    After norms that change nothing, the maps of a deep network with random weights grow from block
    to block, until boxes and scores are infinite and nothing is found.

    Args:
        model: of d2lite or torchvision; buffers of its frozen norms are changed.
        predict: runs the model on the batch that it is measured with.
    """

    def fit(norm: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        (maps,) = inputs
        var, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        shape = (1, -1, 1, 1)
        return (maps - mean.view(shape)) * (var + norm.eps).rsqrt().view(shape)

    norms = [m for m in model.modules() if type(m).__name__ == "FrozenBatchNorm2d"]
    hooks = [norm.register_forward_hook(fit) for norm in norms]
    with torch.no_grad():
        predict()
    for hook in hooks:
        hook.remove()


def _sample(
    cfg: CfgNode,
    num_classes: int,
    size: tuple[int, int],
    objects: int,
    generator: torch.Generator,
) -> dict[str, Any]:
    height, width = size
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
    limits = torch.tensor([width, height])
    # From a twentieth to two fifths of the image, all inside of it.
    sides = (0.05 + 0.35 * torch.rand(objects, 2, generator=generator)) * limits
    corners = torch.rand(objects, 2, generator=generator) * (limits - sides)
    boxes = torch.cat([corners, corners + sides], dim=1)
    truth = Instances(size, gt_boxes=Boxes(boxes))
    truth.gt_classes = torch.randint(0, num_classes, (objects,), generator=generator)
    polygons = _ellipses(boxes)
    if cfg.INPUT.MASK_FORMAT == "polygon":
        truth.gt_masks = PolygonMasks([[outline] for outline in polygons.numpy()])
    else:
        truth.gt_masks = BitMasks.from_polygon_masks(
            [[outline] for outline in polygons.numpy()], height, width
        )
    if cfg.MODEL.KEYPOINT_ON:
        count = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        shares = torch.rand(objects, count, 2, generator=generator)
        points = boxes[:, None, :2] + shares * (boxes[:, None, 2:] - boxes[:, None, :2])
        visible = torch.full((objects, count, 1), 2.0)
        truth.gt_keypoints = Keypoints(torch.cat([points, visible], dim=2))
    classes_of_pixels = torch.zeros(size, dtype=torch.long)
    return {
        "image": image,
        "height": height,
        "width": width,
        "instances": truth,
        "sem_seg": classes_of_pixels,
    }


def _ellipses(boxes: torch.Tensor) -> torch.Tensor:
    """(N, 2 * corners) outlines of the ellipses in (N, 4) boxes."""
    angles = torch.arange(_CORNERS) * (2 * math.pi / _CORNERS)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return (center[:, None] + half[:, None] * circle).flatten(1).double()
