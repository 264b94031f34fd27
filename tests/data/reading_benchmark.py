"""Time and peak memory of reading 1,000,000 annotations in COCO's format.

    python annotations_benchmark.py make big.json        # 100,000 images x 10 objects
    python annotations_benchmark.py load|string|truth big.json
"""
import json, math, os, resource, sys, time
from pathlib import Path
import numpy as np

def make(path, num_images=100_000, per_image=10):
    rng = np.random.default_rng(0)
    with open(path, "w") as f:
        f.write('{"images": [')
        f.write(", ".join(json.dumps({"id": i + 1, "file_name": f"{i}.jpg", "width": 640, "height": 480, "license": 1, "date_captured": "2013-11-14 17:02:52"}) for i in range(num_images)))
        f.write('], "categories": ' + json.dumps([{"id": i, "name": f"c{i}"} for i in range(1, 81)]) + ', "annotations": [')
        for k in range(num_images * per_image):
            x, y, w, h = rng.uniform([0, 0, 10, 10], [500, 380, 130, 90]).round(2).tolist()
            t = np.arange(rng.integers(8, 25)); t = t * 2 * np.pi / len(t)
            poly = np.stack([x + w / 2 * (1 + np.cos(t)), y + h / 2 * (1 + np.sin(t))], 1).round(2).ravel().tolist()
            f.write((", " if k else "") + json.dumps({"id": k + 1, "image_id": k // per_image + 1, "category_id": int(rng.integers(1, 81)), "bbox": [x, y, w, h], "area": w * h * 0.78, "iscrowd": 0, "segmentation": [poly]}))
        f.write("]}")

def measure(what, path):
    import d2lite
    from d2lite.data import get_detection_dataset_dicts
    from d2lite.data.datasets import load_coco_json, register_coco_instances
    from d2lite.evaluation.coco_ground_truth import coco_ground_truth, complete_ground_truth
    folder = str(Path(path).resolve().parent)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    register_coco_instances("big", {}, path, folder)
    start = time.process_time()
    if what == "load":
        n = sum(len(r["annotations"]) for r in load_coco_json(path, folder))
    elif what == "string":
        n = sum(len(r["annotations"]) for r in get_detection_dataset_dicts(f"coco:{path}", max_bad_share=None))
    else:
        n = len(complete_ground_truth(coco_ground_truth("big", None), "segm")["annotations"])
    took = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{what}: {n} annotations, {took:.1f} s, {(peak - base) / 2**20:.2f} GiB")

if __name__ == "__main__":
    make(sys.argv[2]) if sys.argv[1] == "make" else measure(*sys.argv[1:])
