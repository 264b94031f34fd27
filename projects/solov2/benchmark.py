#!/usr/bin/env python
"""How much faster, and how much smaller, than SOLOv2 written with loops.

    python projects/solov2/benchmark.py
    python projects/solov2/benchmark.py --size 256 320 --config-file solov2_quick_start.yaml

1. Targets and mask loss at 1, 10, 50 and 100 objects an image. Targets against loops over levels,
   objects and cells that make a map for each cell; with the loss against the same loops with one
   product and one loss a cell, as the definition has it, and with one convolution a level, as the
   published implementation has it.
2. One training step of the whole network, with loops and a convolution a level, and without.
3. One inference with every cell above the threshold, against the order that makes the map of every
   cell before it takes the best, with peak memory.

Each pair is measured in one run on one machine and printed as a ratio: machines differ, ratios
less. The whole steps run in a process each, so that each has a peak of memory of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from d2lite.engine import run_tool, setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.solov2 import SOLOv2
from d2lite.projects.solov2.inference import MASK_STRIDE
from d2lite.projects.solov2.losses import category_loss, dice_loss
from d2lite.projects.solov2.matrix_nms import matrix_nms
from d2lite.projects.solov2.targets import CellTargets, assign_cells, shrink_masks
from d2lite.structures import BitMasks, Boxes, Instances

Size = tuple[int, int]


class Settings(NamedTuple):
    """How cells are given to objects."""

    num_grids: list[int]
    scale_ranges: list[tuple[float, float]]
    sigma: float
    num_classes: int


def objects(count: int, size: Size, num_classes: int) -> Instances:
    """An image's worth of ellipses with boxes and masks."""
    rng = np.random.default_rng(0)
    height, width = size
    masks = np.zeros((count, height, width), np.uint8)
    boxes = np.zeros((count, 4), np.float32)
    for mask, box in zip(masks, boxes, strict=True):
        radius = np.exp(rng.uniform(np.log(height / 66), np.log(height / 3.2), 2))
        center = rng.uniform(0, [width, height])
        cv2.ellipse(mask, (center, 2 * radius, 0.0), 1, -1)
        box[:] = np.clip([*(center - radius), *(center + radius)], 0, [width, height] * 2)
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.from_numpy(boxes))
    instances.gt_classes = torch.from_numpy(rng.integers(0, num_classes, count))
    instances.gt_masks = BitMasks(torch.from_numpy(masks).bool())
    return instances


def looped_targets(
    truth: Instances, size: Size, settings: Settings
) -> list[tuple[Tensor, list[int], Tensor]]:
    """Level by level: a map for every positive cell, the cells' numbers, and all categories."""
    small_size = (size[0] // MASK_STRIDE, size[1] // MASK_STRIDE)
    boxes, all_masks = truth.gt_boxes.tensor, truth.gt_masks.tensor
    extent = boxes[:, 2:] - boxes[:, :2]
    scale = extent.prod(dim=1).sqrt()
    levels = []
    for grid, (low, high) in zip(settings.num_grids, settings.scale_ranges, strict=True):
        maps, cells = [], []
        labels = torch.full((grid, grid), settings.num_classes)
        for i in ((scale >= low) & (scale <= high)).nonzero()[:, 0].tolist():
            mask = all_masks[i]
            if not mask.any():
                continue
            ys, xs = mask.nonzero(as_tuple=True)
            center = (ys.float().mean(), xs.float().mean())
            half = extent[i].flip(0) * settings.sigma / 2
            ranges = []
            for axis in (0, 1):
                first, middle, last = (
                    int(at / size[axis] * grid)
                    for at in (center[axis] - half[axis], center[axis], center[axis] + half[axis])
                )
                ranges.append(range(max(first, middle - 1, 0), min(last, middle + 1, grid - 1) + 1))
            small = cv2.resize(
                mask.numpy().astype(np.uint8), small_size[::-1], interpolation=cv2.INTER_LINEAR
            )
            for row in ranges[0]:
                for column in ranges[1]:
                    labels[row, column] = truth.gt_classes[i]
                    target = torch.zeros(small_size, dtype=torch.uint8)
                    target[: small.shape[0], : small.shape[1]] = torch.from_numpy(small)
                    maps.append(target)
                    cells.append(row * grid + column)
        stacked = torch.stack(maps) if maps else torch.zeros(0, *small_size)
        levels.append((stacked, cells, labels.flatten()))
    return levels


def plain_dice(logits: Tensor, maps: Tensor) -> Tensor:
    """One minus the dice coefficient of predictions (P, H, W) and a map for each; (P,)."""
    soft, maps = logits.sigmoid().flatten(1), maps.flatten(1)
    size = (soft**2).sum(1) + 0.001 + (maps * maps).sum(1) + 0.001
    return 1 - 2 * (soft * maps).sum(1) / size


def looped_dice(
    found: list[tuple[Tensor, list[int], Tensor]],
    kernels: Tensor,
    features: Tensor,
    *,
    by_cell: bool = False,
) -> Tensor:
    """Mask loss of one image, a convolution a level or a cell; (P,)."""
    parts, first = [features.new_zeros(0)], 0
    for maps, cells, labels in found:
        chosen = kernels[first : first + len(labels)][cells]
        at_once = 1 if by_cell else max(len(cells), 1)
        for kernel, target in zip(chosen.split(at_once), maps.split(at_once), strict=True):
            if len(kernel):
                soft = F.conv2d(features[None], kernel[:, :, None, None])[0]
                parts.append(plain_dice(soft, target))
        first += len(labels)
    return torch.cat(parts)


def seconds(action: Callable[[], Any], repeats: int) -> float:
    """Median wall time of an action after one unmeasured call."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compare_targets(size: Size, settings: Settings, channels: int) -> None:
    """Targets and mask loss, with and without loops, for growing numbers of objects."""
    features = torch.randn(channels, size[0] // MASK_STRIDE, size[1] // MASK_STRIDE)
    kernels = torch.randn(sum(grid**2 for grid in settings.num_grids), channels) * 0.01
    header = ("targets: ours / loops", "with loss: ours / by cell", "ours / by level")
    print(f"{'objects':>8} {header[0]:>29} {header[1]:>29} {header[2]:>29}")
    for count in (1, 10, 50, 100):
        truth = objects(count, size, settings.num_classes)

        def ours_targets(truth: Instances = truth) -> tuple[CellTargets, Tensor]:
            masks = truth.gt_masks.tensor
            found = assign_cells(
                truth.gt_boxes.tensor,
                truth.gt_classes,
                masks,
                padded_size=size,
                **settings._asdict(),
            )
            return found, shrink_masks(masks, MASK_STRIDE)

        def ours_loss() -> Tensor:
            found, small = ours_targets()
            logits = (kernels[found.cells] @ features.flatten(1)).unflatten(1, features.shape[1:])
            return dice_loss(logits, small, found.instances).mean()

        def loops(truth: Instances = truth) -> list[tuple[Tensor, list[int], Tensor]]:
            return looped_targets(truth, size, settings)

        def by_cell_loss() -> Tensor:
            return looped_dice(loops(), kernels, features, by_cell=True).mean()

        def by_level_loss() -> Tensor:
            return looped_dice(loops(), kernels, features).mean()

        for other in (by_cell_loss, by_level_loss):
            if not torch.isclose(ours_loss(), other(), rtol=1e-4):
                raise RuntimeError(f"two definitions disagree at {count} objects")
        row = f"{count:>8}"
        pairs = (ours_targets, loops), (ours_loss, by_cell_loss), (ours_loss, by_level_loss)
        for fast, slow in pairs:
            ours, theirs = seconds(fast, 5), seconds(slow, 3)
            row += f" {ours * 1e3:9.1f} / {theirs * 1e3:8.1f} ms {theirs / ours:5.1f}x"
        print(row, flush=True)


def train_step(model: SOLOv2, sample: dict[str, Any], *, with_loops: bool) -> None:
    """Losses of one image and their gradients."""
    model.zero_grad()
    if not with_loops:
        sum(model.losses([sample]).values()).backward()
        return
    images = model.preprocess_image([sample])
    categories, kernels, features = model._heads(images.tensor)
    settings = Settings(
        model.ins_head.num_grids, model.scale_ranges, model.sigma, model.num_classes
    )
    found = looped_targets(sample["instances"], tuple(images.tensor.shape[-2:]), settings)
    labels = torch.cat([labels for _, _, labels in found])
    focal = category_loss(
        categories[0], labels, alpha=model.focal_alpha, gamma=model.focal_gamma
    ) / ((labels != model.num_classes).sum() + 1)
    (focal + model.dice_weight * looped_dice(found, kernels[0], features[0]).mean()).backward()


@torch.inference_mode()
def flooded_step(model: SOLOv2, sample: dict[str, Any], *, maps_first: bool) -> None:
    """Find objects where every cell is a candidate."""
    if not maps_first:
        model([sample])
        return
    images = model.preprocess_image([sample])
    categories, kernels, features = model._heads(images.tensor, suppress_points=True)
    decoder = model.decoder
    soft = (kernels[0] @ features[0].flatten(1)).sigmoid().unflatten(1, features.shape[-2:])
    masks = soft > decoder.mask_threshold
    areas = masks.sum((1, 2)).float()
    quality = (soft * masks).sum((1, 2)) / areas.clamp(min=1)
    scores, cells = (categories[0] * quality[:, None]).flatten().topk(decoder.max_candidates)
    labels, cells = cells % model.num_classes, cells // model.num_classes
    scores = matrix_nms(labels, masks[cells], areas[cells].clamp(min=1), scores)
    best = scores.topk(decoder.max_per_image).indices
    decoder._paste(soft[cells][best], images.image_sizes[0], images.image_sizes[0])


def peak_megabytes() -> float:
    """Largest resident size of this process so far; on CUDA that of the allocator."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(name: str, args: argparse.Namespace) -> None:
    """Print seconds and megabytes above idle of one kind of step, as JSON."""
    torch.manual_seed(0)
    flood = ["MODEL.SOLOV2.SCORE_THR", "0.0", "MODEL.SOLOV2.UPDATE_THR", "0.0"]
    cfg = setup_cfg(args.config_file, ["MODEL.WEIGHTS", "", *flood, *args.opts])
    model = build_model(cfg)
    size = tuple(args.size)
    pixels = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    sample = {"image": pixels, "instances": objects(args.objects, size, model.num_classes)}
    steps: dict[str, Callable[[], None]] = {
        "train": lambda: train_step(model, sample, with_loops=False),
        "train with loops": lambda: train_step(model, sample, with_loops=True),
        "flooded": lambda: flooded_step(model.eval(), sample, maps_first=False),
        "flooded, maps first": lambda: flooded_step(model.eval(), sample, maps_first=True),
    }
    idle = peak_megabytes()
    taken = seconds(steps[name], args.repeats)
    print(json.dumps({"seconds": taken, "megabytes": peak_megabytes() - idle}))


def compare_steps(title: str, ours: str, other: str) -> None:
    """Measure two kinds of step, each in a process of its own."""
    results = []
    for name in (ours, other):
        command = [sys.executable, *sys.argv[:1], "--measure", name, *sys.argv[1:]]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results.append(json.loads(text.splitlines()[-1]))
    print(title)
    for unit in ("seconds", "megabytes"):
        first, second = (result[unit] for result in results)
        above = " above idle, at the peak" if unit == "megabytes" else ""
        print(f"  {ours}: {first:.2f}, {other}: {second:.2f} {unit}{above}: {second / first:.2f}x")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default="SOLOv2/R50_3x.yaml", metavar="FILE")
    parser.add_argument("--size", type=int, nargs=2, default=[800, 1216], metavar=("H", "W"))
    parser.add_argument("--objects", type=int, default=50, help="in the image of the training step")
    parser.add_argument("--repeats", type=int, default=2, help="of the whole steps")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, args)
        return
    solo = setup_cfg(args.config_file, args.opts).MODEL.SOLOV2
    size = (args.size[0], args.size[1])
    settings = Settings(solo.NUM_GRIDS, solo.FPN_SCALE_RANGES, solo.SIGMA, solo.NUM_CLASSES)
    print(f"{args.config_file}, image of {size[0]} x {size[1]}, {torch.get_num_threads()} threads")
    compare_targets(size, settings, solo.NUM_MASKS)
    compare_steps(
        f"training step, {args.objects} objects (the network included)", "train", "train with loops"
    )
    num_cells = sum(grid**2 for grid in settings.num_grids)
    compare_steps(
        f"inference, all {num_cells} cells above the threshold", "flooded", "flooded, maps first"
    )


if __name__ == "__main__":
    run_tool(main)
