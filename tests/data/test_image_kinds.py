"""Images of every kind that people have, through a dataset string, the checks and the loader."""

import logging
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.config import get_cfg
from d2lite.data import build_detection_test_loader, build_detection_train_loader
from d2lite.data.checking.dataset import check_dataset
from d2lite.data.loading.loader import worker_init_reset_seed
from tests.data import spec_files as make

pytestmark = pytest.mark.usefixtures("own_folders")


def save(path, mode="RGB", size=(20, 10), orientation=None, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256)
    else:
        image = Image.fromarray(pixels).convert(mode)
    options = {}
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.fixture
def everything(tmp_path):
    """A COCO set of one square on each kind of image; sizes as the images are upright."""
    folder = tmp_path / "work" / "Bilder für alle 東京"
    kinds = {
        "grey.png": {"mode": "L"}, "palette.png": {"mode": "P"}, "bits.png": {"mode": "1"},
        "clear.png": {"mode": "RGBA"}, "deep.png": {"mode": "I;16"}, "deep.tif": {"mode": "I;16"},
        "print.jpg": {"mode": "CMYK"}, "print.tif": {"mode": "CMYK"}, "a.jpeg": {}, "b.bmp": {},
        "c.tiff": {}, "d.webp": {}, "E.JPG": {}, "with blanks.png": {}, "ä ñ 猫 🐈.jpg": {},
        "dot.png": {"size": (1, 1)}, "wide.png": {"size": (20000, 3)},
        "high.jpg": {"size": (2, 20000)},
        **{f"exif{turn}.jpg": {"orientation": turn} for turn in range(1, 9)},
    }  # fmt: skip
    images, objects = [], []
    for number, (name, options) in enumerate(kinds.items()):
        save(folder / name, seed=number, **options)
        width, height = options.get("size", (20, 10))
        if options.get("orientation", 1) >= 5:
            width, height = height, width
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        box = [0, 0, min(width, 9), min(height, 9)]
        objects.append({"id": number, "image_id": number, "category_id": 1, "bbox": box})
    make.coco(folder / "a.json", ["cat"], images=images, annotations=objects)
    return f"coco:{folder / 'a.json'}", len(kinds)


def test_every_kind_of_image_is_sound_and_is_trained_on(everything, caplog):
    """Grey to CMYK, eight senses of EXIF, odd names, 1 x 1 and 20,000 pixels wide."""
    name, count = everything
    checked = check_dataset(name)
    assert not checked.faults.has_faults
    assert dict(checked.faults.counts) == {"exif_turned": 7}
    assert len(checked.records) == count
    cfg = get_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), (name,)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (16,), 16
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = 1, 0
    with caplog.at_level(logging.INFO, "d2lite"):
        samples = [s for b in islice(build_detection_train_loader(cfg), count) for s in b]
    assert "in place of a bad one" not in caplog.text
    assert {sample["image_id"] for sample in samples} == set(range(count))
    for sample in samples:
        assert sample["image"].dtype == torch.uint8
        assert len(sample["image"]) == 3
        assert len(sample["instances"]) == 1
    assert len(list(build_detection_test_loader(cfg, name))) == count


def test_workers_run_one_thread_for_each_library(monkeypatch):
    """Threads for each core in each of the processes would wait for each other."""
    calls = []
    monkeypatch.setattr(torch, "set_num_threads", lambda n: calls.append(("torch", n)))
    monkeypatch.setattr(cv2, "setNumThreads", lambda n: calls.append(("cv2", n)))
    monkeypatch.setattr("d2lite.data.loading.loader.seed_all_rng", lambda seed: None)
    # It would change how this process, and those that it starts, take signals.
    monkeypatch.setattr("d2lite.data.loading.loader.leave_signals_to_parent", lambda: None)
    worker_init_reset_seed(0)
    assert calls == [("torch", 1), ("cv2", 0)]
