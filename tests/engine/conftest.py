"""A registered set of small images, and a config that trains a toy detector on it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.config import CfgNode, get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.engine import CallbackHook, DefaultTrainer
from d2lite.structures import BoxMode

from . import toys

CLASSES = ["nut", "bolt", "washer"]


def make_records(folder: Path, count: int) -> list[dict]:
    """Images of one bright rectangle each; its place and class follow from the number."""
    records = []
    for number in range(count):
        height, width = (32, 48) if number % 3 else (48, 32)
        x, y = 2 + number % 7, 3 + number % 5
        pixels = np.full((height, width, 3), 20 * (number % 4), np.uint8)
        pixels[y : y + 20, x : x + 16] = 120 + 40 * (number % 3)
        path = folder / f"{number:03d}.png"
        Image.fromarray(pixels).save(path)
        box = {
            "bbox": [x, y, 16, 20],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": number % 3,
            "iscrowd": 0,
        }
        records.append(
            {
                "file_name": str(path),
                "image_id": number,
                "height": height,
                "width": width,
                "annotations": [box],
            }
        )
    return records


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """Registers sets under names that are forgotten after the test."""
    names = []

    def add(name: str, records: list[dict], classes: list[str] | None = CLASSES) -> None:
        DatasetCatalog.register(name, lambda: records)
        metadata = MetadataCatalog.get(name).set(evaluator_type="coco")
        if classes is not None:
            metadata.set(thing_classes=classes)
        names.append(name)

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def toy_cfg(tmp_path: Path, register: Callable[..., None]) -> CfgNode:
    """A config of the toy detector on 8 training and 4 validation images, 6 iterations."""
    records = make_records(tmp_path, 12)
    register("toy_train", records[:8])
    register("toy_val", records[8:])
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = toys.ToyDetector.__name__
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.MASK_ON = False
    cfg.DATASETS.TRAIN = ("toy_train",)
    cfg.DATASETS.TEST = ("toy_val",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN = (24, 32)
    cfg.INPUT.MIN_SIZE_TEST = 32
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.WARMUP_ITERS = 2
    cfg.SOLVER.STEPS = (4,)
    cfg.SOLVER.MAX_ITER = 6
    cfg.SEED = 5
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    return cfg


def run(
    cfg: CfgNode,
    trainer_type: type[DefaultTrainer] = DefaultTrainer,
    *,
    resume: bool = False,
    stop_at: int | None = None,
) -> DefaultTrainer:
    """Train; `stop_at` breaks off after so many iterations, as Ctrl-C would."""
    torch.manual_seed(0)
    trainer = trainer_type(cfg)
    trainer.resume_or_load(resume=resume)
    if stop_at is None:
        trainer.train()
        return trainer

    def stop(inner) -> None:
        if inner.iter + 1 == stop_at:
            raise KeyboardInterrupt

    trainer.register_hooks([CallbackHook(after_step=stop)])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    return trainer


def saved(cfg: CfgNode, name: str) -> dict:
    """What is in a checkpoint of the run."""
    return torch.load(Path(cfg.OUTPUT_DIR) / name, weights_only=True)
