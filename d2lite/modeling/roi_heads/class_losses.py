"""Losses of classes for data in which some classes are far rarer than others.

R regions, K classes; class K is the background.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import sigmoid_focal_loss
from d2lite.utils.errors import ConfigError
from d2lite.utils.process_means import (
    is_first_pass,
    is_last_pass,
    mean_over_processes,
    pass_share,
)

__all__ = ["ClassBalancedLoss", "ClassLoss", "EqualizedLoss", "SeesawLoss", "build_class_loss"]


class ClassLoss(nn.Module):
    """How scores of classes are compared with the truth, and read as probabilities.

    Args:
        num_classes: K.
    """

    # Columns of scores beside those of the classes.
    num_extra: int = 1
    # Whether a sigmoid makes probabilities of the scores, so that they have to start small.
    is_sigmoid: bool = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, scores: Tensor, classes: Tensor) -> Tensor:
        """(R, K + num_extra) scores and (R,) int64 classes in [0, K] -> scalar, the mean loss."""
        raise NotImplementedError

    def probs(self, scores: Tensor) -> Tensor:
        """(R, K + num_extra) scores -> (R, K + 1) probabilities, the background last."""
        raise NotImplementedError

    def _one_hot(self, scores: Tensor, classes: Tensor) -> Tensor:
        """(R, K + 1) float."""
        return F.one_hot(classes, self.num_classes + 1).to(scores.dtype)

    def _count_(self, counts: Tensor, classes: Tensor) -> None:
        """Add the regions of each class, over all processes, to (K,) counts in place."""
        with torch.no_grad():
            found = F.one_hot(classes, self.num_classes + 1).sum(dim=0).to(counts.dtype)
            # Of all passes at once, so that each of them reads the same.
            found = mean_over_processes(found) / pass_share()
            if is_first_pass():
                counts += found[: len(counts)]


class SeesawLoss(ClassLoss):
    """Softmax in which a rare class is pushed down less by samples of frequent ones.

    Two scores more than classes say whether there is an object: of an object, and of none.

    Args:
        num_classes: K.
        p: how strongly the ratio of the numbers of samples counts.
        q: how strongly a wrong class that scores higher than the true one is pushed down.

    Source: Wang 2020, arXiv:2008.10032.
    """

    num_extra = 2
    counts: Tensor

    def __init__(self, num_classes: int, p: float = 0.8, q: float = 2.0) -> None:
        super().__init__(num_classes)
        self.p, self.q = p, q
        self.register_buffer("counts", torch.zeros(num_classes))

    def forward(self, scores: Tensor, classes: Tensor) -> Tensor:
        """See `ClassLoss`."""
        self._count_(self.counts, classes)
        is_background = classes == self.num_classes
        total = F.cross_entropy(scores[:, -2:], is_background.long(), reduction="sum")
        logits, true = scores[~is_background, :-2], classes[~is_background]
        seen = self.counts.clamp(min=1)
        factors = (seen / seen[true, None]).clamp(max=1) ** self.p
        chances = logits.detach().softmax(dim=1)
        own = chances.gather(1, true[:, None]).clamp(min=0.01)
        factors = factors * (chances / own).clamp(min=1) ** self.q
        factors = factors.scatter(1, true[:, None], 1.0)
        total = total + F.cross_entropy(logits + factors.log(), true, reduction="sum")
        return total / max(len(scores), 1)

    def probs(self, scores: Tensor) -> Tensor:
        """See `ClassLoss`."""
        is_object, is_none = scores[:, -2:].softmax(dim=1).split(1, dim=1)
        return torch.cat([scores[:, :-2].softmax(dim=1) * is_object, is_none], dim=1)


class EqualizedLoss(ClassLoss):
    """Sigmoids whose positive and negative gradients are balanced in each class.

    The sums of both kinds of gradients are kept for each class; the fewer positive ones it had,
    the less its negatives weigh and the more its positives. The last score is of the background,
    and lowers those of all classes.

    Args:
        num_classes: K.
        gamma: how steep the weight of negatives rises.
        mu: the ratio of gradients at which it is a half.
        alpha: how much more positives weigh.

    Source: Tan 2020 (equalization loss v2), arXiv:2012.08548.
    """

    is_sigmoid = True
    positive_gradients: Tensor
    negative_gradients: Tensor

    def __init__(
        self, num_classes: int, gamma: float = 12.0, mu: float = 0.8, alpha: float = 4.0
    ) -> None:
        super().__init__(num_classes)
        self.gamma, self.mu, self.alpha = gamma, mu, alpha
        self.register_buffer("positive_gradients", torch.zeros(num_classes))
        self.register_buffer("negative_gradients", torch.zeros(num_classes))

    def forward(self, scores: Tensor, classes: Tensor) -> Tensor:
        """See `ClassLoss`."""
        target = self._one_hot(scores, classes)
        # A class without gradients so far counts as frequent.
        ratio = (self.positive_gradients / self.negative_gradients.clamp(min=1e-10)).where(
            self.negative_gradients > 0, 100.0
        )
        negative = F.pad((self.gamma * (ratio - self.mu)).sigmoid(), (0, 1), value=1.0)
        positive = 1 + self.alpha * (1 - negative)
        weights = torch.where(target > 0, positive, negative)
        entropy = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
        with torch.no_grad():
            gradients = ((scores.sigmoid() - target).abs() * weights)[:, :-1]
            shares = torch.stack([target[:, :-1], 1 - target[:, :-1]])
            sums = mean_over_processes((gradients * shares).sum(dim=1)) / pass_share()
            if is_last_pass():
                self.positive_gradients += sums[0]
                self.negative_gradients += sums[1]
        return (weights * entropy).sum() / max(len(scores), 1)

    def probs(self, scores: Tensor) -> Tensor:
        """See `ClassLoss`."""
        chances = scores.sigmoid()
        background = chances[:, -1:]
        return torch.cat([chances[:, :-1] * (1 - background), background], dim=1)


class ClassBalancedLoss(ClassLoss):
    """Focal loss of sigmoids, in which a class weighs by its effective number of samples.

    Args:
        num_classes: K.
        beta: below 1; the nearer to it, the more rare classes weigh.
        gamma: see `sigmoid_focal_loss`.

    Source: Cui 2019, arXiv:1901.05555. Samples are counted in the training, not before it.
    """

    is_sigmoid = True
    counts: Tensor

    def __init__(self, num_classes: int, beta: float = 0.999, gamma: float = 2.0) -> None:
        super().__init__(num_classes)
        self.beta, self.gamma = beta, gamma
        self.register_buffer("counts", torch.zeros(num_classes))

    def forward(self, scores: Tensor, classes: Tensor) -> Tensor:
        """See `ClassLoss`."""
        self._count_(self.counts, classes)
        weights = (1 - self.beta) / (1 - self.beta ** self.counts.clamp(min=1))
        # A mean of 1, as in the paper; the background weighs as a class of that mean.
        weights = F.pad(weights / weights.mean(), (0, 1), value=1.0)
        target = self._one_hot(scores, classes)[:, :-1]
        loss = sigmoid_focal_loss(scores[:, :-1], target, gamma=self.gamma)
        return (loss.sum(dim=1) * weights[classes]).sum() / max(len(scores), 1)

    def probs(self, scores: Tensor) -> Tensor:
        """See `ClassLoss`."""
        chances = scores[:, :-1].sigmoid()
        return torch.cat([chances, 1 - chances.amax(dim=1, keepdim=True)], dim=1)


_LOSSES: dict[str, type[ClassLoss]] = {
    "seesaw": SeesawLoss,
    "equalized": EqualizedLoss,
    "class_balanced": ClassBalancedLoss,
}


def build_class_loss(name: str, num_classes: int) -> ClassLoss:
    """The loss of `MODEL.ROI_BOX_HEAD.CLASS_LOSS`.

    Args:
        name: the key's value.
        num_classes: K.

    Raises:
        ConfigError: for another name.
    """
    if name not in _LOSSES:
        raise ConfigError(
            f"MODEL.ROI_BOX_HEAD.CLASS_LOSS={name!r}: use one of {[*_LOSSES]}, or '' for none."
        )
    return _LOSSES[name](num_classes)
