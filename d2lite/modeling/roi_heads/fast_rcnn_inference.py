"""Scores and boxes of regions -> the detections that are kept.

R regions of one image, K classes, D numbers a box.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from d2lite.layers import batched_nms
from d2lite.structures import Boxes, Instances

from ..keep_best import Suppression, keep_best


def fast_rcnn_inference(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[Tensor]]:
    """Keep the good detections of each image.

    Args:
        boxes: of each image (R, K * 4) xyxy in pixels, or (R, 4) for one box for all classes.
        scores: of each image (R, K + 1), the background last.
        image_shapes: (height, width) of each image; boxes are clipped to it.
        score_thresh: only detections above it.
        nms_thresh: a detection is dropped if its IoU with a better one of its class is above it.
        topk_per_image: at most so many; below 0 for all.

    Returns:
        of each image pred_boxes, scores and pred_classes, best first; and the region that each
        detection comes from.
    """
    limits = score_thresh, nms_thresh, topk_per_image
    return in_each_image(fast_rcnn_inference_single_image, boxes, scores, image_shapes, limits)


def fast_rcnn_inference_single_image(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[Instances, Tensor]:
    """`fast_rcnn_inference` for one image.

    Args:
        boxes: (R, K * 4) or (R, 4).
        scores: (R, K + 1).
        image_shape: (height, width).
        score_thresh: see `fast_rcnn_inference`, as the rest.
        nms_thresh: likewise.
        topk_per_image: likewise.

    Returns:
        The detections, and (D,) int64 the region of each.
    """
    return choose_detections(
        boxes,
        scores,
        image_shape,
        score_thresh=score_thresh,
        nms_thresh=nms_thresh,
        topk=topk_per_image,
        box_class=Boxes,
        nms=batched_nms,
    )


def in_each_image(
    of_one_image: Callable[..., tuple[Instances, Tensor]],
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_shapes: Sequence[tuple[int, int]],
    limits: tuple[float, float, int],
) -> tuple[list[Instances], list[Tensor]]:
    """Two lists, of detections and of their regions, from a function of one image.

    Args:
        of_one_image: such as `fast_rcnn_inference_single_image`.
        boxes: of each image.
        scores: of each image.
        image_shapes: (height, width) of each image.
        limits: further arguments of the function.
    """
    images = zip(boxes, scores, image_shapes, strict=True)
    results = [of_one_image(*image, *limits) for image in images]
    return [instances for instances, _ in results], [regions for _, regions in results]


def choose_detections(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    *,
    score_thresh: float,
    nms_thresh: float,
    topk: int,
    box_class: type[Boxes],
    nms: Suppression,
) -> tuple[Instances, Tensor]:
    """`fast_rcnn_inference_single_image` for any kind of boxes.

    Args:
        boxes: (R, K * D) or (R, D).
        scores: (R, K + 1).
        image_shape: (height, width).
        score_thresh: only detections above it.
        nms_thresh: see `fast_rcnn_inference`.
        topk: at most so many; below 0 for all.
        box_class: `Boxes` or a kind of them; says how they are clipped.
        nms: suppresses such boxes.
    """
    num_classes = scores.shape[1] - 1
    # A diverged model gives NaN or infinity; such regions are worth nothing and break NMS.
    is_finite = boxes.isfinite().all(dim=1) & scores.isfinite().all(dim=1)
    is_candidate = (scores[:, :num_classes] > score_thresh) & is_finite[:, None]
    region, category = is_candidate.nonzero(as_tuple=True)
    size = box_class([]).tensor.shape[1]
    boxes_RCD = boxes.reshape(len(boxes), boxes.shape[1] // size, size)
    # With one box for all classes, every class reads column 0.
    column = category if boxes_RCD.shape[1] > 1 else torch.zeros_like(category)
    candidates = box_class(boxes_RCD[region, column])
    candidates.clip(image_shape)
    candidate_scores = scores[region, category]
    kept = keep_best(nms, candidates.tensor, candidate_scores, category, nms_thresh, topk)
    instances = Instances(
        image_shape,
        pred_boxes=candidates[kept],
        scores=candidate_scores[kept],
        pred_classes=category[kept],
    )
    return instances, region[kept]
