"""SOLOv2's predictions in the fixed-size form, of all images of a batch at once.

N images, R cells, C categories, K numbers of a kernel, M candidates, D detections, H x W pixels of
the mask features.
"""

from torch import Tensor

from d2lite.modeling.padded import best_pairs, best_rows, take_rows
from d2lite.utils.errors import ExportError

from .inference import InstanceDecoder
from .matrix_nms import matrix_decay, pairwise_mask_iou


def decode_padded(
    decoder: InstanceDecoder, scores: Tensor, kernels: Tensor, features: Tensor, strides: Tensor
) -> dict[str, Tensor]:
    """`InstanceDecoder` without its last step, which scales masks to the image.

    DIFFERS: candidates are the best pairs by the score of the category, and not by that times the
    quality of the mask; with fewer pairs above the threshold than `max_candidates` they are the
    same.

    Args:
        decoder: whose thresholds count.
        scores: (N, R, C) probabilities after points NMS.
        kernels: (N, R, K).
        features: (N, K, H, W) mask features.
        strides: (R,) stride of each cell's level.

    Returns:
        `soft_masks` (N, D, H, W) probabilities, `scores` (N, D), best first, `classes` (N, D)
        int64 and `valid` (N, D) bool.

    Raises:
        ExportError: for mask NMS, a chain of decisions, and for masks pasted as AdelaiDet does.
    """
    if decoder.nms_type != "matrix" or decoder.pastes_as_published:
        raise ExportError("SOLOv2 is exported with NMS_TYPE matrix, and exact pasting of masks.")
    pairs = best_pairs(scores.float(), decoder.score_threshold, decoder.max_candidates)
    cell, label, values, above = pairs
    soft = (take_rows(kernels, cell) @ features.flatten(2)).sigmoid()
    # In float32, since onnxruntime sums booleans as int64, 15 times as slowly.
    masks = (soft > decoder.mask_threshold).float()
    areas = masks.sum(dim=2)
    values = values * (soft * masks).sum(dim=2) / areas.clamp(min=1)
    valid = above & (areas > strides[cell])
    order, valid = best_rows(values, valid, decoder.max_candidates)
    values, label = (take_rows(x, order) for x in (values, label))
    # Rows of M x M numbers are taken, and not of M masks.
    iou = take_rows(take_rows(pairwise_mask_iou(masks, areas), order).mT, order)
    is_rival = (label[:, :, None] == label[:, None, :]).triu(diagonal=1)
    is_rival = is_rival & valid[:, :, None] & valid[:, None, :]
    values = values * matrix_decay(iou.where(is_rival, 0), decoder.nms_sigma, decoder.nms_kernel)
    kept = valid & (values >= decoder.update_threshold)
    best, valid = best_rows(values, kept, decoder.max_per_image)
    chosen = take_rows(soft, order.gather(1, best))
    return {
        "soft_masks": chosen.reshape(*best.shape, *features.shape[2:]),
        "scores": take_rows(values, best).masked_fill(~valid, 0.0),
        "classes": take_rows(label, best).masked_fill(~valid, 0),
        "valid": valid,
    }
