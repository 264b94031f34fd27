import json
import os

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from PIL import Image


def write_dots(folder, num_images=6, size=64):
    """Write images with bright squares on noise, and a COCO file of them."""
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id in range(1, num_images + 1):
        pixels = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
        for _ in range(2):
            x, y = (int(v) for v in rng.integers(0, size - 24, 2))
            pixels[y : y + 24, x : x + 24] = 220
            box = {"bbox": [x, y, 24, 24], "area": 576, "iscrowd": 0, "category_id": 1}
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **box})
        name = f"{image_id}.png"
        Image.fromarray(pixels).save(os.path.join(folder, name))
        images.append({"id": image_id, "file_name": name, "height": size, "width": size})
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "dot"}]
    with open(os.path.join(folder, "dots.json"), "w") as file:
        json.dump(content, file)


def register_dots(folder):
    """Register the folder's images as "dots"."""
    if "dots" in DatasetCatalog.list():
        return
    path = os.path.join(folder, "dots.json")
    if not os.path.exists(path):
        write_dots(folder)
    DatasetCatalog.register("dots", lambda: load_coco_json(path, folder, "dots"))
    MetadataCatalog.get("dots").set(evaluator_type="coco", json_file=path, image_root=folder)
