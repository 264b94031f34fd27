"""Small sets of objects and detections, in COCO's form."""

import numpy as np

CLASSES = ["cat", "dog"]
BOX = [20, 20, 40, 40]
NEAR = [44, 20, 40, 40]  # IoU with BOX: 16 * 40 / (2 * 1600 - 640) = 0.25
FAR = [120, 120, 40, 40]


def truth_and_results(objects, detections, num_images=None):
    """COCO dicts of (image, class, box[, "crowd"]) and (image, class, box, score)."""
    count = num_images or max([o[0] for o in (*objects, *detections)] + [3])
    truth = {
        "images": [{"id": i, "height": 200, "width": 200} for i in range(1, count + 1)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES, 1)],
        "annotations": [
            {
                "id": n,
                "image_id": image,
                "category_id": CLASSES.index(name) + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": int(bool(crowd)),
            }
            for n, (image, name, box, *crowd) in enumerate(objects, 1)
        ],
    }
    results = [
        {"image_id": i, "category_id": CLASSES.index(name) + 1, "bbox": box, "score": score}
        for i, name, box, score in detections
    ]
    return truth, results


def random_set(seed, num_images=30):
    """Objects, and detections of all kinds of error among them, some of equal score."""
    rng = np.random.default_rng(seed)
    objects, found = [], []

    def box():
        return [*rng.uniform(0, 140, 2), *rng.uniform(10, 60, 2)]

    for image in range(1, num_images + 1):
        for _ in range(rng.integers(0, 5)):
            place, name = box(), CLASSES[rng.integers(2)]
            objects.append((image, name, place, *["crowd"] * int(rng.random() < 0.05)))
            for _ in range(rng.integers(0, 4)):
                moved = np.maximum(np.array(place) + rng.normal(0, 6, 4), 2).tolist()
                seen = name if rng.random() < 0.7 else CLASSES[rng.integers(2)]
                found.append((image, seen, moved, round(rng.random(), 2)))
        for _ in range(rng.integers(0, 3)):
            found.append((image, CLASSES[rng.integers(2)], box(), round(rng.random() * 0.6, 2)))
    return truth_and_results(objects, found, num_images)
