"""Scores and boxes of regions -> the detections that are kept.

R regions of one image, K classes, D numbers a box.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from d2lite.layers import SoftNMS
from d2lite.structures import Boxes, Instances

from ..keep_best import suppress


def fast_rcnn_inference(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
    *,
    box_class: type[Boxes] = Boxes,
    soft_nms: SoftNMS | None = None,
) -> tuple[list[Instances], list[Tensor]]:
    """Keep the good detections of each image.

    Args:
        boxes: of each image (R, K * D) in pixels, or (R, D) for one box for all classes; D is 4
            (xyxy), or 5 for `RotatedBoxes`.
        scores: of each image (R, K + 1), the background last.
        image_shapes: (height, width) of each image; boxes are clipped to it, of rotated ones those
            that are nearly upright.
        score_thresh: only detections above it.
        nms_thresh: a detection is dropped if its IoU with a better one of its class is above it.
        topk_per_image: at most so many; below 0 for all.
        box_class: `Boxes` or `RotatedBoxes`.
        soft_nms: let scores of overlapping boxes fall, in place of dropping these.

    Returns:
        of each image pred_boxes, scores and pred_classes, best first; and the region that each
        detection comes from.
    """
    results = [
        fast_rcnn_inference_single_image(
            *image,
            score_thresh,
            nms_thresh,
            topk_per_image,
            box_class=box_class,
            soft_nms=soft_nms,
        )
        for image in zip(boxes, scores, image_shapes, strict=True)
    ]
    return [instances for instances, _ in results], [regions for _, regions in results]


def fast_rcnn_inference_single_image(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
    *,
    box_class: type[Boxes] = Boxes,
    soft_nms: SoftNMS | None = None,
) -> tuple[Instances, Tensor]:
    """`fast_rcnn_inference` for one image; see there for the arguments.

    Returns:
        The detections, and int64 the region of each.
    """
    num_classes = scores.shape[1] - 1
    # A diverged model gives NaN or infinity; such regions have no use and break NMS.
    is_finite = boxes.isfinite().all(dim=1) & scores.isfinite().all(dim=1)
    is_candidate = (scores[:, :num_classes] > score_thresh) & is_finite[:, None]
    region, category = is_candidate.nonzero(as_tuple=True)
    size = box_class(torch.zeros(0)).tensor.shape[1]
    boxes_RCD = boxes.reshape(boxes.shape[0], boxes.shape[1] // size, size)
    # With one box for all classes, every class reads column 0.
    column = category if boxes_RCD.shape[1] > 1 else torch.zeros_like(category)
    candidates = box_class(boxes_RCD[region, column])
    candidates.clip(image_shape)
    candidate_scores = scores[region, category]
    kept, kept_scores = suppress(
        candidates, candidate_scores, category, nms_thresh, topk_per_image, soft_nms
    )
    instances = Instances(
        image_shape,
        pred_boxes=candidates[kept],
        scores=kept_scores,
        pred_classes=category[kept],
    )
    return instances, region[kept]
