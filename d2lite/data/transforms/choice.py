"""RandomChoice: some augmentations out of several, chosen again for each image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

from .augmentation import Augmentation, as_augmentation


class RandomChoice(Augmentation):
    """Apply `count` of the given augmentations, in the order of the draw."""

    def __init__(
        self,
        augs: Sequence[Augmentation | Transform],
        count: int = 1,
        weights: Sequence[float] | None = None,
    ) -> None:
        """Store the choices.

        Args:
            augs: what to choose from; none is taken twice for one image.
            count: how many are applied.
            weights: how likely each is, relative to the others; None: alike.

        Raises:
            ValueError: if there are fewer choices than wanted, or the weights do not fit.
        """
        super().__init__()
        self.augs = [as_augmentation(aug) for aug in augs]
        if not 0 <= count <= len(self.augs):
            raise ValueError(f"count={count} of {len(self.augs)} augmentations cannot be chosen.")
        if weights is not None:
            if len(weights) != len(self.augs) or min(weights) < 0:
                raise ValueError(
                    f"weights are {list(weights)}; give {len(self.augs)} numbers of 0 or more, "
                    "one for each augmentation."
                )
            if sum(weight > 0 for weight in weights) < count:
                raise ValueError(f"count={count}, but fewer augmentations weigh more than 0.")
        self.count, self.weights = count, weights

    def __call__(self, aug_input: Any) -> Transform:
        """Draw, and apply the chosen ones to `aug_input` in place."""
        share = None
        if self.weights is not None:
            share = np.asarray(self.weights, dtype=np.float64) / sum(self.weights)
        chosen = np.random.choice(len(self.augs), self.count, replace=False, p=share)
        return TransformList([self.augs[index](aug_input) for index in chosen])
