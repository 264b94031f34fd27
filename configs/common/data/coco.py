"""Loaders and evaluator for COCO, and functions for other sets and augmentations."""

import d2lite.data.transforms as T
from d2lite.config import LazyCall as L
from d2lite.data import (
    DatasetMapper,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from d2lite.evaluation import COCOEvaluator


def resize_and_flip(short_edges):
    """Augmentations: one of the lengths of the short edge, then a flip."""
    return [
        L(T.ResizeShortestEdge)(
            short_edge_length=short_edges, sample_style="choice", max_size=1333
        ),
        L(T.RandomFlip)(horizontal=True),
    ]


def large_scale_jitter(size, *, flip_first=False, **crop):
    """Augmentations: a scale of 0.1 to 2, then a crop of `size` pixels a side, and a flip."""
    flip = L(T.RandomFlip)(horizontal=True)
    jitter = [
        L(T.ResizeScale)(min_scale=0.1, max_scale=2.0, target_height=size, target_width=size),
        L(T.FixedSizeCrop)(crop_size=(size, size), **crop),
    ]
    return [flip, *jitter] if flip_first else [*jitter, flip]


def loaders(train, test, augmentations, *, test_edges=(800, 1333), filter_empty=None, **labels):
    """The parts "train", "test" and "evaluator" of a data loader.

    `labels` says what the mapper reads beside boxes, as use_instance_mask=True.
    """
    kept = {} if filter_empty is None else {"filter_empty": filter_empty}
    short_edge, max_size = test_edges
    return dict(
        train=L(build_detection_train_loader)(
            dataset=L(get_detection_dataset_dicts)(names=train, **kept),
            mapper=L(DatasetMapper)(
                is_train=True, augmentations=augmentations, image_format="BGR", **labels
            ),
            total_batch_size=16,
            num_workers=4,
        ),
        test=L(build_detection_test_loader)(
            dataset=L(get_detection_dataset_dicts)(names=test, filter_empty=False),
            mapper=L(DatasetMapper)(
                is_train=False,
                augmentations=[
                    L(T.ResizeShortestEdge)(short_edge_length=short_edge, max_size=max_size)
                ],
                image_format="${...train.mapper.image_format}",
            ),
            num_workers=4,
        ),
        evaluator=L(COCOEvaluator)(dataset_name="${..test.dataset.names}"),
    )


def jittered_loaders(
    size=1024, *, image_format="BGR", flip_first=False, test_edges=(800, 1333), **crop
):
    """COCO with large scale jitter, 64 images a batch."""
    parts = loaders(
        "coco_2017_train",
        "coco_2017_val",
        large_scale_jitter(size, flip_first=flip_first, **crop),
        test_edges=test_edges,
        use_instance_mask=True,
        # Crops cut objects: their boxes follow from what is left of the masks.
        recompute_boxes=True,
    )
    parts["train"].total_batch_size = 64
    parts["train"].mapper.image_format = image_format
    return parts


dataloader = loaders(
    "coco_2017_train",
    "coco_2017_val",
    resize_and_flip((640, 672, 704, 736, 768, 800)),
    use_instance_mask=True,
)
