"""How far predicted classes and boxes are from true ones: costs of all pairs, losses of pairs.

Q predictions, T objects, K classes, M pairs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou

from d2lite.layers import sigmoid_focal_loss

from .boxes import cxcywh_to_xyxy

# Avoids an infinite logarithm; the value of published code.
_EPS = 1e-8


def focal_class_costs(
    logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """How much the focal loss changes if a prediction gets an object's class.

    Args:
        logits: (Q, K) float.
        labels: (T,) int64.
        alpha: weight of the positive part; the negative one has 1 - alpha.
        gamma: how strongly easy predictions are weighted down.

    Returns:
        (Q, T).

    Source: Zhu 2020, arXiv:2010.04159, with Lin 2017, arXiv:1708.02002.
    """
    chance = logits[:, labels].sigmoid()
    other = 1 - chance

    def loss(weight: float, right: Tensor, wrong: Tensor) -> Tensor:
        return weight * wrong**gamma * -(right + _EPS).log()

    return loss(alpha, chance, other) - loss(1 - alpha, other, chance)


def softmax_class_costs(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the probability that a prediction gives to an object's class.

    Args:
        logits: (Q, K + 1) float; the last is that of no object.
        labels: (T,) int64.

    Returns:
        (Q, T).

    Source: Carion 2020 (DETR), arXiv:2005.12872, section 3.1.
    """
    return -logits.softmax(dim=-1)[:, labels]


def pairwise_box_costs(boxes: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """The L1 distance and minus the generalised IoU of each prediction with each object.

    Args:
        boxes: (Q, 4) float32 (cx, cy, w, h).
        objects: (T, 4) likewise.

    Returns:
        Two (Q, T).
    """
    distances = torch.cdist(boxes, objects, p=1)
    return distances, -generalized_box_iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(objects))


def _at_class(labels: Tensor, values: Tensor, num_classes: int) -> Tensor:
    """(...) values at the class of each object -> (..., K), 0 elsewhere."""
    spread = values.new_zeros(*labels.shape, num_classes + 1)
    return spread.scatter(-1, labels[..., None], values[..., None])[..., :-1]


def varifocal_losses(
    logits: Tensor, labels: Tensor, quality: Tensor, alpha: float = 0.75, gamma: float = 2.0
) -> Tensor:
    """Cross-entropy with the quality of a box as the wanted score of its class, 0 for the others.

    It is weighted by the quality, for other classes by the prediction.

    Args:
        logits: (..., K) float32.
        labels: (...) int64, K for predictions without an object.
        quality: (...) float32 in [0, 1], such as the IoU; not used without an object.
        alpha: weight of classes that are not those of objects.
        gamma: how strongly easy ones of them are weighted down.

    Returns:
        (..., K).

    Source: Zhang 2020, arXiv:2008.13367, section 3.2.
    """
    wanted = _at_class(labels, quality, logits.shape[-1])
    is_object = _at_class(labels, torch.ones_like(quality), logits.shape[-1])
    weights = wanted + (1 - is_object) * alpha * logits.detach().sigmoid() ** gamma
    return F.binary_cross_entropy_with_logits(logits, wanted, weights, reduction="none")


def matchability_losses(
    logits: Tensor, labels: Tensor, quality: Tensor, alpha: float = 1.0, gamma: float = 1.5
) -> Tensor:
    """Cross-entropy with a power of the quality, at full weight for poor boxes also.

    Args:
        logits: as for `varifocal_losses`.
        labels: likewise.
        quality: likewise.
        alpha: likewise.
        gamma: the exponent of the quality, and likewise.

    Returns:
        (..., K).

    Source: Huang 2024 (DEIM), arXiv:2412.04234, section 3.3.
    """
    wanted = _at_class(labels, quality**gamma, logits.shape[-1])
    is_object = _at_class(labels, torch.ones_like(quality), logits.shape[-1])
    weights = is_object + (1 - is_object) * alpha * logits.detach().sigmoid() ** gamma
    return F.binary_cross_entropy_with_logits(logits, wanted, weights, reduction="none")


def focal_losses(
    logits: Tensor, labels: Tensor, quality: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """The focal loss, which does not depend on the quality; arguments as of `varifocal_losses`.

    Source: Lin 2017, arXiv:1708.02002.
    """
    is_object = _at_class(labels, torch.ones_like(quality), logits.shape[-1])
    return sigmoid_focal_loss(logits, is_object, alpha, gamma, reduction="none")


def softmax_losses(
    logits: Tensor, labels: Tensor, quality: Tensor, alpha: float = 0.1, gamma: float = 0.0
) -> Tensor:
    """Cross-entropy over the classes and no object.

    Args:
        logits: (..., K + 1) float32; the last is that of no object.
        labels: (...) int64, K for predictions without an object.
        quality: not used.
        alpha: weight of predictions without an object.
        gamma: not used.

    Returns:
        (..., 1).

    Source: Carion 2020 (DETR), arXiv:2005.12872, section 3.1.
    """
    weights = logits.new_ones(logits.shape[-1])
    weights[-1] = alpha
    losses = F.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), weight=weights, reduction="none"
    )
    return losses.view(*labels.shape, 1)
