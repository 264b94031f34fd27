"""The training loader: images a second beside a plain pipeline, and the time of its steps.

The plain pipeline is what one would write with torch and torchvision alone for the same work.
"""

import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from pycocotools import mask as mask_util
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from d2lite.config import CfgNode
from d2lite.data import (
    build_detection_train_loader,
    dataset_mapper,
    get_detection_dataset_dicts,
)
from d2lite.data.dataset_mapper import DatasetMapper
from d2lite.data.images import image_io
from d2lite.data.transforms import Augmentation
from d2lite.structures import BoxMode
from d2lite.utils.errors import ConfigError

from .clock import PhaseClock, Side

__all__ = ["PlainDataset", "loader_sides", "show_steps", "timed_mapper"]

_REST = "all else"


class _TimedAugmentation(Augmentation):
    """Another augmentation, whose time counts for a step of its name."""

    def __init__(self, inner: Augmentation, clock: PhaseClock) -> None:
        super().__init__()
        self._inner, self._clock = inner, clock

    def __call__(self, aug_input: Any) -> Any:
        with self._clock(f"augment: {type(self._inner).__name__}"):
            return self._inner(aug_input)

    def __repr__(self) -> str:
        return repr(self._inner)


# Where each step is done: module, function, and what it is called.
_STEPS = (
    (image_io, "_read_bytes", "read the file"),
    (image_io, "_decode", "decode"),
    (image_io, "convert_PIL_to_numpy", "bring channels into order"),
    (dataset_mapper, "transform_instance_annotations", "transform annotations"),
    (dataset_mapper, "annotations_to_instances", "make instances (masks)"),
    (dataset_mapper, "filter_empty_instances", "drop empty instances"),
    (dataset_mapper, "_to_planes", "make a tensor"),
)


class _TimedMapper(DatasetMapper):
    """A mapper with a clock on each step."""

    clock: PhaseClock

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        with _clocks_set(self.clock), self.clock(_REST):
            return super().__call__(dataset_dict)


def timed_mapper(cfg: CfgNode, clock: PhaseClock) -> DatasetMapper:
    """The training mapper of a config, with a clock on each step.

    Args:
        cfg: as for `DatasetMapper`.
        clock: takes the times; only calls in this process count.
    """
    options = DatasetMapper.from_config(cfg, True)
    options["augmentations"] = [
        _TimedAugmentation(step, clock) if isinstance(step, Augmentation) else step
        for step in options["augmentations"]
    ]
    mapper = _TimedMapper(**options)
    mapper.clock = clock
    return mapper


@contextmanager
def _clocks_set(clock: PhaseClock) -> Iterator[None]:
    """Inside, the functions of `_STEPS` are timed."""
    kept = [(module, name, getattr(module, name)) for module, name, _ in _STEPS]
    for module, name, what in _STEPS:
        setattr(module, name, clock.timed(what, getattr(module, name)))
    try:
        yield
    finally:
        for module, name, action in kept:
            setattr(module, name, action)


class PlainDataset(Dataset[tuple[torch.Tensor, dict[str, Any]]]):
    """Images, boxes and bitmasks by torchvision's transforms, with the sizes of a config."""

    def __init__(self, records: Sequence[dict[str, Any]], cfg: CfgNode) -> None:
        """Take over the settings.

        Args:
            records: dataset dicts with annotations.
            cfg: INPUT's sizes and flip, and MODEL.MASK_ON are read.

        Raises:
            ConfigError: for sizes that torchvision does not draw.
        """
        if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING != "choice" or cfg.INPUT.CROP.ENABLED:
            raise ConfigError(
                "The plain pipeline resizes by INPUT.MIN_SIZE_TRAIN_SAMPLING choice and does not "
                "crop; set INPUT.CROP.ENABLED False for the comparison."
            )
        self._records = list(records)
        self._has_masks = cfg.MODEL.MASK_ON
        flip = 0.5 if cfg.INPUT.RANDOM_FLIP == "horizontal" else 0.0
        self._transforms = v2.Compose(
            [
                v2.RandomShortestSize(
                    list(cfg.INPUT.MIN_SIZE_TRAIN), max_size=cfg.INPUT.MAX_SIZE_TRAIN
                ),
                v2.RandomHorizontalFlip(flip),
                v2.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, Any]]:
        record = self._records[index]
        name = str(record["file_name"])
        if "://" in name:
            image = Image.fromarray(image_io.read_image(name, "RGB"))
        else:
            with Image.open(name) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
        objects = [obj for obj in record.get("annotations", ()) if not obj.get("iscrowd", 0)]
        size = (image.height, image.width)
        corners = [
            BoxMode.convert(obj["bbox"], obj["bbox_mode"], BoxMode.XYXY_ABS) for obj in objects
        ]
        target: dict[str, Any] = {
            "boxes": tv_tensors.BoundingBoxes(
                torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
                format="XYXY",
                canvas_size=size,
            ),
            "labels": torch.tensor([obj["category_id"] for obj in objects]),
        }
        if self._has_masks:
            target["masks"] = tv_tensors.Mask(_bitmasks(objects, *size))
        return self._transforms(image, target)


def _bitmasks(objects: Sequence[dict[str, Any]], height: int, width: int) -> torch.Tensor:
    """(N, H, W) uint8 of all objects."""
    maps = np.zeros((len(objects), height, width), dtype=np.uint8)
    for place, obj in zip(maps, objects, strict=True):
        mask = obj.get("segmentation")
        if isinstance(mask, list):
            code = mask_util.merge(mask_util.frPyObjects(mask, height, width))
            place[:] = mask_util.decode(code)
        elif isinstance(mask, np.ndarray):
            place[:] = mask
        elif mask is not None:
            place[:] = mask_util.decode(mask)
    return torch.from_numpy(maps)


def loader_sides(cfg: CfgNode, workers: int, num_images: int) -> list[Side]:
    """Make the sides that load images: d2lite's training loader, and the plain pipeline.

    Args:
        cfg: DATASETS.TRAIN and all that its loader reads.
        workers: loader processes.
        num_images: of a step; its seconds are those of one image.
    """
    records = get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    )
    loader = build_detection_train_loader(_with_workers(cfg, workers))
    plain = DataLoader(
        PlainDataset(records, cfg),
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=list,
    )
    return [
        Side("d2lite", lambda: _seconds_an_image(iter(loader), num_images)),
        Side("plain", lambda: _seconds_an_image(_endless(plain), num_images)),
    ]


def show_steps(cfg: CfgNode, num_images: int) -> list[str]:
    """Lines that say which step of the mapper takes the time, in one process."""
    clock = PhaseClock()
    loader = build_detection_train_loader(_with_workers(cfg, 0), mapper=timed_mapper(cfg, clock))
    batches = iter(loader)
    next(batches)
    clock.take()
    done = 0
    while done < num_images:
        done += len(next(batches))
    seconds = clock.take()
    total = sum(seconds.values())
    lines = ["| step of the mapper (one process) | ms an image | share |", "| --- | ---: | ---: |"]
    lines += [
        f"| {name} | {1000 * spent / done:.2f} | {spent / total:.0%} |"
        for name, spent in sorted(seconds.items(), key=lambda item: -item[1])
    ]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    if peak:
        lines += ["", f"The largest loader process takes {peak:.0f} MiB, the libraries included."]
    return lines


def _seconds_an_image(batches: Iterator[list[Any]], num_images: int) -> Mapping[str, float]:
    """The speed of a loader; the clock starts with the second batch, when processes run."""
    next(batches)
    start, done = time.perf_counter(), 0
    while done < num_images:
        done += len(next(batches))
    return {"whole": (time.perf_counter() - start) / done}


def _endless(loader: DataLoader[Any]) -> Iterator[list[Any]]:
    while True:
        yield from loader


def _with_workers(cfg: CfgNode, count: int) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = count
    return cfg
