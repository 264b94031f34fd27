"""A COCO dataset with every fault that d2lite looks for, in a known number of copies."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAN = float("nan")

# Kind of fault -> how many of them `spoilt` makes.
COUNTS = {
    "missing_image": 2,
    "unreadable_image": 3,
    "size_differs": 2,
    "exif_rotation": 2,
    "exif_turned": 2,
    "incomplete_image": 2,
    "duplicate_image_id": 2,
    "repeated_image": 2,
    "unknown_image": 3,
    "unknown_category": 2,
    "duplicate_annotation_id": 2,
    "malformed": 2,
    "bad_box": 5,
    "box_outside": 2,
    "box_beyond": 2,
    "few_points": 3,
    "bad_mask": 4,
    "empty_class": 2,
    "partly_masked": 23,
}
NUM_IMAGES, NUM_SOUND_IMAGES, NUM_SOUND_OBJECTS = 30, 21, 24

SQUARE = [2.0, 2.0, 8.0, 2.0, 8.0, 8.0, 2.0, 8.0]


def photo(path: Path, seed: int, size=(20, 10), orientation: int = 1) -> None:
    """An image of noise, which no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)


def _bad_objects() -> list[dict]:
    rle = {"size": [10, 20], "counts": [30, 20, 150]}
    return [
        {"image_id": 900},
        {"image_id": 901},
        {"image_id": None},
        {"category_id": 77},
        {"category_id": 0},
        {"bbox": [1, 2]},
        {"bbox": "wide"},
        {"bbox": [2, 2, 0, 5]},
        {"bbox": [2, 2, 5, -1]},
        {"bbox": [2, NAN, 5, 5]},
        {"bbox": [2, 2, float("inf"), 5]},
        {"bbox": [2, 2, 0, 0]},
        {"bbox": [30, 2, 5, 5]},
        {"bbox": [-9, -9, 5, 5]},
        {"segmentation": [[1, 1, 2, 2]]},
        {"segmentation": [[1, 1, 2, 2, 3]]},
        {"segmentation": {**rle, "counts": [30, 20]}},
        {"segmentation": {"size": [5, 5], "counts": [25]}},
        {"segmentation": {"size": [10, 20], "counts": "~~~"}},
        {"segmentation": "drawn"},
    ]


def _odd_objects() -> list[dict]:
    """What is corrected and stays."""
    return [
        {"bbox": [-5, 2, 10, 5]},
        {"bbox": [15, 2, 10, 5]},
        {"segmentation": [SQUARE, [1, 1, 2, 2]]},
        {"id": 1},
        {"id": 2},
    ]


def spoilt(folder: Path) -> Path:
    """Write the dataset; returns its JSON."""
    images = []
    for number in range(NUM_IMAGES):
        name = f"{number:02d}.png"
        images.append({"id": number, "file_name": name, "height": 10, "width": 20, "licence": 3})
        photo(folder / name, number)
    for number in (0, 1):
        (folder / f"{number:02d}.png").unlink()
    (folder / "02.png").write_bytes(b"no image")
    for number in (3, 4):
        path = folder / f"{number:02d}.png"
        path.write_bytes(path.read_bytes()[:-60])
    photo(folder / "05.png", 5, (21, 10))
    photo(folder / "06.png", 6, (20, 9))
    for number in (7, 8):
        photo(folder / f"{number:02d}.png", number, orientation=6)
    for number in (9, 10):
        photo(folder / f"{number:02d}.png", number, (10, 20), orientation=8)
    images.append({"id": 100, "file_name": "x.png"})
    images.append({"id": 101, "height": 10, "width": 20})
    images += [{**images[10]}, {**images[12]}]
    for number in (102, 103):
        images += [{**images[10], "id": number}, {**images[11], "id": number}]
    valid = [{"image_id": number} for number in range(11, NUM_IMAGES)]
    objects = [*valid, *_bad_objects(), *_odd_objects()]
    content = {
        "info": {"from": "a tool"},
        "images": images,
        "categories": [
            {"id": i, "name": n} for i, n in ((3, "owl"), (9, "cat"), (5, "ant"), (4, "bee"))
        ],
        "annotations": [
            {
                "id": number,
                "image_id": 20,
                "category_id": (3, 9)[number % 2],
                "bbox": [2, 2, 6, 6],
                "area": 36,
                "author": "me",
                **given,
            }
            for number, given in enumerate(objects, start=1)
        ],
    }
    file = folder / "spoilt.json"
    file.write_text(json.dumps(content))
    return file
