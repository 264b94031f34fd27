"""Damaged checkpoints, configs, images and marks: a result or one message, whatever the bytes."""

import contextlib
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from d2lite.checkpoint.folder import read_mark
from d2lite.checkpoint.reading import read_checkpoint, stored_class_names
from d2lite.config import get_cfg
from d2lite.data.images.image_io import read_image
from d2lite.utils.errors import UserError
from d2lite.utils.events import EventStorage, JSONWriter
from d2lite.utils.unpack import unpack
from tests.resources import bounded


def damaged(data: bytes, dice: random.Random) -> bytes:
    """One to four changes: bytes set, cut out, repeated, or an end that is missing."""
    for _ in range(dice.randint(1, 4)):
        start = dice.randrange(len(data) + 1)
        end = min(len(data), start + dice.choice((1, 2, 8, 60)))
        some = dice.choice((bytes([255] * (end - start)), bytes(end - start)))
        middle = dice.choice((b"", data[start:end] * 3, dice.randbytes(end - start), some))
        data = data[:start] + middle + (b"" if dice.random() < 0.1 else data[end:])
    return data


def checkpoint(path: Path) -> Callable[[], None]:
    weights = {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3)}
    torch.save({"model": weights, "iteration": 3, "class_names": ["x", "y"]}, path)

    def read() -> None:
        content = read_checkpoint(str(path))
        assert all(isinstance(name, str) for name in stored_class_names(content) or ())

    return read


def old_checkpoint(path: Path) -> Callable[[], None]:
    content = {"model": {"a.weight": torch.ones(3, 4)}, "iteration": 3}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return lambda: read_checkpoint(str(path)) and None


def config(path: Path) -> Callable[[], None]:
    cfg = get_cfg()
    path.write_text(yaml.safe_dump({"SOLVER": {"MAX_ITER": 3, "STEPS": [1, 2]},
                                    "DATASETS": {"TRAIN": ["a"]}, "VERSION": 2}))  # fmt: skip
    return lambda: cfg.clone().merge_from_file(str(path))


def picture(path: Path, **options) -> Callable[[], None]:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)

    def read() -> None:
        made = read_image(str(path), "BGR")
        assert made.dtype == np.uint8
        assert made.nbytes < 2**28

    return read


def array(path: Path) -> Callable[[], None]:
    with path.open("wb") as stream:
        np.save(stream, np.zeros((8, 9, 5), np.uint16))
    return lambda: read_image(str(path), "NNNNN") is not None and None


def mark(path: Path) -> Callable[[], None]:
    path = path.with_name("last_checkpoint")
    path.write_text("model_0000003.pth")
    (path.parent / "model_0000003.pth").write_bytes(b"")
    return lambda: read_mark(path.parent) and None


def metrics(path: Path) -> Callable[[], None]:
    lines = [{"iteration": i, "total_loss": 1.5, "bbox/AP": None} for i in range(5)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def read() -> None:
        with EventStorage(3) as storage:
            storage.put_scalar("total_loss", 1.0)
            JSONWriter(path).write()
        assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines())

    return read


def archive(path: Path) -> Callable[[], None]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/b.txt", "text " * 50)
        made.writestr("c.txt", "more")
    return lambda: unpack(path, path.parent / "out") and None


# Pillow and numpy remark on what they skip.
pytestmark = pytest.mark.filterwarnings("ignore")

KINDS = {
    "x.pth": checkpoint,
    "y.pth": old_checkpoint,
    "x.yaml": config,
    "x.png": picture,
    "x.jpg": picture,
    "x.tif": picture,
    "x.bmp": picture,
    "x.npy": array,
    "last_checkpoint": mark,
    "metrics.json": metrics,
    "x.zip": archive,
}


def damage_and_read(name: str, folder: Path, seeds: range) -> None:
    path = folder / name
    read = KINDS[name](path)
    read()
    whole = path.read_bytes()
    for seed in seeds:
        content = damaged(whole, random.Random(f"{name} {seed}"))
        path.write_bytes(content)
        try:
            with contextlib.suppress(UserError):
                read()
        except Exception as error:
            error.add_note(f"seed {seed}: {content[:2000]!r}")
            raise


@pytest.mark.parametrize("name", KINDS)
def test_damaged_file_ends_in_a_result_or_a_message(name, tmp_path):
    with bounded():
        damage_and_read(name, tmp_path, range(150))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_more_damaged_files(name, tmp_path):
    damage_and_read(name, tmp_path, range(150, 3000))
