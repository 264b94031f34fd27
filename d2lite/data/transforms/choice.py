"""Augmentations around others: some of several for each image, and one draw for a whole batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

from d2lite.utils.keyed_rng import DrawPurpose, draw_key, keyed_draws, stream_position

from .augmentation import Augmentation, _transform_to_aug


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
        self.augs = [_transform_to_aug(aug) for aug in augs]
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


class DrawnByBatch(Augmentation):
    """An augmentation whose draws are the same for all images of a training batch."""

    def __init__(self, aug: Augmentation, batch_size: int) -> None:
        """Store the augmentation.

        Args:
            aug: draws in `get_transform` alone.
            batch_size: images of one iteration, in all processes.
        """
        super().__init__()
        self.aug, self.batch_size = aug, batch_size

    def __call__(self, aug_input: Any) -> Transform:
        """Apply the augmentation to `aug_input` in place.

        The draw follows from the iteration alone; outside of a training loader, where the
        iteration is not known, it is made for each image.
        """
        position = stream_position()
        if position is None:
            return self.aug(aug_input)
        with keyed_draws(draw_key(0, position // self.batch_size, DrawPurpose.BATCH_SIZES)):
            return self.aug(aug_input)
