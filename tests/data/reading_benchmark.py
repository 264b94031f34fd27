"""Time and peak memory of reading many annotations in COCO's format.

python tests/data/reading_benchmark.py make big.json     # 100,000 images of 10 polygons
python tests/data/reading_benchmark.py load big.json     # load_coco_json
python tests/data/reading_benchmark.py string big.json   # coco:big.json
python tests/data/reading_benchmark.py truth big.json    # ground truth of an evaluation
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from d2lite.data import get_detection_dataset_dicts
from d2lite.data.datasets import load_coco_json, register_coco_instances
from d2lite.evaluation.coco_ground_truth import coco_ground_truth, complete_ground_truth


def make(path: str, num_images: int = 100_000, per_image: int = 10) -> None:
    """Write the file."""
    images = [
        {"id": i + 1, "file_name": f"{i}.jpg", "width": 640, "height": 480, "license": 1}
        for i in range(num_images)
    ]
    categories = [{"id": i, "name": f"c{i}"} for i in range(1, 81)]
    with open(path, "w") as file:
        file.write(f'{{"images": {json.dumps(images)}, "categories": {json.dumps(categories)}')
        for number, annotation in enumerate(_annotations(num_images * per_image)):
            image = {"id": number + 1, "image_id": number // per_image + 1}
            file.write(", " if number else ', "annotations": [')
            file.write(json.dumps({**image, **annotation}))
        file.write("]}")


def _annotations(count: int) -> Iterator[dict]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        x, y, w, h = rng.uniform([0, 0, 10, 10], [500, 380, 130, 90]).round(2).tolist()
        turn = np.linspace(0, 2 * np.pi, rng.integers(8, 25), endpoint=False)
        points = [x + w / 2 * (1 + np.cos(turn)), y + h / 2 * (1 + np.sin(turn))]
        yield {
            "category_id": int(rng.integers(1, 81)),
            "bbox": [x, y, w, h],
            "area": w * h * 0.78,
            "iscrowd": 0,
            "segmentation": [np.stack(points, axis=1).round(2).ravel().tolist()],
        }


def measure(what: str, path: str) -> None:
    """Print what one kind of reading takes."""
    folder = str(Path(path).resolve().parent)
    register_coco_instances("big", {}, path, folder)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    if what == "load":
        count = sum(len(r["annotations"]) for r in load_coco_json(path, folder))
    elif what == "string":
        count = sum(len(r["annotations"]) for r in get_detection_dataset_dicts(f"coco:{path}"))
    else:
        truth = complete_ground_truth(coco_ground_truth("big", None), "segm")
        count = len(truth["annotations"])
    took = time.process_time() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 2**20
    print(f"{what}: {count} annotations, {took:.1f} s, {memory:.2f} GiB")


if __name__ == "__main__":
    make(sys.argv[2]) if sys.argv[1] == "make" else measure(*sys.argv[1:])
