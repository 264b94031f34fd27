#!/usr/bin/env python
"""Find objects in images with the model in this folder, and print them as JSON.

python run.py photo.jpg dog.jpg --threshold 0.5
"""

# `d2lite export --with-runner` copies this file; it needs numpy, Pillow, onnxruntime or openvino.

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent


def load_model(facts: dict[str, Any]) -> Any:
    """A function from the arrays of the input to those of the output, by name."""
    path, names = HERE / facts["file"], facts["outputs"]
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda given: dict(zip(names, session.run(names, given), strict=True))
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(path), "CPU", options)
    return lambda given: {name: model(given)[name] for name in names}


def read_image(path: str, channels: str) -> Any:
    """(C, H, W) uint8, in the model's order of channels."""
    image = ImageOps.exif_transpose(Image.open(path))
    pixels = np.asarray(image.convert("L" if channels == "L" else "RGB"))
    pixels = pixels[None] if channels == "L" else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[::-1] if channels == "BGR" else pixels)


def paste(mask: Any, box: Any, size: tuple[int, int]) -> Any:
    """Stretch (M, M) probabilities over their box; (H, W) bool."""
    weights = []
    for low, high, pixels in ((box[1], box[3], size[0]), (box[0], box[2], size[1])):
        place = (np.arange(pixels) + 0.5 - low) / (high - low) * len(mask) - 0.5
        weights.append(np.maximum(1 - np.abs(place[:, None] - np.arange(len(mask))), 0))
    return weights[0] @ mask @ weights[1].T >= 0.5


def run_lengths(mask: Any) -> dict[str, Any]:
    """COCO's counts: pixels outside and inside in turns, column by column."""
    flat = mask.T.reshape(-1)
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def detect(model: Any, facts: dict[str, Any], path: str, threshold: float) -> dict[str, Any]:
    """The objects of an image, as plain values."""
    image = read_image(path, facts["input"]["channels"])
    size = image.shape[1:]
    found = model({"images": image[None], "sizes": np.array([size], dtype=np.int64)})
    result = {"image": str(path), "height": size[0], "width": size[1], "objects": []}
    for i in range(int(found["count"][0]) if "count" in found else 0):
        score, number = float(found["scores"][0, i]), int(found["classes"][0, i])
        if score < threshold:
            break
        box, names = found["boxes"][0, i], facts["classes"]
        one = {"class": names[number] if names else number, "score": round(score, 4)}
        one["box"] = [round(float(x), 2) for x in box]
        if "masks" in found:
            mask = found["masks"][0, i]
            one["mask"] = run_lengths(mask if mask.dtype == bool else paste(mask, box, size))
        result["objects"].append(one)
    if "sem_seg" in found:
        numbers, pixels = np.unique(found["sem_seg"][0].argmax(axis=0), return_counts=True)
        result["pixels_of_class"] = dict(zip(map(str, numbers), pixels.tolist(), strict=True))
    return result


def main() -> None:
    """Print a list with the objects of each image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+")
    parser.add_argument("--threshold", type=float, default=0.5, help="lowest score (%(default)s)")
    args = parser.parse_args()
    facts = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
    model = load_model(facts)
    results = [detect(model, facts, path, args.threshold) for path in args.images]
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
