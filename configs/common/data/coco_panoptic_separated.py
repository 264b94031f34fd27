"""Loaders and evaluators for panoptic COCO, whose things and stuff are in separate files."""

from d2lite.config import LazyCall as L
from d2lite.evaluation import COCOEvaluator, COCOPanopticEvaluator, SemSegEvaluator

from .coco import loaders, resize_and_flip

dataloader = loaders(
    "coco_2017_train_panoptic_separated",
    "coco_2017_val_panoptic_separated",
    resize_and_flip((640, 672, 704, 736, 768, 800)),
    filter_empty=False,
    use_instance_mask=True,
)
dataloader["evaluator"] = [
    L(evaluator)(dataset_name="${...test.dataset.names}")
    for evaluator in (COCOEvaluator, SemSegEvaluator, COCOPanopticEvaluator)
]
