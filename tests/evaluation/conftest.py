"""A data set of three pictures, registered for one test at a time."""

import uuid

import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.structures import Boxes, BoxMode, Instances

RECORDS = [
    # (image id, [(xyxy, class)])
    (7, [((10, 10, 60, 60), 0), ((70, 20, 110, 90), 1)]),
    (8, [((5, 5, 30, 40), 1)]),
    (9, []),
]
HEIGHT, WIDTH = 100, 120


def rectangle(box: tuple[float, ...]) -> list[float]:
    """The outline of a box as polygon."""
    x0, y0, x1, y1 = box
    return [float(v) for v in (x0, y0, x1, y0, x1, y1, x0, y1)]


def dataset_dicts() -> list[dict]:
    return [
        {
            "file_name": f"{image_id}.jpg",
            "image_id": image_id,
            "height": HEIGHT,
            "width": WIDTH,
            "annotations": [
                {
                    "bbox": list(box),
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": category,
                    "segmentation": [rectangle(box)],
                }
                for box, category in objects
            ],
        }
        for image_id, objects in RECORDS
    ]


@pytest.fixture
def dataset():
    """Name of a data set without a COCO file, of the classes cat, dog and (never seen) eel."""
    name = f"three_{uuid.uuid4().hex}"
    DatasetCatalog.register(name, dataset_dicts)
    MetadataCatalog.get(name).set(thing_classes=["cat", "dog", "eel"], evaluator_type="coco")
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def instances_of(objects, *, scores=None, has_masks: bool = False) -> Instances:
    """Predictions that say just these (box, class) pairs."""
    made = Instances((HEIGHT, WIDTH))
    made.pred_boxes = Boxes(torch.tensor([b for b, _ in objects], dtype=torch.float).reshape(-1, 4))
    made.scores = torch.tensor(scores if scores is not None else [0.9] * len(objects))
    made.pred_classes = torch.tensor([c for _, c in objects], dtype=torch.int64)
    if has_masks:
        masks = torch.zeros((len(objects), HEIGHT, WIDTH), dtype=torch.bool)
        for mask, ((x0, y0, x1, y1), _) in zip(masks, objects, strict=True):
            mask[int(y0) : int(y1), int(x0) : int(x1)] = True
        made.pred_masks = masks
    return made


def feed(evaluator, outputs: dict[int, Instances]) -> dict:
    """Show an evaluator the predictions of each image id, and ask for results."""
    evaluator.reset()
    for image_id, instances in outputs.items():
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    return evaluator.evaluate()
