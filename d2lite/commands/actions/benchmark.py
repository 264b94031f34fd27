"""What `d2lite benchmark` does: measure the data loader beside a plain pipeline."""

import argparse
import resource
import statistics
import time
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from d2lite.config import CfgNode
from d2lite.data import build_detection_train_loader, get_detection_dataset_dicts
from d2lite.engine import setup_cfg
from d2lite.utils.errors import ConfigError
from d2lite.utils.logger import setup_logger

from .loader_benchmark import PlainDataset, StepClock, timed_mapper


def images_per_second(batches: Iterator[list[Any]], num_images: int) -> float:
    """The speed of a loader; the clock starts with the second batch, when processes run."""
    next(batches)
    start, done = time.perf_counter(), 0
    while done < num_images:
        done += len(next(batches))
    return done / (time.perf_counter() - start)


def endless(loader: DataLoader[Any]) -> Iterator[list[Any]]:
    """Batches of a loader, again and again."""
    while True:
        yield from loader


def with_workers(cfg: CfgNode, count: int) -> CfgNode:
    """The config with so many loader processes."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = count
    return cfg


def compare(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Print images per second of d2lite and of the plain pipeline, for each number of workers."""
    records = get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    )
    lines = [f"{'workers':>7}  {'d2lite':>8}  {'plain':>8}  ratio (images per second, medians)"]
    for workers in args.workers:
        loader = build_detection_train_loader(with_workers(cfg, workers))
        plain = DataLoader(
            PlainDataset(records, cfg),
            batch_size=cfg.SOLVER.IMS_PER_BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=list,
        )
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(args.repeats):
            # In turns, so that a busy neighbour slows both.
            ours.append(images_per_second(iter(loader), args.images))
            theirs.append(images_per_second(endless(plain), args.images))
        one, two = statistics.median(ours), statistics.median(theirs)
        lines.append(f"{workers:>7}  {one:>8.1f}  {two:>8.1f}  {one / two:.2f}")
    print("\n".join(lines))  # together: loaders log as they are built


def show_steps(cfg: CfgNode, num_images: int) -> None:
    """Print which step of the mapper takes the time."""
    clock = StepClock()
    loader = build_detection_train_loader(with_workers(cfg, 0), mapper=timed_mapper(cfg, clock))
    batches = iter(loader)
    next(batches)
    clock.clear()
    done = 0
    while done < num_images:
        done += len(next(batches))
    print(f"\n{'ms an image':>11}  {'share':>5}  step (one process)")
    total = clock.total()
    for name, seconds in clock.steps():
        print(f"{1000 * seconds / done:>11.2f}  {seconds / total:>5.0%}  {name}")
    print(f"{1000 * total / done:>11.2f}         in all")


def benchmark(args: argparse.Namespace) -> None:
    """Measure and print."""
    setup_logger()
    cfg = setup_cfg(args.config_file, args.opts, args.imports)
    if not cfg.DATASETS.TRAIN:
        raise ConfigError(
            "DATASETS.TRAIN is empty, so there is nothing to load. Name a dataset, for instance "
            "DATASETS.TRAIN \"('shapes_train',)\" at the end of the command."
        )
    if min(args.images, args.repeats) < 1 or min(args.workers) < 0:
        raise ConfigError("--images and --repeats are 1 or more, --workers 0 or more.")
    compare(cfg, args)
    show_steps(cfg, args.images)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    if peak:
        print(f"\nlargest loader process: {peak:.0f} MiB, the libraries included")
