#!/usr/bin/env python
"""How much faster, and how much smaller, than SOLOv2 written with loops.

    python projects/solov2/benchmark.py

Targets and loss are timed against the plain definition that the tests hold them to (a loop over
levels, objects and cells, and a convolution a level and image, as published). Everything is
measured in one run on one machine, and printed as ratios: machines differ, ratios less.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from d2lite.engine import setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.solov2.inference import MASK_STRIDE
from d2lite.projects.solov2.losses import dice_loss
from d2lite.projects.solov2.targets import assign_cells, shrink_masks
from d2lite.structures import BitMasks, Boxes, Instances

HEIGHT, WIDTH = 800, 1216
NUM_CLASSES = 80


def objects(count: int, seed: int = 0) -> Instances:
    """An image's worth of ellipses with boxes and masks."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, HEIGHT, WIDTH), np.uint8)
    boxes = np.zeros((count, 4), np.float32)
    for mask, box in zip(masks, boxes, strict=True):
        radius = np.exp(rng.uniform(np.log(12), np.log(250), 2))
        center = rng.uniform(0, [WIDTH, HEIGHT])
        cv2.ellipse(mask, (center, 2 * radius, 0.0), 1, -1)
        low, high = center - radius, center + radius
        box[:] = np.clip([*low, *high], 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    instances = Instances((HEIGHT, WIDTH))
    instances.gt_boxes = Boxes(torch.from_numpy(boxes))
    instances.gt_classes = torch.from_numpy(rng.integers(0, NUM_CLASSES, count))
    instances.gt_masks = BitMasks(torch.from_numpy(masks).bool())
    return instances


def seconds(action: Callable[[], Any], *, repeats: int = 5) -> float:
    """Median wall time of an action after one unmeasured call."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_megabytes() -> float:
    """Largest resident size of this process so far; on CUDA that of the allocator."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def looped_targets(truth: Instances, settings: dict[str, Any]) -> list[tuple[Tensor, list[int]]]:
    """Masks of every positive cell and the cells' numbers, level by level, in plain loops."""
    full = (HEIGHT, WIDTH)
    size = (HEIGHT // MASK_STRIDE, WIDTH // MASK_STRIDE)
    boxes, all_masks = truth.gt_boxes.tensor, truth.gt_masks.tensor
    extent = boxes[:, 2:] - boxes[:, :2]
    scale = extent.prod(dim=1).sqrt()
    levels = []
    for grid, (low, high) in zip(settings["num_grids"], settings["scale_ranges"], strict=True):
        stacked, cells = [], []
        labels = torch.full((grid, grid), NUM_CLASSES)
        for i in ((scale >= low) & (scale <= high)).nonzero()[:, 0].tolist():
            mask = all_masks[i]
            if not mask.any():
                continue
            ys, xs = mask.nonzero(as_tuple=True)
            center = (ys.float().mean(), xs.float().mean())
            half = extent[i].flip(0) * settings["sigma"] / 2
            ranges = []
            for axis in (0, 1):
                at = [int(v / full[axis] * grid) for v in (
                    center[axis] - half[axis], center[axis], center[axis] + half[axis]
                )]  # fmt: skip
                ranges.append(range(max(at[0], at[1] - 1, 0), min(at[2], at[1] + 1, grid - 1) + 1))
            small = cv2.resize(
                mask.numpy().astype(np.uint8), size[::-1], interpolation=cv2.INTER_LINEAR
            )
            for row in ranges[0]:
                for column in ranges[1]:
                    labels[row, column] = truth.gt_classes[i]
                    target = torch.zeros(size, dtype=torch.uint8)
                    target[: small.shape[0], : small.shape[1]] = torch.from_numpy(small)
                    stacked.append(target)
                    cells.append(row * grid + column)
        levels.append((torch.stack(stacked) if stacked else torch.zeros(0, *size), cells))
    return levels


def compare_targets(settings: dict[str, Any]) -> None:
    """Targets and mask loss, vectorised against looped, for growing numbers of objects."""
    channels = 256
    features = torch.randn(channels, HEIGHT // MASK_STRIDE, WIDTH // MASK_STRIDE)
    num_cells = sum(grid**2 for grid in settings["num_grids"])
    kernels = torch.randn(num_cells, channels) * 0.01
    print(f"{'objects':>8} {'targets':>24} {'targets + loss':>24}")
    for count in (1, 10, 50, 100):
        truth = objects(count)

        def ours_targets(truth: Instances = truth) -> tuple[Any, Tensor]:
            masks = truth.gt_masks.tensor
            found = assign_cells(
                truth.gt_boxes.tensor,
                truth.gt_classes,
                masks,
                padded_size=(HEIGHT, WIDTH),
                num_classes=NUM_CLASSES,
                **settings,
            )
            return found, shrink_masks(masks, MASK_STRIDE)

        def ours_loss() -> Tensor:
            found, small = ours_targets()
            logits = (kernels[found.cells] @ features.flatten(1)).unflatten(1, features.shape[1:])
            return dice_loss(logits, small[found.instances]).mean()

        def looped(truth: Instances = truth) -> list[tuple[Tensor, list[int]]]:
            return looped_targets(truth, settings)

        def looped_loss() -> Tensor:
            parts, first = [], 0
            for (targets, cells), grid in zip(looped(), settings["num_grids"], strict=True):
                if cells:
                    chosen = kernels[first : first + grid**2][cells]
                    maps = F.conv2d(features[None], chosen[:, :, None, None])[0]
                    parts.append(dice_loss(maps, targets))
                first += grid**2
            return torch.cat(parts).mean()

        if not torch.isclose(ours_loss(), looped_loss(), rtol=1e-4):
            raise RuntimeError(f"the two definitions disagree at {count} objects")
        row = f"{count:>8}"
        for fast, slow in ((ours_targets, looped), (ours_loss, looped_loss)):
            ours, theirs = seconds(fast), seconds(slow, repeats=3)
            row += f" {ours * 1e3:7.1f} / {theirs * 1e3:7.1f} ms {theirs / ours:4.1f}x"
        print(row)


def whole_steps(opts: list[str]) -> None:
    """One training step, and inference with every cell above the threshold."""
    cfg = setup_cfg("solov2/configs/R50_3x.yaml", ["MODEL.WEIGHTS", "", *opts])
    model = build_model(cfg)
    pixels = torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8)
    sample = {"image": pixels, "height": HEIGHT, "width": WIDTH, "instances": objects(20)}

    def train_step() -> None:
        model.zero_grad()
        sum(model.losses([sample]).values()).backward()

    print(
        f"training step, 1 image of {HEIGHT} x {WIDTH}: {seconds(train_step, repeats=2):.2f} s, "
        f"peak {peak_megabytes():.0f} MB"
    )


def flooded_inference(opts: list[str]) -> None:
    """Inference when every cell is a candidate: what used to run out of memory."""
    flood = ["MODEL.WEIGHTS", "", "MODEL.SOLOV2.SCORE_THR", "0.0"]
    cfg = setup_cfg("solov2/configs/R50_3x.yaml", [*flood, *opts])
    model = build_model(cfg).eval()
    pixels = torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8)
    with torch.inference_mode():
        model.preprocess_image([{"image": pixels}])
        before = peak_megabytes()
        time_taken = seconds(lambda: model([{"image": pixels}]), repeats=1)
    cells = sum(grid**2 for grid in cfg.MODEL.SOLOV2.NUM_GRIDS)
    whole = cells * (HEIGHT // MASK_STRIDE) * (WIDTH // MASK_STRIDE) * 4 / 2**20
    print(
        f"inference, all {cells} cells above the threshold: {time_taken:.2f} s, peak "
        f"{peak_megabytes():.0f} MB ({peak_megabytes() - before:.0f} MB more than idle); "
        f"the maps of all cells at once would take {whole:.0f} MB, several times over"
    )


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args()
    solo = setup_cfg("solov2/configs/R50_3x.yaml").MODEL.SOLOV2
    settings = {
        "num_grids": solo.NUM_GRIDS,
        "scale_ranges": solo.FPN_SCALE_RANGES,
        "sigma": solo.SIGMA,
    }
    flooded_inference(args.opts)
    whole_steps(args.opts)
    compare_targets(settings)


if __name__ == "__main__":
    main()
