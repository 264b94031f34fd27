"""SetMatcher: which query learns which object, by class and box.

L predictions of each query, N images, Q queries, K classes, T objects of an image.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .assignment import hungarian_assignment
from .set_losses import focal_class_costs, pairwise_box_costs, softmax_class_costs

Targets = Sequence[Mapping[str, Tensor]]
Pairs = tuple[Tensor, Tensor]


class SetMatcher(nn.Module):
    """Gives each object the query that costs least, one to one.

    Args:
        cost_class: weight of the class, see `focal_class_costs` and `softmax_class_costs`.
        cost_bbox: weight of the L1 distance.
        cost_giou: weight of the generalised IoU.
        alpha: see `focal_class_costs`.
        gamma: likewise.
        is_softmax: the cost of a class is that of `softmax_class_costs`.

    Source: Carion 2020, arXiv:2005.12872; Zhu 2020, arXiv:2010.04159.
    """

    def __init__(
        self,
        cost_class: float = 2.0,
        cost_bbox: float = 5.0,
        cost_giou: float = 2.0,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
        is_softmax: bool = False,
    ) -> None:
        super().__init__()
        self.is_softmax = is_softmax
        self.cost_class, self.cost_bbox, self.cost_giou = cost_class, cost_bbox, cost_giou
        self.alpha, self.gamma = alpha, gamma

    @torch.no_grad()
    def forward(self, logits: Tensor, boxes: Tensor, targets: Targets) -> list[list[Pairs]]:
        """Match all predictions, with one transfer to the host.

        Args:
            logits: (L, N, Q, K), or with K + 1 for `is_softmax`.
            boxes: (L, N, Q, 4) (cx, cy, w, h).
            targets: for each image labels (T,) int64 and boxes (T, 4).

        Returns:
            for each prediction and image (queries, objects), see `hungarian_assignment`.

        Raises:
            FloatingPointError: if a prediction is not finite.
        """
        num_layers = len(logits)
        of_images = []
        # In float32 whatever the precision of the model: a rounded cost is another assignment.
        with torch.autocast(boxes.device.type, enabled=False):
            for image, target in enumerate(targets):
                of_image = boxes[:, image].flatten(0, 1).float()
                by_class = self._class_costs(
                    logits[:, image].flatten(0, 1).float(), target["labels"]
                )
                distance, overlap = pairwise_box_costs(of_image, target["boxes"].float())
                total = (
                    self.cost_class * by_class
                    + self.cost_bbox * distance
                    + self.cost_giou * overlap
                )
                of_images.append(total.unflatten(0, (num_layers, -1)))
        return hungarian_assignment(
            [[of_image[layer] for of_image in of_images] for layer in range(num_layers)]
        )

    def _class_costs(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.is_softmax:
            return softmax_class_costs(logits, labels)
        return focal_class_costs(logits, labels, self.alpha, self.gamma)


def most_voted(pairs: Sequence[Pairs], num_queries: int) -> Pairs:
    """One assignment out of several: each query that has an object gets the one it has most often.

    An object can so get several queries, which is more to learn from.

    Args:
        pairs: (queries, objects) of an image, of several predictions.
        num_queries: Q.

    Returns:
        (queries, objects), by ascending queries; of objects with as many votes, the first.

    Source: Peng 2024 (D-FINE), arXiv:2410.13842, section 4.2.
    """
    queries, objects = (torch.cat(part) for part in zip(*pairs, strict=True))
    if not len(objects):
        return queries, objects
    votes = objects.new_zeros(num_queries, int(objects.max()) + 1)
    votes.index_put_((queries, objects), torch.ones_like(objects), accumulate=True)
    most, best = votes.max(dim=1)
    chosen = most.nonzero()[:, 0]
    return chosen, best[chosen]
